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
import torch
from PIL import Image
from scipy.special import xlog1py, xlogy

import dtorch
import dtorch.distributed as dist
from dtorch.vision.datasets import Digits
from dtorch.vision.models import resnet18

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


def test_vae_foretells_images_better_than_their_mean_does(tmp_path):
    text = run("alone", "vae.py", "--epochs", 5, "--out", tmp_path / "vae.png")
    constant = number(r"mean image for all: -ELBO ([\d.]+)", text)
    assert number(r"epoch 5/5: -ELBO ([\d.]+)", text) < constant - 0.5
    train, test = (
        np.stack([image.numpy().ravel() for image, _ in Digits(train=t)]) for t in (True, False)
    )
    mean = train.mean(0, dtype=np.float64)
    entropy = -(xlogy(test, mean) + xlog1py(1 - test, -mean)).sum(1).mean()
    assert constant == pytest.approx(entropy, abs=0.02)
    with Image.open(tmp_path / "vae.png") as picture:
        assert picture.size == (8 * 10 + 2, 8 * 10 + 2)


def test_dcgan_draws_what_is_like_the_digits_in_the_mean():
    text = run("alone", "dcgan.py", "--epochs", 3)
    before, after = (number(rf"{when}.* is ([\d.]+) off", text) for when in ("untrained", "3/3"))
    assert after < before / 3


@pytest.mark.parametrize("starter", ["alone", "dtorch-run"])
def test_siamese_tells_unseen_pairs_apart(starter):
    """Half of the pairs show the same digit, so that a guess has 0.5."""
    text = run(starter, "siamese.py", "--epochs", 3)
    assert number(r"([\d.]+) of unseen pairs", text) > 0.8


def test_gcn_finds_where_the_members_went():
    assert number(r"(\d+) of 32 members", run("alone", "gcn.py", "--steps", 80)) > 0.8 * 32


def test_reinforce_doubles_the_return():
    text = run("alone", "reinforce.py", "--rounds", 15, "--carts", 16)
    first, *_, last = (float(x) for x in re.findall(r"mean return ([\d.]+)", text))
    assert last > 2 * first


def test_a_run_that_was_stopped_within_an_epoch_ends_with_the_same_weights(tmp_path):
    def weights(folder: str, *args: object) -> str:
        return run(
            "dtorch-run", "resume.py", "--steps", 30, "--checkpoint", tmp_path / folder, *args
        )

    whole = weights("whole")
    assert "stops after step 15" in weights("stopped", "--stop-after", 15)
    rest = weights("stopped")
    assert "goes on after step 10" in rest
    assert re.findall("weights .*", rest) == re.findall("weights .*", whole) != []
    assert number(r"test accuracy ([\d.]+)", rest) > 0.8


def test_finetune_reads_a_file_of_torchs_and_changes_the_head_alone(tmp_path):
    dtorch.manual_seed(1)
    weights = resnet18().state_dict()
    torch.save({k: torch.from_numpy(v.numpy()) for k, v in weights.items()}, tmp_path / "a.pth")
    text = run(
        "alone", "finetune.py", "--weights", tmp_path / "a.pth", "--out", tmp_path / "b.pth",
        "--images", 300, "--size", 32, "--epochs", 10,
    )  # fmt: skip
    assert "loaded 122 tensors from a.pth" in text
    assert number(r"test accuracy ([\d.]+)", text) > 0.5  # by chance 0.1; the features are random
    tuned = torch.load(tmp_path / "b.pth")
    same = {k for k, v in tuned.items() if np.array_equal(v.numpy(), weights[k].numpy())}
    assert weights.keys() - same == {"fc.weight", "fc.bias"}
    assert tuned["fc.weight"].shape == (10, 512)


@pytest.mark.parametrize("starter", ["alone", "dtorch-run"])
def test_resnet_learns_digits(starter):
    text = run(starter, "resnet.py", "--epochs", 2)
    assert number(r"accuracy ([\d.]+)$", text.rstrip()) > 0.8


def test_resnet_20_has_the_papers_number_of_parameters(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    model = importlib.import_module("resnet").make_model(channels=3, blocks=3)
    # Table 6 of the paper says 0.27 million; shortcuts without parameters.
    assert sum(p.numel() for p in model.parameters()) == 269_722
    assert model(dtorch.zeros(2, 3, 32, 32)).shape == (2, 10)
