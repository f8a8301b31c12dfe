"""PyTorch's databases on dtorch: python -m tests.conformance [ops|modules|optimizers]."""

from __future__ import annotations

import argparse
import fnmatch
import json
import time

from . import report
from .run import ITEMS, run_all

KINDS = {"ops": ["op"], "modules": ["module"], "optimizers": ["optimizer", "scheduler"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("what", nargs="*", choices=[*KINDS, []], help="which databases (default: all)")
    add("--only", default="*", help="name or pattern of names: 'linalg.*', 'add', 'SGD'")
    add("--device", default="cpu", help="where dtorch's tensors go")
    add("--jobs", type=int, default=2, help="processes")
    add("--verbose", action="store_true", help="say of each item what fails, and why")
    add("--json", help="write every record to this file")
    add("--write", action="store_true", help="write gaps.json and docs/conformance.md")
    options = parser.parse_args()
    if options.write and (options.what or options.only != "*" or options.device != "cpu"):
        parser.error("--write is for a run of everything on the CPU")

    kinds = [kind for what in options.what or KINDS for kind in KINDS[what]]
    wanted = [
        item
        for item in ITEMS
        if item[0] in kinds and fnmatch.filter([item[1], item[1].split("|")[0]], options.only)
    ]
    started, records = time.monotonic(), []
    for record in run_all(wanted, options.jobs, options.device):
        records.append(record)
        if options.verbose and report.gaps(record):
            print(f"{report.title(record)}: {', '.join(report.gaps(record))}", flush=True)
            for why in (record["why"], *record.get("variants", {}).values(),
                        *record.get("wrong dtypes", {}).values()):  # fmt: skip
                if why:
                    print(f"    {why}")
    print(report.summary(records))
    print(f"{len(records)} items in {time.monotonic() - started:.0f} s")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(records, file, indent=1)
    if options.write:
        report.write_gaps(records)
        report.PAGE.write_text(report.page(records))


if __name__ == "__main__":
    main()
