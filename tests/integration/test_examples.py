"""The examples run as README says: by themselves, under dtorch-run, and under mpirun."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dtorch.distributed as dist

ROOT = Path(__file__).parents[2]
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
STARTERS = {
    "alone": [sys.executable],
    "dtorch-run": [sys.executable, "-m", "dtorch_run", "--config", "cpu2"],
    "mpirun": [MPIRUN or "mpirun", "-n", "2", sys.executable],
}


def run(starter: str, script: str | Path, *args: object) -> str:
    """What an example prints, without the prefixes of the ranks."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "launcher")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [*STARTERS[starter], str(ROOT / "examples" / script), *map(str, args)]
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"^\[[-\d]+( x\d+)?\] ", "", done.stdout, flags=re.MULTILINE)


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


def test_lstm_lm_foretells_words_better_than_their_frequencies_do():
    text = run(
        "alone", "lstm_lm.py", "--topics", 12, "--epochs", 4, "--width", 48, "--layers", 1,
        "--batch-size", 4, "--length", 16, "--lr", 0.01,
    )  # fmt: skip
    assert text.count("epoch") == 4
    assert number(r"unseen text (\d+)", text) < number(r"a guess has perplexity (\d+)", text)


def test_uneven_has_the_same_losses_on_any_number_of_ranks():
    """Equal but for rounding, though ranks have different lines and numbers of tokens."""
    seen = [
        re.findall(r"loss ([\d.]+) of (\d+)", run(s, "uneven.py")) for s in ("alone", "dtorch-run")
    ]
    assert len(seen[0]) == 10
    for (alone, tokens), (together, same_tokens) in zip(*seen):
        assert tokens == same_tokens
        assert float(together) == pytest.approx(float(alone), abs=1e-3)
    assert float(seen[0][-1][0]) < 5


def test_zero_spreads_its_state_and_goes_on_alone(tmp_path):
    text = run("dtorch-run", "zero.py", "--epochs", 2, "--checkpoint", tmp_path / "zero")
    kept = [float(k) for k in re.findall(r"keeps ([\d.]+) KiB", text)]
    assert len(kept) == 2
    assert max(kept) < 0.6 * sum(kept)  # by whole parameters
    text = run("alone", "zero.py", "--epochs", 3, "--checkpoint", tmp_path / "zero", "--resume")
    assert re.findall(r"^epoch (\d)", text, re.MULTILINE) == ["3"]
    assert number(r"keeps ([\d.]+) KiB", text) == pytest.approx(sum(kept), abs=0.2)
    assert number(r"test accuracy ([\d.]+)", text) > 0.9


def test_diloco_learns_with_few_exchanges():
    text = run("dtorch-run", "diloco.py", "--epochs", 5)
    steps, exchanges = map(int, re.search(r"(\d+) steps, (\d+) exchanges", text).groups())
    assert exchanges == steps // 20
    assert number(r"test accuracy ([\d.]+)", text) > 0.9


def test_rehearsal_shows_what_each_fault_comes_to():
    text = run("alone", "rehearsal.py")
    assert text.count("the same weights") == 2
    assert "OTHER" not in text
    for words in (
        "delay:1@step2=90:\n    DistError: no end after 60 s",
        "kill:2@step3:\n    DistError: rank 2 ended while",
        "mismatch:1@barrier#2:\n    MismatchError: the ranks of group 'world' disagree",
    ):
        assert words in text


def test_the_same_bits_alone_and_stopped_on_two_ranks_and_gone_on_with_by_others(tmp_path):
    def told(text: str) -> list[str]:
        return re.findall(r"^step.*|^weights.*", text, re.MULTILINE)

    file = tmp_path / "checkpoint"
    whole = told(run("alone", "same_bits.py", "--steps", 6))
    assert len(whole) == 7
    head = told(run("dtorch-run", "same_bits.py", "--steps", 2, "--checkpoint", file))
    tail = told(run("mpirun", "same_bits.py", "--steps", 6, "--resume", file, "--backend", "mpi"))
    assert head[:2] + tail == whole


@pytest.mark.parametrize("model", ["mlp", "gpt"])
def test_the_same_bits_on_threads(model, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    train = importlib.import_module("same_bits").train
    results = [told for n in (1, 3) for told in dist.run_local(train, n, model, 3)]
    assert len({(*losses, weights) for losses, weights, _ in results}) == 1


def test_gradcam_paints_where_the_model_looks(tmp_path):
    text = run("alone", "gradcam.py", "--epochs", 2, "--out", tmp_path / "out.png")
    assert number(r"loss ([\d.]+)$", text.split("\nwrote")[0].rsplit("\n", 1)[0]) < 1.6
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (10 * 66 + 2, 4 * 66 + 2)
        pixels = np.asarray(picture).reshape(-1, 3).astype(int)
    assert (pixels.max(1) - pixels.min(1)).max() > 100  # colours over grey digits
