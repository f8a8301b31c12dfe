"""CUDA_VISIBLE_DEVICES as the driver reads it, against torch's own parser; no GPU needed."""

import os

import pytest
import torch
from torch.cuda import _parse_visible_devices

import dtorch
from dtorch.core.backend.visible import parse, resolve

UUIDS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]


@pytest.mark.parametrize(
    "value",
    ["", "-1", "0", "1,0", "0,2,-1,1", "0,0", "0,1,1", "a", "1gpu", "0,a,1", " 1 , 2", "+1", "7",
     "GPU-aa11", "GPU-aa11,GPU-bb33", "GPU-aa11,GPU-aa11", "GPU-aa11,1", "MIG-x", "MIG-x,MIG-y",
     "MIG-x,GPU-aa11", "MIG-GPU-aa11/1/0", "GPU-aa11,MIG-x", "0,GPU-aa11", "NoDevFiles", "none",
     "void", "all", ",0", "0,", "0,,1", " ", " 0", "0 ,1 ", "-2,0", "1-2", "0,1,2,3,4,5,6,7", "00,1",
     "0x1", "1.5,2", "2ampere,1gpu", "GPU-", "gpu-aa11", " GPU-aa11", "0;1", "0:1", "1 0", "0,+0"],
)  # fmt: skip
def test_parse_is_torchs(value, monkeypatch):
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", value)
    assert parse(value) == _parse_visible_devices()


def test_unset_is_all():
    assert parse(None) is None
    assert resolve(None, UUIDS) == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("2,0", [2, 0]), ("0,7,1", [0]), ("GPU-bb", [2]), ("GPU-aa", []), ("GPU-aa22,GPU-aa11", [1, 0]),
     ("MIG-x,MIG-y", ["MIG-x"]), ("GPU-zz", []), ("1,1", [])],
)  # fmt: skip
def test_resolve(value, shown):
    assert resolve(parse(value), UUIDS) == shown


def test_a_machine_without_a_gpu_says_so(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert not dtorch.cuda.is_available()
    assert dtorch.cuda.device_count() == 0
    assert not dtorch.cuda.is_initialized()
    assert dtorch.cuda.memory_allocated() == 0
    with pytest.raises(RuntimeError, match="CUDA is not available: .*device='cpu'"):
        dtorch.zeros(2, device="cuda")
    with pytest.raises(RuntimeError, match="CUDA is not available"):
        dtorch.zeros(2).cuda()
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        dtorch.device("cudda")
