"""How a rank has ended: what the kernel says, and what the rank itself has left (see `worker`)."""

from __future__ import annotations

import json
from pathlib import Path

from dtorch_run.report import Ending

_WORKER = Path(__file__).with_name("worker.py")


def read(
    folder: Path, run_folder: Path, rank: int | None, code: int, now: float, peak: int | None = None
) -> Ending:
    """The Ending of a rank that exited with `code`; it is not yet known whether it was told to.

    folder: where it left word; run_folder: where its record of collectives is
    """
    when, summary, in_collective = now, "", False
    trace = _without_us(_text(folder / f"{rank}.crash"))
    word = _text(folder / f"{rank}.json")
    if word:
        left = json.loads(word)
        code, when, summary = left["code"], left["time"], left["summary"]
        trace, in_collective = left["traceback"], left["in_collective"]
    end = _text(folder / f"{rank}.end")
    done = float(end) if end else when if code == 0 else None  # empty where the disk was full
    last = _last_collective(run_folder, rank)
    return Ending(rank, code, when, False, summary, trace, in_collective, False, peak, last, done)


def _last_collective(folder: Path, rank: int | None) -> str:
    """What the flight recorder of a rank that failed says it was at, if it wrote one."""
    text = _text(folder / f"flight-rank{rank}.json")
    entries = json.loads(text)["entries"] if text else []
    if not entries:
        return ""
    entry = entries[-1]
    name = f" {entry['name']!r}" if entry["name"] else ""
    return f"#{entry['seq']} {entry['op']}{name} at {entry['line']} ({entry['state']})"


def _without_us(stack: str) -> str:
    """faulthandler's stacks without what says nothing to the user, such as the worker's frames."""
    noise = (f'  File "{_WORKER}"', '  File "<frozen ', "Extension modules: ")
    lines = stack.splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(noise)).rstrip("\n")
    return f"{kept}\n" if kept else ""


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""
