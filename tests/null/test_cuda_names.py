"""dtorch.cuda on a machine without a GPU, and its logic over a recording stand-in for CuPy."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

import dtorch
from dtorch import cuda

no_gpu = pytest.mark.skipif(cuda.is_available(), reason="there is a GPU")


@no_gpu
def test_what_looks_or_cleans_up_answers():
    for name in ["is_available", "is_initialized", "is_bf16_supported", "is_tf32_supported",
                 "device_count", "memory_allocated", "memory_reserved", "max_memory_allocated",
                 "max_memory_reserved", "memory_stats", "get_rng_state_all", "get_arch_list",
                 "get_gencode_flags", "empty_cache", "seed_all"]:  # fmt: skip
        assert getattr(cuda, name)() == getattr(torch.cuda, name)(), name
    cuda.reset_peak_memory_stats()
    cuda.synchronize()
    with cuda.stream(None), cuda.device(None), cuda.device_of(dtorch.ones(1)):
        pass
    assert cuda.default_generators == ()
    with pytest.warns(FutureWarning, match="renamed to `dtorch.cuda.memory_reserved`"):
        assert cuda.memory_cached() == 0


@no_gpu
def test_what_asks_for_a_gpu_says_why_there_is_none():
    for call in [cuda.current_device, lambda: cuda.synchronize(0), cuda.get_device_name,
                 cuda.mem_get_info, cuda.get_device_properties, cuda.get_device_capability,
                 cuda.initial_seed, cuda.get_rng_state, cuda.Stream, cuda.Event,
                 cuda.current_stream, cuda.init,
                 lambda: cuda.set_device(0), lambda: dtorch.ones(1).cuda()]:  # fmt: skip
        with pytest.raises(RuntimeError, match="CUDA is not available: .*Use device='cpu'"):
            call()


@no_gpu
def test_seeds_for_gpus_leave_the_cpu_alone():
    dtorch.manual_seed(3)
    expected = dtorch.rand(2).tolist()
    dtorch.manual_seed(3)
    cuda.manual_seed_all(7)
    assert dtorch.rand(2).tolist() == expected


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy with one device, whose pool says what `pool` is set to."""
    fake = MagicMock()
    fake.cuda.Device.return_value.id = 0
    pool = fake.get_default_memory_pool.return_value
    pool.used_bytes.return_value, pool.total_bytes.return_value = 100, 200
    fake.cuda.runtime.getDeviceProperties.return_value = {
        "name": b"GPU", "major": 9, "minor": 0, "totalGlobalMem": 1000, "multiProcessorCount": 4,
    }  # fmt: skip
    fake.cuda.runtime.memGetInfo.return_value = (700, 1000)
    monkeypatch.setattr(cuda.devices, "_cupy", fake)
    monkeypatch.setattr(cuda.memory, "_peaks", {})
    return SimpleNamespace(module=fake, pool=pool)


def test_memory(cupy):
    assert (cuda.memory_allocated(), cuda.memory_reserved()) == (100, 200)
    cupy.pool.used_bytes.return_value = 40
    assert (cuda.memory_allocated("cuda:0"), cuda.max_memory_allocated()) == (40, 100)
    assert cuda.memory_stats()["allocated_bytes.all.peak"] == 100
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == 40
    assert cuda.mem_get_info() == (700, 1000)
    assert "GPU, device 0" in cuda.memory_summary()
    cuda.set_per_process_memory_fraction(0.5)
    cupy.pool.set_limit.assert_called_once_with(fraction=0.5)
    with pytest.raises(ValueError, match="Invalid fraction"):
        cuda.set_per_process_memory_fraction(2)
    with pytest.raises(ValueError, match="Expected a cuda device"):
        cuda.memory_allocated("cpu")


def test_properties(cupy):
    assert cuda.get_device_name() == "GPU"
    assert cuda.get_device_capability(0) == (9, 0)
    assert cuda.get_device_properties().total_memory == 1000


def test_streams_order_work(cupy):
    side, current = cuda.Stream(), cuda.current_stream()
    assert current._stream is cupy.module.cuda.get_current_stream.return_value
    with cuda.stream(side):
        side._stream.use.assert_called_once()
    current._stream.use.assert_called_once()
    other = cuda.default_stream()
    side.wait_stream(other)
    event = cupy.module.cuda.Event.return_value
    event.record.assert_called_once_with(other._stream)
    side._stream.wait_event.assert_called_once_with(event)
    start = cuda.Event(enable_timing=True)
    start.record()
    event.record.assert_called_with(current._stream)
    cupy.module.cuda.get_elapsed_time.return_value = 1.5
    assert start.elapsed_time(cuda.Event(enable_timing=True)) == 1.5
