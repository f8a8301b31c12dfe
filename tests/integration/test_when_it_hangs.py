"""docs/when-it-hangs.md: its scripts print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs/when-it-hangs.md").read_text("utf-8")
SCRIPTS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def start(tmp_path):
    """start(script) runs one of the page's scripts on three ranks, in a folder with all of them."""
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(f"# {name}\n{text}")

    def start(name: str) -> subprocess.Popen[str]:
        path = f"{REPO}:{REPO / 'launcher'}"
        env = {**os.environ, "PYTHONPATH": path, "DTORCH_STALL_TIMEOUT": "0.5"}
        argv = [sys.executable, "-m", "dtorch_run", "--nproc-per-node", "3", name]
        return subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)

    return start


def said(after: str) -> str:
    """The page's output after some text, as one line, without what differs from run to run."""
    text = plain(PAGE.partition(after)[2].partition("```text\n")[2].partition("```")[0])
    assert "rank" in text
    return text


def plain(text: str) -> str:
    text = re.sub(r"after [\d.]+ s", "after N s", text)
    text = re.sub(r"\(\S+, process \d+\)", "(HOST, process N)", text)
    text = re.sub(r"(?m)^\[0\] ", "", re.sub(r"/\S*/data.py", "data.py", text))
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["mismatch.py", "swap.py"])
def test_ranks_that_disagree(start, name):
    _, text = start(name).communicate(timeout=60)
    assert said(f"# {name}") in plain(text)


def test_a_rank_that_stands_still(start):
    job = start("train.py")
    text = ""
    for line in job.stderr:
        text += line
        if "in __getitem__: " in line:  # the last line of the report
            break
    job.terminate()
    job.communicate(timeout=60)
    assert said("# train.py") in plain(text)
