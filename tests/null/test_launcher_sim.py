"""dtorch-run --sim: the command that it becomes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dtorch_run import config
from dtorch_run.cli import main
from dtorch_run.options import UsageError, merge
from dtorch_run.sim import command

CONFIGS = Path(__file__).parents[2] / "configs"


def options(*layers, **rest):
    return merge([("", layer) for layer in layers], **{"script": "train.py", **rest})


def test_the_command():
    given = {"sim": 4, "seed": 7, "fault": "kill:3@step5", "timeout": 9.5}
    made = command(options(given, args=("--lr", "1")), {"HOME": "/"})
    assert made.argv == (
        sys.executable, "-m", "dtorch.parallel.rehearse", "--sim", "4", "--seed=7",
        "--fault=kill:3@step5", "--timeout=9.5", "train.py", "--lr", "1",
    )  # fmt: skip
    assert made.env == {"HOME": "/"}
    made = command(options({"sim": 2}, script="pkg.train", module=True), {})
    assert made.argv[3:] == ("--sim", "2", "-m", "pkg.train")


def test_the_preset():
    made = command(options(config.load(CONFIGS / "rehearsal.toml"), {"sim": 2}), {})
    assert made.argv[3:] == ("--sim", "2", "--seed=0", "train.py")
    assert made.env["DTORCH_CHECK_MESSAGES"] == "on"
    assert made.env["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sim": 0}, "--sim must be at least 1, got 0"),
        ({"sim": 2, "nnodes": 2}, "--nnodes has no meaning there"),
        ({"sim": 2, "nproc_per_node": 2}, "--nproc-per-node has no meaning there"),
        ({"sim": 2, "timeout": 0.0}, "--timeout must be more than 0"),
        ({"sim": 2, "env": ["RANK=1"]}, "--env cannot set RANK"),
    ],
)
def test_what_makes_no_sense(given, words):
    with pytest.raises(UsageError, match=words):
        command(options(given), {})


def test_a_fault_without_a_rehearsal(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text("")
    assert main(["--fault", "kill:1@step1", str(script)]) == 2
    assert "--fault is for rehearsals: say --sim N, too" in capsys.readouterr().err
