"""Presets: every key typed, and a wrong one named with its cure."""

from pathlib import Path

import pytest

from dtorch_run.config import KEYS, UsageError, find, load

PRESETS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", ["cpu2", "cpu4"])
def test_the_shipped_presets_load(name):
    options = load(PRESETS / f"{name}.toml")
    assert options["nproc_per_node"] == int(name[-1])
    assert find(name).samefile(PRESETS / f"{name}.toml")


def test_all_keys(tmp_path):
    preset = tmp_path / "all.toml"
    preset.write_text(
        'nproc_per_node = "auto"\nbackend = "mpi"\nthreads = 2\ntimeout = 1.5\nenv = ["A=1"]\n'
    )
    options = load(preset)
    assert options.keys() == KEYS.keys()
    assert options["timeout"] == 1.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nproc_pernode = 2", r"unknown key 'nproc_pernode' \(did you mean 'nproc_per_node'\?\)"),
        ("thread = 2", r"did you mean 'threads'\?"),
        ("xyzzy = 2", "unknown key 'xyzzy'; the keys are nproc_per_node, "),
        ('threads = "2"', "threads must be a whole number, got '2'"),
        ("threads = true", "threads must be a whole number, got True"),
        ("nproc_per_node = 1.5", 'must be a whole number, "auto", "cpu" or "gpu", got 1.5'),
        ("env = [1]", r'env must be a list of "NAME=value" strings, got \[1\]'),
        ("[env]\nA = 1", "env must be a list"),
        ("threads 2", "expected TOML"),
    ],
)
def test_bad_presets(tmp_path, text, words):
    preset = tmp_path / "bad.toml"
    preset.write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        load(preset)
    assert "bad.toml" in str(error.value)


def test_a_missing_preset(tmp_path):
    with pytest.raises(UsageError, match="cannot read the preset .*none.toml: No such file"):
        load(tmp_path / "none.toml")
