"""Files of the safetensors library: its own reader and writer for torch agree with ours."""

import pytest
import safetensors
import safetensors.torch as theirs
import torch

import dtorch
from dtorch.utils import safetensors as ours

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
          "bool", "complex64"]  # fmt: skip


def tensors(m):
    state = {name: m.arange(6).reshape(2, 3).to(getattr(m, name)) for name in DTYPES}
    return {**state, "scalar": m.tensor(3), "empty": m.zeros(0, 3)}


def lists(state):
    return {name: (str(t.dtype).rpartition(".")[2], t.tolist()) for name, t in state.items()}


def test_both_ways(tmp_path):
    path = str(tmp_path / "model.safetensors")
    expected = lists(tensors(torch))
    theirs.save_file(tensors(torch), path, {"by": "them"})
    assert lists(ours.load_file(path)) == lists(dtorch.load(path)) == expected
    assert lists(dtorch.load(path, map_location="cpu")) == expected
    with open(path, "rb") as file:
        assert lists(ours.load(file.read())) == expected
    ours.save_file(tensors(dtorch), path, {"by": "us"})
    assert lists(theirs.load_file(path)) == expected
    assert lists(theirs.load(ours.save(tensors(dtorch)))) == expected
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"by": "us"}


def test_single_tensors_share_the_files_memory_until_they_are_written_to(tmp_path):
    path = tmp_path / "model.safetensors"
    ours.save_file({"a": dtorch.arange(12.0).reshape(3, 4), "b": dtorch.ones(2)}, path)
    with ours.safe_open(path, framework="pt") as file:
        assert file.keys() == list(file) == ["a", "b"]
        assert set(file.offset_keys()) == {"a", "b"}
        assert file.metadata() is None
        part = file.get_slice("a")
        assert (part.get_shape(), part.get_dtype()) == ([3, 4], "F32")
        assert part[1:, :2].tolist() == [[4, 5], [8, 9]]
        a = file.get_tensor("a")
        with pytest.raises(safetensors.SafetensorError, match="does not contain tensor c"):
            file.get_tensor("c")
    a.fill_(0)
    assert a.untyped_storage().nbytes() == 48
    assert ours.load_file(path)["a"][2, 3] == 11
    with pytest.raises(ValueError, match="framework"):
        ours.safe_open(path, framework="tf")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ([1], ValueError, "Expected a dict"),
        ({"a": 1}, ValueError, "Key `a` is invalid"),
        ({"a": dtorch.ones(2, 3).T}, ValueError, "non contiguous tensor: `a`"),
        ({"a": dtorch.ones(1, dtype=dtorch.complex128)}, TypeError, "no dtype dtorch.complex128"),
    ],
)
def test_what_files_cannot_hold_is_refused(tmp_path, wrong, error, message):
    with pytest.raises(error, match=message):
        ours.save_file(wrong, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_shared_memory_is_refused():
    t = dtorch.ones(4)
    with pytest.raises(RuntimeError, match=r"Some tensors share memory.*\['a', 'b'\]"):
        ours.save({"a": t, "b": t[1:]})
    assert len(ours.load(ours.save({"a": t[:2], "b": t[2:]}))) == 2  # apart, so no harm


def test_models_with_tied_weights(tmp_path):
    def tied(m):
        layer = m.nn.Linear(2, 2)
        return m.nn.Sequential(layer, m.nn.ReLU(), layer)

    path = str(tmp_path / "model.safetensors")
    source = tied(torch)
    theirs.save_model(source, path)
    for _ in range(2):
        target = tied(dtorch)
        assert ours.load_model(target, path) == (set(), [])
        assert target[2].weight.tolist() == source[2].weight.tolist()
        ours.save_model(target, path)
    assert theirs.load_model(tied(torch), path) == (set(), [])
    other = dtorch.nn.Sequential(dtorch.nn.Linear(2, 2), dtorch.nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match=r"missing keys \['1.bias', '1.weight'\]"):
        ours.load_model(other, path)


def test_bad_files(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"hello, this is no such file")
    with pytest.raises(safetensors.SafetensorError):
        ours.load_file(path)
    ours.save_file({"a": dtorch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(safetensors.SafetensorError):
        ours.load_file(path)
    with pytest.raises(RuntimeError, match="the tensors all go to one device"):
        dtorch.load(path, map_location={"cpu": "cpu"})
