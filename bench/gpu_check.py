"""All that needs a GPU, in one command: `python -m bench.gpu_check --out bench/results`.

Sections run one after the other, each in a process of its own with a limit, so that a crash, a hang or
a broken CUDA context costs one section; together they take less than nine minutes.  What is known is
written after each: OUT/<gpu>-<date>.json and .md.  Values alone decide the exit code, never times.

--device cpu runs the same sections on the CPU, small, to find mistakes in them where there is no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu_sections import SECTIONS

BUDGET = 530.0  # seconds for all


def run(section: str, device: str, limit: float) -> dict[str, Any]:
    """{"status": "ok", "failed" or what went wrong; "seconds", "rows", "failures"} of one section"""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-u", "-m", "bench.gpu_check", "--device", device]
        began = time.monotonic()
        try:
            code = subprocess.run(
                [*command, "--section", section, "--result", str(result)], timeout=limit
            ).returncode
            status = "ok" if code == 0 else f"failed (exit {code})"
        except subprocess.TimeoutExpired:
            status = f"stopped after {limit:.0f} s"
        found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
        seconds = round(time.monotonic() - began, 1)
        return {"status": status, "seconds": seconds, "rows": [], "failures": []} | found


def child(section: str, device: str, result: Path) -> int:
    """One section in this process; the result is written after each row."""
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for row in SECTIONS[section].run(device):
        rows.append(row)
        if row.get("ok") is False:
            failures.append(str(row["what"]))
        print(f"  {'' if row.get('ok', True) else 'FAILED '}{json.dumps(row)}", flush=True)
        result.write_text(json.dumps({"rows": rows, "failures": failures}))
    return 1 if failures or not rows else 0


def table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(k for row in rows for k in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [row.get(k, "") for k in columns]
        shown = [f"{c:.4g}" if isinstance(c, float) else str(c).replace("|", "/") for c in cells]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def page(report: dict[str, Any]) -> str:
    lines = [f"# {report['device']}, {report['date']}", "", f"`{report['command']}`", ""]
    lines += ["| section | result | seconds | failures |", "| --- | --- | --: | --: |"]
    for name, r in report["sections"].items():
        lines.append(f"| {name} | {r['status']} | {r['seconds']} | {len(r['failures'])} |")
    for name, r in report["sections"].items():
        lines += ["", f"## {name}", "", SECTIONS[name].says, ""]
        lines += table(r["rows"]) if r["rows"] else ["Nothing came back."]
    return "\n".join([*lines, ""])


def why_not(device: str) -> str | None:
    from dtorch.core.backend.visible import device_count

    if device == "cpu":
        return None
    import importlib.util

    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed: pip install 'dtorch[cuda]'"
    return None if device_count() else "no GPU is visible"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.section:
        return child(args.section, args.device, args.result)

    args.out.mkdir(parents=True, exist_ok=True)
    reason = why_not(args.device)
    if reason is not None:
        print(f"no GPU: not run ({reason})")
        note = "`python -m bench.gpu_check` was not yet run on a GPU: there are no figures.\n"
        (args.out / "gpu.md").write_text(f"# The GPU: not yet run\n\n{note}")
        return 0

    device = "CPU, a dry run"
    if args.device == "cuda":
        from dtorch.core.backend.visible import device_count

        asked = "import dtorch; print(dtorch.cuda.get_device_name())"
        shown = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
        device = f"{device_count()} x {shown.stdout.strip() or 'a GPU that CuPy cannot use'}"
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    report: dict[str, Any] = {"device": device, "date": date, "sections": {}}
    report["command"] = f"python -m bench.gpu_check --device {args.device} --only {args.only}"
    stem = args.out / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}-{date}"
    end = time.monotonic() + BUDGET
    for section in args.only.split(","):
        limit = min(SECTIONS[section].limit, end - time.monotonic())
        print(f"===== {section}", flush=True)
        if limit < 10:
            found = {"status": "not run: no time left", "seconds": 0, "rows": [], "failures": []}
        else:
            found = run(section, args.device, limit)
        report["sections"][section] = found
        stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        stem.with_suffix(".md").write_text(page(report))
    print("\n===== all")
    for section, r in report["sections"].items():
        print(
            f"{section:10s} {r['status']:24s} {r['seconds']:6.1f} s  {len(r['failures'])} failures"
        )
    return 1 if any(r["status"] != "ok" for r in report["sections"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
