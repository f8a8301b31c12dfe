"""How functions are called: operands that are no tensors, NumPy's argument names, and out=."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import dtorch

NUMBER_FIRST = ["add", "sub", "mul", "div", "true_divide", "floor_divide", "pow", "remainder"]
TENSORS_ONLY = [
    "maximum",
    "minimum",
    "atan2",
    "logical_and",
    "logical_or",
    "logical_xor",
    "isclose",
]
TENSOR_FIRST = [*TENSORS_ONLY, "fmod", "eq", "lt", "clamp_min", "exp", "sum", "reshape", "rsub"]
BOTH = pytest.mark.parametrize("lib", [torch, dtorch], ids=["torch", "dtorch"])


@pytest.mark.parametrize("name", NUMBER_FIRST)
def test_a_number_may_come_first(name: str) -> None:
    values = [1.5, -2.0, 4.0]
    expected = getattr(torch, name)(2, torch.tensor(values))
    np.testing.assert_allclose(getattr(dtorch, name)(2, dtorch.tensor(values)), expected)


@BOTH
@pytest.mark.parametrize("name", TENSOR_FIRST)
def test_a_number_may_not_come_first(lib: Any, name: str) -> None:
    arguments = () if name in ("exp", "sum") else ((1,),) if name == "reshape" else (lib.ones(3),)
    with pytest.raises(TypeError, match=r"must be Tensor, not int|got \(int"):
        getattr(lib, name)(2, *arguments)


@BOTH
@pytest.mark.parametrize("name", TENSORS_ONLY)
def test_a_number_may_not_come_second(lib: Any, name: str) -> None:
    with pytest.raises(TypeError, match=r"argument 'other' \(position 2\) must be Tensor, not int"):
        getattr(lib, name)(lib.ones(3), 2)
    with pytest.raises(TypeError, match=r"must be Tensor, not int"):
        getattr(lib.ones(3), name)(2)


@BOTH
def test_a_list_is_no_tensor(lib: Any) -> None:
    with pytest.raises(
        TypeError, match=r"argument 'input' \(position 1\) must be Tensor, not list"
    ):
        lib.sum([1, 2])


@BOTH
def test_names_of_torch_and_of_numpy(lib: Any) -> None:
    x = lib.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert lib.sum(x, axis=0, keepdims=True).tolist() == [[4.0, 7.0]]
    assert x.sum(axis=1).tolist() == [3.0, 8.0]
    assert x.max(axis=1).values.tolist() == [2.0, 5.0]
    assert lib.stack([x, x], axis=1).shape == (2, 2, 2)
    assert lib.add(input=x, other=x).tolist() == lib.add(x1=x, x2=x).tolist()
    assert lib.neg(x=x).tolist() == lib.neg(input=x).tolist()


@BOTH
def test_out_takes_the_result_and_its_shape(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0, 3.0])
    out = lib.zeros(3)
    assert lib.add(x, x, out=out) is out
    assert out.tolist() == [2.0, 4.0, 6.0]
    assert lib.mul(out, 2, out=out).tolist() == [4.0, 8.0, 12.0]  # its own memory is no harm
    assert lib.add(x, x, out=lib.empty(0)).tolist() == [2.0, 4.0, 6.0]
    with pytest.warns(UserWarning, match="was resized since it had shape"):
        assert lib.add(x, x, out=lib.zeros(5)).tolist() == [2.0, 4.0, 6.0]
    double = lib.zeros(3, dtype=lib.float64)
    assert lib.add(x, x, out=double).tolist() == [2.0, 4.0, 6.0]


@BOTH
def test_out_of_several_results(lib: Any) -> None:
    x = lib.tensor([[3.0, 1.0], [5.0, 7.0]])
    values, indices = lib.empty(0), lib.empty(0, dtype=lib.int64)
    got = lib.max(x, 1, out=(values, indices))
    assert got.values is values
    assert got.indices is indices
    assert (values.tolist(), indices.tolist()) == ([3.0, 7.0], [0, 1])


@BOTH
def test_out_is_refused_before_it_changes(lib: Any) -> None:
    x = lib.ones(3)
    whole = lib.zeros(3, dtype=lib.int64)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        lib.add(x, x, out=whole)
    assert whole.tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        lib.add(x, x, out=lib.zeros(1).expand(3))
    row = lib.arange(6.0)
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        lib.add(row[:3], 1, out=row[1:4])
    assert row.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(
        RuntimeError, match="Expected out tensor to have dtype|same scalar type|dtype"
    ):
        lib.gather(x, 0, lib.tensor([0, 1]), out=lib.zeros(2, dtype=lib.float64))
    long = lib.arange(6.0)
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        lib.cat([long[:3], long[3:]], out=long)
    with pytest.raises(TypeError, match="must be Tensor"):
        lib.exp(x, out=3)


@BOTH
def test_out_and_gradients(lib: Any) -> None:
    x = lib.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="out=... arguments don't support automatic differ"):
        lib.exp(x, out=lib.zeros(3))
    with lib.no_grad():
        assert lib.neg(x, out=lib.zeros(3)).tolist() == [-1.0, -1.0, -1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lib.neg(x.detach(), out=lib.empty(0)).tolist() == [-1.0, -1.0, -1.0]


NUMPY_SCALARS = """
x / np.sqrt(2)
np.float64(2) * x
np.float32(2) * x
x > np.float64(1)
x.clone().add_(np.float64(1))
x.masked_fill(x > 1, np.float64(2))
x.lerp(x, np.float64(0.5))
lib.where(x > 1, np.float64(1), x)
lib.add(x, x, alpha=np.float64(2))
lib.addcmul(x, x, x, value=np.float64(2))
x + np.bool_(True)
x.long() + np.int64(2)
x.long() * np.float64(2)
x[np.int64(1)]
""".strip().split("\n")


@pytest.mark.parametrize("call", NUMPY_SCALARS)
def test_scalars_of_numpy_count_as_numbers(call: str) -> None:
    got, expected = (
        eval(call, {"np": np, "lib": lib, "x": lib.tensor([0.5, 1.5])}) for lib in (dtorch, torch)
    )
    assert str(got.dtype).split(".")[1] == str(expected.dtype).split(".")[1]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6)


@BOTH
def test_equality_with_what_is_no_tensor_is_pythons(lib: Any) -> None:
    x = lib.ones(2)
    for other in (None, "a", {}, int):
        assert (x == other) is False
        assert (x != other) is True
    assert [x] != [None]
    assert x not in [None]
    with pytest.raises(TypeError, match="must be Tensor|invalid combination"):
        lib.eq(x, None)


def same_as_torch(call: Any) -> None:
    """call(lib, x) gives what torch's gives: the values, and their dtype."""
    expected = call(torch, torch.arange(16.0).reshape(4, 4) / 16)
    got = call(dtorch, dtorch.arange(16.0).reshape(4, 4) / 16)
    if isinstance(expected, torch.dtype):
        assert str(got).split(".")[1] == str(expected).split(".")[1]
        return
    assert (str(got.dtype).split(".")[1], tuple(got.shape)) == (
        str(expected.dtype).split(".")[1],
        tuple(expected.shape),
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("call", [
    lambda t, x: t.addmm(x, mat1=x, mat2=x), lambda t, x: x.addmm(mat1=x, mat2=x),
    lambda t, x: x.clone().addmm_(mat1=x, mat2=x),
    lambda t, x: t.baddbmm(x[None], batch1=x[None], batch2=x[None]),
    lambda t, x: x.addbmm(batch1=x[None], batch2=x[None]),
    lambda t, x: t.addmv(x[0], mat=x, vec=x[1]), lambda t, x: t.addr(x, vec1=x[0], vec2=x[1]),
    lambda t, x: x.split(split_size=3)[1], lambda t, x: x.split(split_size=[1, 3], dim=1)[1],
    lambda t, x: t.split(x, split_size_or_sections=3)[1],
    lambda t, x: x.tensor_split(sections=3)[0], lambda t, x: t.tensor_split(x, indices=[1])[1],
    lambda t, x: x.tensor_split(indices=(1, 2), dim=1)[1],
    lambda t, x: t.hsplit(x, sections=2)[1], lambda t, x: x.vsplit(indices=[1])[1],
    lambda t, x: x.reshape(2, 2, 4).dsplit(sections=2)[1],
    lambda t, x: x.view(size=(2, 8)), lambda t, x: x.view(dtype=t.int32),
    lambda t, x: x[:1].expand(size=(4, 4)), lambda t, x: x.repeat(repeats=(2, 1)),
    lambda t, x: x.clone().resize_(size=(2, 2)), lambda t, x: t.dropout(x, p=0.5, train=False),
    lambda t, x: t.alpha_dropout(x, 0.5, train=False),
    lambda t, x: t.dropout_(x.clone(), p=0.5, train=False),
    lambda t, x: t.promote_types(type1=t.int32, type2=t.float64),
])  # fmt: skip
def test_torchs_names_of_arguments(call: Any) -> None:
    same_as_torch(call)


@BOTH
def test_sizes_are_given_once(lib: Any) -> None:
    x = lib.ones(4)
    for call in (
        lambda: x.view(4, size=(4,)),
        lambda: x.expand(4, size=(4,)),
        lambda: x.repeat(2, repeats=(2,)),
        lambda: x.repeat(repeats=2),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("kind", [float, int, bool, complex])
@pytest.mark.parametrize("call", [
    lambda t, x, d: x.to(d), lambda t, x, d: x.to("cpu", dtype=d), lambda t, x, d: x.sum(dtype=d),
    lambda t, x, d: t.tensor([1], dtype=d), lambda t, x, d: t.as_tensor([1], dtype=d),
    lambda t, x, d: t.ones(2, dtype=d), lambda t, x, d: t.zeros_like(x, dtype=d),
    lambda t, x, d: x.new_tensor([1], dtype=d), lambda t, x, d: t.full((2,), 1, dtype=d),
    lambda t, x, d: t.promote_types(d, t.float32),
])  # fmt: skip
def test_python_types_as_dtypes(call: Any, kind: type) -> None:
    same_as_torch(lambda t, x: call(t, x, kind))


@pytest.mark.parametrize("call", [
    lambda t, x: t.arange(3, dtype=float), lambda t, x: x.softmax(0, dtype=float),
    lambda t, x: t.hann_window(4, dtype=float), lambda t, x: t.fft.fftfreq(3, dtype=float),
    lambda t, x: t.randperm(1, dtype=float), lambda t, x: x.view(float) * 0,
    lambda t, x: t.frombuffer(bytearray(8), dtype=float), lambda t, x: x.cumsum(0, dtype=float),
    lambda t, x: t.nn.Linear(2, 2, dtype=float).weight.detach() * 0,
    lambda t, x: t.nn.Linear(2, 2).to(float).weight.detach() * 0,
    lambda t, x: t.tensor(t.finfo(float).eps),
])  # fmt: skip
def test_float_as_dtype(call: Any) -> None:
    same_as_torch(call)


@BOTH
@pytest.mark.parametrize("wrong", [str, "float32", np.float32])
def test_what_is_no_dtype(lib: Any, wrong: Any) -> None:
    for call in (lib.ones, lib.rand, lib.arange):
        with pytest.raises(TypeError):
            call(2, dtype=wrong)


L, D = np.int64, np.float64
FLOATS = [
    lambda F, x: F.leaky_relu(x - 0.5, D(0.1)), lambda F, x: F.elu(x - 0.5, D(2)),
    lambda F, x: F.celu(x - 0.5, D(2)), lambda F, x: F.softplus(x, D(2), D(1)),
    lambda F, x: F.softshrink(x, D(0.1)), lambda F, x: F.rrelu(x - 0.5, D(0.1), D(0.2)),
    lambda F, x: F.scaled_dot_product_attention(x, x, x, scale=D(1)),
    lambda F, x: F.rms_norm(x, (4,), eps=D(1e-5)), lambda F, x: F.avg_pool1d(x[None], L(2)),
]  # fmt: skip


@pytest.mark.parametrize("call", [
    lambda t, x: t.arange(L(5)), lambda t, x: t.arange(np.int32(1), 5),
    lambda t, x: t.arange(D(2.5)), lambda t, x: t.arange(L(1), 3, D(0.5)),
    lambda t, x: t.full((2,), L(1)), lambda t, x: t.full((2,), D(1)),
    lambda t, x: t.full((2,), np.float32(1)), lambda t, x: x.roll(L(1)),
    lambda t, x: x.roll(L(1), L(0)), lambda t, x: x.chunk(L(2))[1],
    lambda t, x: t.tensor_split(x, L(3))[1], lambda t, x: x.hsplit(L(2))[1],
    lambda t, x: t.logit(x, eps=D(1e-3)), lambda t, x: t.std(x, correction=L(0)),
    lambda t, x: t.var(x, 1, correction=D(2)), lambda t, x: t.norm(x, D(3)),
    lambda t, x: t.polygamma(L(1), x + 1),
    *(lambda t, x, call=call: call(t.nn.functional, x) for call in FLOATS),
])  # fmt: skip
def test_parameters_that_numpy_made(call: Any) -> None:
    same_as_torch(call)
