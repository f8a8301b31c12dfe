"""The examples run as README says: by themselves, under dtorch-run, and under mpirun."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
STARTERS = {
    "alone": [sys.executable],
    "dtorch-run": [sys.executable, "-m", "dtorch_run", "--nproc-per-node", "2"],
    "mpirun": [MPIRUN or "mpirun", "-n", "2", sys.executable],
}


def run(starter: str, script: str | Path, *args: object) -> str:
    """What an example prints, without the prefixes of the ranks."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "launcher")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [*STARTERS[starter], str(ROOT / "examples" / script), *map(str, args)]
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"^\[\d+\] ", "", done.stdout, flags=re.MULTILINE)


def number(pattern: str, text: str) -> float:
    found = re.findall(pattern, text)
    assert found, text
    return float(found[-1])


@pytest.mark.parametrize("starter", STARTERS)
def test_digits_learns_saves_and_resumes(starter, tmp_path):
    """Two epochs, then a third from the checkpoint; ranks end with the same weights."""
    args = ["--checkpoint", tmp_path / "digits"]
    text = run(starter, "digits.py", "--epochs", 2, *args)
    assert number(r"test accuracy ([\d.]+)$", text.rstrip()) > 0.9
    text = run(starter, "digits.py", "--epochs", 3, "--resume", *args)
    assert re.findall(r"^epoch +(\d+)/3", text, re.MULTILINE) == ["3"]
    assert number(r"test accuracy ([\d.]+)$", text.rstrip()) > 0.95
    assert f"equal on all ranks (world size {1 if starter == 'alone' else 2})" in text


def test_two_ranks_end_with_the_same_bits_whoever_starts_them(tmp_path):
    digests = {
        re.search(
            r"weights (\w+)", run(s, "digits.py", "--epochs", 1, "--checkpoint", tmp_path / s)
        )[1]
        for s in ("dtorch-run", "mpirun")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("starter", STARTERS)
def test_readmes_script_learns(starter, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1])
    text = run(starter, script)
    assert number(r"epoch 9: loss ([\d.]+)", text) < 0.5
    assert text.count("epoch") == 10


def test_mlp_reaches_its_accuracy():
    assert number(r"test accuracy ([\d.]+)", run("alone", "mlp.py")) > 0.95


@pytest.mark.parametrize("starter", ["alone", "dtorch-run"])
def test_char_gpt_starts_at_ln_of_the_vocabulary_and_falls(starter):
    text = run(starter, "char_gpt.py", "--steps", 20, "--width", 32, "--layers", 1, "--sample", 5)
    uniform = number(r"ln = ([\d.]+)", text)
    first, last = (float(x) for x in re.findall(r"^step +\d+: loss ([\d.]+)", text, re.MULTILINE))
    assert first == pytest.approx(uniform, abs=0.15)
    assert last < first
