"""docs/life-of-a-gradient.md: its code runs, its files are there, and the way stays short."""

from __future__ import annotations

import re
from pathlib import Path

import dtorch.distributed as dist

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs/life-of-a-gradient.md").read_text("utf-8")


def test_its_code_runs_on_two_ranks():
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) > 5
    code = compile("\n".join(snippets), "life-of-a-gradient.md", "exec")
    dist.run_local(lambda: exec(code, {}), 2)


def test_its_files_are_there():
    named = set(re.findall(r"`((?:dtorch|parallel|core)/[\w/.-]+)`", PAGE))
    assert len(named) > 8
    for name in named:
        assert (REPO / name).exists() or (REPO / "dtorch" / name).exists(), name


def test_the_way_from_op_to_wire_can_be_read_in_an_afternoon():
    folder = REPO / "dtorch/parallel"
    files = [folder / f"{name}.py" for name in ("group", "buckets", "reducer", "ddp")]
    files += folder.glob("transport*.py")
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) < 2500
