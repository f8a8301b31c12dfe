"""dtorch.hub: local repositories and files, and what it says of anything else."""

import hashlib
from pathlib import Path

import pytest

import dtorch
from dtorch import hub

HUBCONF = '''
dependencies = ["json"]
import helper

def small(size, bias=True):
    """A linear layer."""
    return helper.layer(size, bias)

def _hidden():
    pass

constant = 3
'''
HELPER = "import dtorch\ndef layer(n, bias): return dtorch.nn.Linear(n, n, bias)\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, as torch finds it."""
    monkeypatch.setattr(hub, "_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub"


def repository(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "hubconf.py").write_text(HUBCONF)
    (place / "helper.py").write_text(HELPER)
    return place


def test_directories(cache, monkeypatch):
    assert hub.get_dir() == str(cache)
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert hub.get_dir() == "/somewhere/torch/hub"
    hub.set_dir("~/models")
    assert hub.get_dir() == str(Path.home() / "models")


def test_a_local_repository(tmp_path):
    place = str(repository(tmp_path / "mine"))
    layer = hub.load(place, "small", 3, source="local", bias=False)
    assert layer.weight.shape == (3, 3)
    assert layer.bias is None
    assert hub.list(place, source="local") == ["small"]
    assert hub.help(place, "small", source="local") == "A linear layer."
    with pytest.raises(RuntimeError, match="Cannot find callable constant in hubconf"):
        hub.load(place, "constant", source="local")
    with pytest.raises(ValueError, match="should be a string"):
        hub.load(place, 3, source="local")
    with pytest.raises(ValueError, match="Unknown source"):
        hub.load(place, "small", source="gitlab")
    with pytest.raises(FileNotFoundError, match=r"no hubconf\.py"):
        hub.load(str(tmp_path), "small", source="local")
    (tmp_path / "mine" / "hubconf.py").write_text("dependencies = ['no_such_package']")
    with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package"):
        hub.load(place, "small", source="local")


def test_a_cached_repository(cache):
    repository(cache / "someone_models_main")
    repository(cache / "someone_models_v1.0")
    with pytest.raises(RuntimeError, match="Untrusted repository"):
        hub.load("someone/models", "small", 2)
    assert hub.load("someone/models", "small", 2, trust_repo=True).in_features == 2
    (cache / "trusted_list").write_text("someone_models\n")
    assert hub.list("someone/models:v1.0") == ["small"]
    with pytest.raises(
        RuntimeError, match="downloads nothing, and someone/else is not in the cache"
    ):
        hub.load("someone/else", "small")
    with pytest.raises(RuntimeError, match="force_reload"):
        hub.list("someone/models", force_reload=True)
    with pytest.raises(ValueError, match="expected a repository as owner/name"):
        hub.list("nothing")


def test_weights(cache, tmp_path):
    state = {"w": dtorch.arange(3)}
    dtorch.save(state, tmp_path / "plain.pt")
    digits = hashlib.sha256((tmp_path / "plain.pt").read_bytes()).hexdigest()[:8]
    good, bad = tmp_path / f"net-{digits}.pt", tmp_path / "net-00000000.pt"
    for name in (good, bad):
        name.write_bytes((tmp_path / "plain.pt").read_bytes())
    got = hub.load_state_dict_from_url(good.as_uri(), check_hash=True, weights_only=True)
    assert got["w"].tolist() == [0, 1, 2]
    kept = cache / "checkpoints"
    assert [f.name for f in kept.iterdir()] == [good.name]
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.load_state_dict_from_url(bad.as_uri(), check_hash=True)
    assert [f.name for f in kept.iterdir()] == [good.name]  # nothing half copied
    far = f"https://example.org/models/{good.name}"
    assert hub.load_state_dict_from_url(far, check_hash=True)["w"].tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match=r"downloads nothing: get https://example.org/other\.pt"):
        hub.load_state_dict_from_url("https://example.org/other.pt")
    (kept / good.name).write_bytes(b"broken")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        hub.load_state_dict_from_url(far, check_hash=True)
    hub.load_state_dict_from_url(bad.as_uri(), model_dir=str(tmp_path / "m"), file_name="x.pt")
    assert (tmp_path / "m" / "x.pt").exists()
