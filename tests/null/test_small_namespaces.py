"""backends, accelerator and cpu: names that scripts set and ask for."""

import importlib

import pytest
import torch

import dtorch
from dtorch import accelerator, backends

no_gpu = pytest.mark.skipif(dtorch.cuda.is_available(), reason="there is a GPU")
FLAGS = {
    "cudnn": ["enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32"],
    "cuda.matmul": ["allow_tf32", "allow_fp16_reduced_precision_reduction",
                    "allow_bf16_reduced_precision_reduction"],
    "mkldnn": ["enabled", "deterministic"],
    "opt_einsum": ["enabled"],
}  # fmt: skip


@pytest.mark.parametrize("where", FLAGS)
def test_flags_begin_as_torchs_and_can_be_set(where):
    ours, theirs = backends, torch.backends
    for name in where.split("."):
        ours, theirs = getattr(ours, name), getattr(theirs, name)
    for flag in FLAGS[where]:
        before = getattr(ours, flag)
        if where != "opt_einsum":  # which depends on what is installed
            assert before == getattr(theirs, flag), flag
        setattr(ours, flag, True)
        assert getattr(ours, flag) is True
        setattr(ours, flag, before)


def test_blocks_of_flags():
    cudnn = importlib.import_module("dtorch.backends.cudnn")
    assert cudnn is backends.cudnn
    with cudnn.flags(benchmark=True, enabled=False):
        assert (cudnn.benchmark, cudnn.enabled) == (True, False)
    assert (cudnn.benchmark, cudnn.enabled) == (False, True)
    with pytest.raises(TypeError, match="unexpected flags: speed"), cudnn.flags(speed=1):
        pass
    with backends.cuda.sdp_kernel(enable_flash=False):
        assert not backends.cuda.flash_sdp_enabled()
    assert backends.cuda.flash_sdp_enabled()
    backends.cuda.enable_math_sdp(False)
    assert not backends.cuda.math_sdp_enabled()
    backends.cuda.enable_math_sdp(True)
    backends.mha.set_fastpath_enabled(False)
    assert not backends.mha.get_fastpath_enabled()
    backends.mha.set_fastpath_enabled(True)


def test_what_is_available():
    for name in ["cudnn", "mkl", "mkldnn", "mps", "nnpack", "openmp", "opt_einsum"]:
        assert getattr(backends, name).is_available() is False
    assert backends.cuda.is_built() == dtorch.cuda.is_available()
    assert backends.cudnn.version() is None


@no_gpu
def test_accelerator_without_one():
    assert not accelerator.is_available()
    assert accelerator.device_count() == 0
    assert accelerator.current_accelerator() is None
    for name in ["current_device_index", "synchronize", "empty_cache", "memory_allocated",
                 "current_stream", "memory_stats"]:  # fmt: skip
        with pytest.raises(RuntimeError) as theirs:
            getattr(torch.accelerator, name)()
        with pytest.raises(RuntimeError) as ours:
            getattr(accelerator, name)()
        assert str(theirs.value).splitlines()[0] in str(ours.value)
    with accelerator.device_index(None):
        pass
    with pytest.raises(RuntimeError, match="none is available"), accelerator.device_index(0):
        pass


def test_cpu_as_a_device():
    ours, theirs = dtorch.cpu, torch.cpu
    for name in ["is_available", "device_count", "current_device", "is_initialized", "synchronize"]:
        assert getattr(ours, name)() == getattr(theirs, name)()
    with ours.stream(ours.current_stream()):
        ours.set_device(0)
    assert dtorch.get_device_module("cpu") is dtorch.cpu
    assert dtorch.get_device_module("cuda") is dtorch.cuda
