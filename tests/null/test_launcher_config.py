"""Presets and the table of options: every key typed, and a wrong one named with its cure."""

from dataclasses import fields
from pathlib import Path

import pytest

from dtorch_run.config import find, load, nearest
from dtorch_run.options import ALL, Options, UsageError, merge

PRESETS = Path(__file__).parents[2] / "configs"


def test_the_table_and_the_options_are_the_same():
    rest = {"script", "args", "module", "no_python", "origin"}
    assert {field.name for field in fields(Options)} == ALL.keys() | rest


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_the_shipped_presets_load(name):
    assert find(name).samefile(PRESETS / f"{name}.toml")
    options = merge([(name, load(find(name)))], script="train.py")
    assert options.origin.keys() <= ALL.keys()
    ranks = name[3:] if name[:3] in ("cpu", "gpu") else ""
    if ranks.isdecimal():
        assert (options.nproc_per_node, options.device) == (int(ranks), name[:3])


def test_all_keys(tmp_path):
    examples = {int: "1", str: '"a"', float: "1.5", bool: "true", list: '["A=1"]'}
    values = {
        key: f'"{option.choices[0]}"' if option.choices else examples[option.kind.types[0]]
        for key, option in ALL.items()
    }
    preset = tmp_path / "all.toml"
    preset.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    assert load(preset).keys() == ALL.keys()


def test_later_layers_win_and_say_where_they_come_from():
    layers = [("cpu2.toml", {"threads": 1, "env": ["A=1"]}), ("", {"threads": 2, "env": ["B=1"]})]
    options = merge(layers, script="x")
    assert (options.threads, options.env) == (2, ("A=1", "B=1"))
    assert options.source("threads") == "--threads"
    assert options.source("backend") == "default"
    assert merge(layers[:1], script="x").source("threads") == "cpu2.toml"
    assert merge([("", {"nproc_per_node": 2})], script="x").source("nproc_per_node") == (
        "--nproc-per-node"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nproc_pernode = 2", r"unknown key 'nproc_pernode' \(did you mean 'nproc_per_node'\?\)"),
        ("thread = 2", r"did you mean 'threads'\?"),
        ("max-restart = 2", r"did you mean 'max_restarts'\?"),
        ("xyzzy = 2", "unknown key 'xyzzy'; the keys are nproc_per_node, "),
        ('threads = "2"', "threads must be a whole number, got '2'"),
        ("threads = true", "threads must be a whole number, got True"),
        ("share_gpu = 1", "share_gpu must be true or false, got 1"),
        ("nproc_per_node = 1.5", 'must be a whole number, "auto", "cpu" or "gpu", got 1.5'),
        ("env = [1]", r'env must be a list of "NAME=value" strings, got \[1\]'),
        ("[env]\nA = 1", "env must be a list"),
        ('device = "tpu"', "device must be auto, cpu or gpu, got 'tpu'"),
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
    with pytest.raises(
        UsageError, match=r"no preset 'cpu3' \(did you mean 'cpu[24]'\?\): .*cpu2, "
    ):
        find("cpu3")


def test_nearest():
    assert nearest("--nproc", ["--nnodes", "--nproc-per-node"]) == (
        " (did you mean '--nproc-per-node'?)"
    )
    assert nearest("xyzzy", ["--threads"]) == ""
