"""What Tensor and the package have beside ops: legacy constructors, protocols, global settings."""

import warnings

import numpy as np
import pytest
import torch

import dtorch

# t: float32 (2, 3), i: int64 (2,)
EXPRESSIONS = """
torch.FloatTensor(2, 3).shape
torch.FloatTensor([1, 2])
torch.FloatTensor()
torch.LongTensor([1.7, 2])
torch.LongTensor(2).dtype
torch.LongTensor(t)
torch.FloatTensor(t)
torch.BoolTensor([True, False])
torch.HalfTensor([1]).dtype
isinstance(t, torch.FloatTensor)
isinstance(t, torch.LongTensor)
isinstance(3, torch.FloatTensor)
torch.FloatTensor.dtype
torch.FloatTensor
torch.Tensor(i)
torch.Tensor(2.5)
torch.Tensor('a')
torch.Tensor([[1, 2], [3, 4]])
torch.Tensor(t.shape).shape
t.type()
t.type(torch.LongTensor)
t.type('torch.DoubleTensor')
t.type(torch.float64)
t.type('nothing')
t.new(2).shape
t.new([1, 2])
i.new([1, 2])
reversed(i)
2 << i
2 >> i
i.__delitem__(0)
t.dim_order()
t.t().dim_order()
t.is_inference()
torch.is_inference(t)
torch.tensor([1]).is_nonzero()
torch.is_nonzero(torch.tensor(0.0))
t.is_nonzero()
t.grad_dtype
t.name
t.const_data_ptr() == t.data_ptr()
i.clone().apply_(lambda x: x + 1)
t.clone().requires_grad_().apply_(lambda x: x)
t.clone().map_(t, lambda a, b: a + b)
t.clone().map_(i, lambda a, b: a + b)
hasattr(t, '__cuda_array_interface__')
t.as_subclass(torch.nn.Parameter)
t.as_subclass(int)
t.__array_wrap__(np.ones(2, 'float32'))
t.__array_wrap__(np.array([True]))
5 in i
2 in i
[int(x) for x in i]
len(t)
torch.typename(t)
torch.typename(3)
torch.typename(torch.nn.Linear(1, 1)).split('.')[-1]
torch.detach(t.clone().requires_grad_() * 1).requires_grad
torch.get_default_device()
torch.are_deterministic_algorithms_enabled()
torch.get_deterministic_debug_mode()
torch.set_deterministic_debug_mode('nothing')
torch.get_float32_matmul_precision()
torch.set_num_interop_threads(0)
torch.from_numpy(np.arange(4)[::-1])
torch.from_numpy([1, 2])
torch.from_numpy(np.array(['a']))
torch.OutOfMemoryError.__name__
issubclass(torch.AcceleratorError, RuntimeError)
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_as_in_torch(expression):
    def outcome(lib):
        given = {
            "torch": lib,
            "np": np,
            "t": lib.arange(6.0).reshape(2, 3),
            "i": lib.tensor([1, 2]),
        }
        try:
            return repr(eval(expression, given)).replace("dtorch", "torch")
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            return type(error)

    assert outcome(dtorch) == outcome(torch)


def test_settings_are_remembered():
    for lib in (dtorch, torch):
        lib.use_deterministic_algorithms(True, warn_only=True)
        assert lib.are_deterministic_algorithms_enabled()
        assert lib.is_deterministic_algorithms_warn_only_enabled()
        assert lib.get_deterministic_debug_mode() == 1
        lib.use_deterministic_algorithms(False)
        assert not lib.are_deterministic_algorithms_enabled()
        lib.set_float32_matmul_precision("high")
        assert lib.get_float32_matmul_precision() == "high"
        lib.set_float32_matmul_precision("highest")
        lib.set_warn_always(True)
        assert lib.is_warn_always_enabled()
        lib.set_warn_always(False)
    with pytest.warns(UserWarning, match="has no effect"):
        dtorch.set_float32_matmul_precision("lowest")
    dtorch.set_num_interop_threads(3)
    assert dtorch.get_num_interop_threads() == 3


def test_default_tensor_type():
    try:
        dtorch.set_default_tensor_type("torch.DoubleTensor")
        assert dtorch.ones(1).dtype is dtorch.float64
    finally:
        dtorch.set_default_tensor_type(dtorch.FloatTensor)
    assert dtorch.get_default_dtype() is dtorch.float32


def test_default_device():
    with dtorch.device("cpu") as d:
        assert dtorch.get_default_device() == d == dtorch.ones(2).device
    with pytest.raises(RuntimeError, match="Expected one of cpu"):
        dtorch.set_default_device("nothing")
    if not dtorch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA is not available"):
            dtorch.set_default_device("cuda")
        with dtorch.device("cuda"), pytest.raises(RuntimeError, match="CUDA is not available"):
            dtorch.zeros(2)
        with dtorch.device("cuda"), pytest.raises(RuntimeError, match="CUDA is not available"):
            dtorch.tensor([2])
    assert dtorch.zeros(2).device.type == "cpu"


@pytest.mark.parametrize("name", ["Event", "Stream"])
def test_what_only_accelerators_have(name):
    with pytest.raises(RuntimeError):
        getattr(dtorch, name)()


def test_memory_is_shared_with_numpy_both_ways():
    a = np.zeros((2, 2), "float32")
    t = dtorch.from_numpy(a)
    t[0, 0] = 1
    t.numpy()[1, 1] = 2
    assert np.shares_memory(np.asarray(t), a)
    assert a.tolist() == [[1, 0], [0, 2]]
    assert dtorch.as_tensor(a).data_ptr() == t.data_ptr() == dtorch.asarray(t).data_ptr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.sum(t.numpy()) == 3


def test_arrays_and_buffers():
    for lib in (dtorch, torch):
        t = lib.ones(2, 3)
        assert lib.asarray(t, copy=True).data_ptr() != t.data_ptr() == lib.asarray(t).data_ptr()
        assert lib.asarray(bytearray(b"ab"), dtype=lib.uint8, copy=True).tolist() == [97, 98]
        assert lib.asarray(t, requires_grad=True).requires_grad
        assert lib.asarray([1, 2.5]).tolist() == [1, 2.5]
        for refused in (lambda lib=lib, t=t: lib.asarray(t, dtype=lib.float64, copy=False),
                        lambda lib=lib: lib.asarray([1], copy=False)):  # fmt: skip
            with pytest.raises(ValueError, match="can't alias"):
                refused()
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        dtorch.from_numpy(frozen).add_(1)


def test_dlpack():
    from dtorch.utils.dlpack import from_dlpack, to_dlpack

    t = dtorch.arange(6.0).reshape(2, 3)
    for taken in (
        from_dlpack(to_dlpack(t)), dtorch.from_dlpack(t), dtorch.from_dlpack(torch.from_dlpack(t)),
        dtorch.from_dlpack(t.__dlpack__(stream=-1)), dtorch.from_dlpack(t, device="cpu"),
    ):  # fmt: skip
        assert taken.data_ptr() == t.data_ptr()
        assert taken.tolist() == t.tolist()
    assert dtorch.from_dlpack(t, copy=True).data_ptr() != t.data_ptr()
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    assert dtorch.from_dlpack(torch.tensor([True])).dtype is dtorch.bool
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="require gradient"):
        dtorch.ones(1, requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match="bfloat16"):
        dtorch.ones(1, dtype=dtorch.bfloat16).__dlpack__()
    with pytest.raises(AssertionError, match="stream"):
        t.__dlpack__(stream=1)
    with pytest.raises(RuntimeError, match="from_dlpack"):
        dtorch.from_dlpack(3)


# ---- subclasses --------------------------------------------------------------------------------


def scenes(lib):
    """Types of results, and what a __torch_function__ has seen, with subclasses of users."""

    class Named(lib.Tensor):
        pass

    seen = []

    class Logged(lib.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    x = lib.ones(2, 2).as_subclass(Named)
    y = lib.ones(2, 2).as_subclass(Logged)
    p = lib.nn.Parameter(lib.ones(2, 2))
    results = [
        x + 1, 1 + x, x + lib.ones(2), lib.ones(2) * x, x[0], x.sum(0), x.t(), x.max(0)[0], x.add_(1),
        x.clone(), -x, x == x, x.split(1)[0], x.T, p + 1, p[0], lib.add(x, 1), lib.stack([x, x]),
        y.exp(), y @ y, lib.sin(y), x.view(-1), x.detach(), lib.ones(1), x.data,
    ]  # fmt: skip
    w = lib.ones(2, requires_grad=True).as_subclass(Named)
    leaf = lib.ones(2, 2, requires_grad=True)
    (leaf.as_subclass(Named) * 2).sum().backward()
    x.note = "kept"
    return (
        [type(r).__name__ for r in results], seen, type(w * 2).__name__, leaf.grad.tolist(),
        isinstance(x.shape, lib.Size), x.size(0), x.dim(), type(x.tolist()).__name__,
    )  # fmt: skip


def test_results_of_users_subclasses_are_of_the_subclass():
    mine, theirs = scenes(dtorch), scenes(torch)
    assert mine[0] == theirs[0]
    assert mine[2:] == theirs[2:]
    assert {"exp", "matmul", "sin"} <= {name.strip("_") for name in mine[1]}
