"""Edge cases of shapes, indices and reductions: the same value as torch's, or its kind of error."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import dtorch

# t: the library, x: (3, 4), v: (4,), i: indices, m: a mask
CALLS = """
t.as_strided(x, (2,), (1,), -1)
t.as_strided(x, (20,), (1,))
t.narrow(t.tensor(1.0), 0, 0, 1)
t.narrow(x, 0, 5, 0)
t.ones(3).view(t.float64)
t.ones(1, 3).expand(-1, 2, 3)
t.ones(2, 3).sum_to_size(1, 3)
t.ones(2, 3).sum_to_size(2)
t.swapaxes(x, axis0=0, axis1=1)
t.rot90(v)
t.flipud(t.tensor(1.0))
t.repeat_interleave(v, t.tensor([1, 0, 2, 1]), output_size=5)
t.tensor_split(x, t.tensor([1.0]), dim=1)
t.cat([])
t.cat([t.ones(2, 0), t.ones(2, 3)], 1)
t.block_diag(x, t.tensor(2.0), v)
t.combinations(v, 2, with_replacement=True)
t.empty_permuted((2, 3, 4), (0, 2, 1)).stride()
t.empty_permuted((2, 3), (0, 0))
t.range(1, 2, 0.3)
x[[[0, 1], [1, 0]]]
x[[t.tensor([0, 1]), t.tensor([1, 0])]]
x[0:2.7]
x[::1.5]
x[t.tensor(1):t.tensor([[3]])]
x[t.tensor([1, 2]):]
x[t.tensor(1.0):]
x["a":]
x[::0]
x[::-1]
x[2**70:]
t.zeros(0, 3).max(dim=0)
t.stack([x, 1])
t.stack(x)
t.hstack([x, "a"])
t.column_stack([x, None])
t.tensor([0] * 50 + [-(2**63), 3], dtype=t.int64).topk(1).values
t.zeros(0).nanmedian()
x[0.5]
x[t.tensor([True, False])]
t.gather(x, 1, t.tensor([[0], [4], [1]]))
t.take_along_dim(x, t.tensor([[0], [1], [-1]]), 1)
t.scatter(x, 1, t.tensor([[0]]), 2, reduce="foo")
t.index_fill(x, 0, t.tensor([-1]), 3)
t.index_reduce(x, 0, i, t.ones(2, 4), "sum")
t.index_reduce(t.tensor(2.0), 0, t.tensor([0]), t.tensor(3.0), "prod")
x.put_(t.tensor([0, 12]), t.tensor([5.0, 6.0]))
x.put_(t.tensor([0, 1]), t.tensor([5.0]))
x.put_(t.tensor([-1, 1]), t.tensor([5.0, 6.0]))
t.masked_fill(x, m.byte(), 3)
t.unravel_index(t.tensor(4.0), (2, 3))
t.unravel_index(t.tensor([4, 40]), (2, 3))
t.nonzero_static(x, size=-1)
t.zeros(7, 3).fill_diagonal_(1, wrap=True)
t.zeros(2, 2, 3).fill_diagonal_(1)
t.zeros(2, 2, 2).fill_diagonal_(1)
t.zeros(3, 1).expand(3, 4).fill_(2)
t.zeros(3, 1).expand(3, 4).add_(2)
t.select_scatter(x, t.ones(3), 0, 1)
t.is_nonzero(x)
t.is_same_size(x, v)
t.median(m)
t.mode(t.ones(0))
t.aminmax(t.ones(0))
t.argmax(m)
t.max(m, 0)
t.searchsorted(t.arange(3), t.tensor([0.5, 1.5]))
t.searchsorted(t.tensor(1.0), 1)
t.searchsorted(v, 2.0, sorter=t.tensor([1, 3, 2]))
t.unique(t.tensor([float("nan"), float("nan")]), return_counts=True)
t.unique(t.ones(2, 0), dim=0)
t.unique_consecutive(t.tensor(3.0), return_inverse=True, return_counts=True)
t.isin(t.tensor([True]), True)
t.histogram(v, 0)
t.histogram(t.ones(3), 3)
t.histogram(v, 3, range=(3.0, 1.0))
t.histogramdd(x, 2, range=[0.0, 1.0])
t.histc(v.long(), 3)
t.bincount(v)
t.diff(x, prepend=t.ones(2, 1))
t.gradient(x, spacing=[1.0])
t.gradient(v[:1])
t.trapezoid(v, t.ones(3))
t.trapezoid(v, dx=1j)
t.segment_reduce(v, "mean", lengths=t.tensor([4, 0]))
t.segment_reduce(v, "sum", lengths=t.tensor([3, 0]))
t.embedding(t.ones(2, 2, 2), i)
t.pdist(v)
t.full((2,), 300, dtype=t.uint8)
t.full((2,), -5, dtype=t.uint8)
t.full((2,), 1j, dtype=t.float32)
t.full((2,), 1e40)
t.full((2,), float("inf"))
t.full((2,), 1.7, dtype=t.int32)
t.scalar_tensor(-5, dtype=t.uint8)
x.byte().fill_(300)
x.masked_fill(m, 1e40)
x.long().index_fill(0, i, 3.7)
t.zeros(t.tensor(2))
t.empty_strided((2, 3), (-1, 2))
t.tril_indices(-1, 3)
t.arange(3, dtype=t.bool)
t.hash_tensor(t.ones(0))
t.hash_tensor(x.half(), 0)
t.hash_tensor(x, mode=1)
list(reversed(x))
""".strip().split("\n")


def outcome(library: Any, call: str) -> tuple[str, Any]:
    """The kind of error, or "ok" and the plain values."""
    x = library.arange(12.0).reshape(3, 4)
    names = {"t": library, "x": x, "m": x > 4, "i": library.tensor([0, 2]),
             "v": library.tensor([3.0, 1.0, 2.0, 1.0])}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "ok", plain(eval(call, names))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return type(error).__name__, None


def plain(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return tuple(map(plain, result))
    if isinstance(result, (torch.Tensor, dtorch.Tensor)):
        values = [
            repr(round(v, 4) if isinstance(v, float) else v) for v in result.flatten().tolist()
        ]
        return str(result.dtype).split(".")[1], tuple(result.shape), values
    return result


@pytest.mark.parametrize("call", CALLS)
def test_the_outcome_is_torchs(call: str) -> None:
    expected, got = outcome(torch, call), outcome(dtorch, call)
    assert got[0] == expected[0]
    assert got[1] == expected[1]


# index, value: set in zeros(3, 4)
ASSIGNED = """
(0, 0), t.tensor([3.0])
(0, 0), t.ones(1, 1)
(0, 0), t.ones(2)
0, t.ones(1, 4)
0, t.ones(2, 4)
slice(0, 1), t.ones(1, 1, 4)
[0, 2], t.ones(1, 2, 4)
[0, 2], t.ones(1, 1, 1)
[0, 2], t.ones(2, 1, 4)
[0, 7], t.ones(3, 4)
m, t.ones(1, 2, 4)
m, t.ones(3)
(0, t.tensor([True, False, True, True])), t.ones(1, 1, 3)
0, None
0, "a"
0, [1.0]
[0], None
[0], {}
0, True
0, 2
""".strip().split("\n")


@pytest.mark.parametrize("line", ASSIGNED)
def test_what_is_assigned_is_torchs(line: str) -> None:
    def run(library: Any) -> tuple[str, Any]:
        x = library.zeros(3, 4)
        names = {"t": library, "m": library.tensor([True, False, True])}
        try:
            index, value = eval(line, names)
            x[index] = value
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return type(error).__name__, x.tolist()
        return "ok", x.tolist()

    assert run(dtorch) == run(torch)


@pytest.mark.parametrize("index", [0, [0], slice(0, 1)])
def test_a_value_with_leading_ones_has_a_gradient_of_its_shape(index: Any) -> None:
    def run(library: Any) -> Any:
        value = library.ones(1, 1, 4, requires_grad=True)
        x = library.zeros(3, 4)
        x[index] = value
        (x * x).sum().backward()
        return value.grad.tolist()

    assert run(dtorch) == run(torch)


@pytest.mark.parametrize(
    "call",
    [
        "t.ones(3, 4)[t.tensor([5])]",
        "t.ones(3, 4)[..., 7]",
        "t.ones(3, 4)[t.tensor([1]), 7]",
        "t.ones(3, 4)[t.tensor([0, 1]), t.tensor([0, -9])]",
        "t.ones(3, 4)[t.tensor([True, False])]",
        "t.ones(3, 4)[:, t.tensor([True, False])]",
        "t.ones(2, 3)[t.tensor([[True, False], [True, False]])]",
        "t.ones(3, 4).__setitem__(t.tensor([5]), 1.0)",
        "t.ones(3, 4).__setitem__(t.tensor([True, False]), 1.0)",
        "t.ones(3, 4).__setitem__(t.tensor([0, 2]), t.ones(3))",
        "t.zeros(0, 3).max(dim=0)",
        "t.zeros(3, 0).min(-1)",
    ],
)
def test_the_text_of_the_error_is_torchs(call: str) -> None:
    with pytest.raises((IndexError, RuntimeError)) as expected:
        eval(call, {"t": torch})
    with pytest.raises(type(expected.value)) as got:
        eval(call, {"t": dtorch})
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("name", ["median", "nanmedian"])
@pytest.mark.parametrize("values", [[1, 2, 2, 3], [float("nan"), 2, 2, 1], [float("nan")] * 2, [5]])
def test_elements_equal_to_the_median_share_its_gradient(name: str, values: list[float]) -> None:
    def run(library: Any) -> Any:
        x = library.tensor(values, dtype=library.float64, requires_grad=True)
        getattr(x, name)().backward()
        return x.grad.tolist()

    assert run(dtorch) == run(torch)
