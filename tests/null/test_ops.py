"""Every op, by table: the samples of tests/samples run in dtorch and in torch."""

from __future__ import annotations

import contextlib
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import dtorch
from dtorch.autograd import grad, gradcheck, gradgradcheck
from dtorch.core.op import REGISTRY, Op
from tests.samples import Sample, Sparse, all_samples

SAMPLES = all_samples()
CASES = [
    pytest.param(name, s, id=f"{name}-{i}")
    for name, ss in SAMPLES.items()
    for i, s in enumerate(ss)
]
COMPARED = [c for c in CASES if c.values[1].reference]
DIFFERENTIATED = [c for c in CASES if c.values[1].grad]
TOLERANCE = {
    "float16": 2e-2,
    "float64": 1e-9,
    "float32": 2e-4,
    "complex128": 1e-9,
    "complex64": 2e-4,
}


def function(library: Any, name: str) -> Any:
    """The function of torch's dotted name; "Tensor.x" is a method."""
    at = library
    for part in name.split("."):
        at = getattr(at, part)
    return at


def convert(library: Any, x: Any, floats: str, layout: Any, leaves: list[Any]) -> Any:
    """Arrays in a sample's arguments as tensors of the library, at any depth."""
    if isinstance(x, Sparse):
        return sparse(library, convert(library, x.array, floats, layout, leaves), x)
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(convert(library, y, floats, layout, leaves) for y in x)
    if isinstance(x, dict):
        return {k: convert(library, y, floats, layout, leaves) for k, y in x.items()}
    if isinstance(x, np.dtype):
        return getattr(library, x.name)
    if not isinstance(x, np.ndarray):
        return x
    if x.dtype.kind not in "fc":
        return library.tensor(x.copy())
    dtype = (
        floats if x.dtype.kind == "f" else {"float64": "complex128", "float32": "complex64"}[floats]
    )
    t = library.from_numpy(layout(x.astype(dtype))).requires_grad_()
    leaves.append(t)
    return t


def sparse(library: Any, dense: Any, sample: Sparse) -> Any:
    """The elements of a tensor in the sample's mask and layout."""
    mask = library.from_numpy(sample.mask).to(dense.dtype).to_sparse()
    return getattr(dense.sparse_mask(mask), sample.to)()


def plain(x: np.ndarray) -> np.ndarray:
    return x.copy()


def strided(x: np.ndarray) -> np.ndarray:
    """The same values in transposed memory with gaps."""
    wide = np.zeros((*x.shape[::-1], 2), x.dtype)
    wide[..., 0] = x.T
    return wide[..., 0].T


def run(library: Any, name: str, sample: Sample, floats: str, layout: Any = plain) -> Any:
    """(leaves, results as a list) of a sample's call."""
    leaves: list[Any] = []
    with warnings.catch_warnings():
        if library is torch:
            warnings.simplefilter("ignore")
        args = convert(library, sample.args, floats, layout, leaves)
        kwargs = convert(library, sample.kwargs, floats, layout, leaves)
        result = function(library, name)(*args, **kwargs)
    return leaves, [_dense(r) for r in flat(result)]


def _dense(result: Any) -> Any:
    """A sparse result as a dense one, with its history."""
    sparse = isinstance(result, (torch.Tensor, dtorch.Tensor)) and "sparse" in str(result.layout)
    return result.to_dense() if sparse else result


def flat(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)) and not isinstance(result, (torch.Size, dtorch.Size)):
        return [y for r in result for y in flat(r)]
    return [result]


def array(t: Any) -> Any:
    if not isinstance(t, (torch.Tensor, dtorch.Tensor)):
        return t
    t = t.detach()
    return t.numpy(force=True)  # force: torch has lazy zeros and conjugates


def same(got: Any, expected: Any, what: str) -> None:
    assert isinstance(got, dtorch.Tensor) == isinstance(expected, torch.Tensor), what
    a, b = array(got), array(expected)
    if isinstance(got, dtorch.Tensor):
        assert str(got.dtype).split(".")[1] == str(expected.dtype).split(".")[1], what
        assert tuple(got.shape) == tuple(expected.shape), what
    if np.asarray(a).dtype.kind in "fc":
        tolerance = TOLERANCE[np.asarray(a).dtype.name]
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(a, b, err_msg=what)


def weights(t: Any) -> np.ndarray:
    """A fixed cotangent for a result."""
    return np.cos(np.arange(t.numel())).reshape(tuple(t.shape))


def gradients(library: Any, leaves: list[Any], results: list[Any]) -> list[Any]:
    roots = [r for r in results if isinstance(r, library.Tensor) and r.requires_grad]
    if not roots or not leaves:
        return []
    cotangents = [library.from_numpy(weights(r).astype(array(r).dtype)) for r in roots]
    return list(library.autograd.grad(roots, leaves, cotangents, allow_unused=True))


def compare(
    name: str, sample: Sample, floats: str, layout: Any = plain, torch_layout: Any = plain
) -> None:
    leaves, got = run(dtorch, name, sample, floats, layout)
    torch_leaves, expected = run(torch, name, sample, floats, torch_layout)
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected)):
        same(a, b, f"result {i}")
    if not sample.derivative:
        return
    mine = gradients(dtorch, leaves, got)
    try:
        theirs = gradients(torch, torch_leaves, expected)
    except RuntimeError as error:  # torch has no derivative here: finite differences judge ours
        if "not implemented" in str(error) or "depends on" in str(error):
            return
        raise
    assert len(mine) == len(theirs), "one of the two has no gradient at all"
    for i, (a, b, leaf) in enumerate(zip(mine, theirs, leaves)):
        # None and zeros mean the same, and an op may say either
        a = dtorch.from_numpy(np.zeros_like(array(leaf))) if a is None else a
        b = torch.from_numpy(np.zeros_like(array(leaf))) if b is None else b
        same(a, b, f"gradient of tensor {i}")


@pytest.mark.parametrize(("name", "sample"), COMPARED)
@pytest.mark.parametrize("floats", ["float64", "float32"])
def test_values_and_gradients_are_torchs(name: str, sample: Sample, floats: str) -> None:
    compare(name, sample, floats)


@pytest.mark.parametrize(("name", "sample"), COMPARED)
def test_memory_layout_changes_nothing(name: str, sample: Sample) -> None:
    try:
        run(torch, name, sample, "float64", strided)
    except RuntimeError:
        if name.startswith(("Tensor.view", "view_as_complex")):  # there is no view of such memory
            with pytest.raises(RuntimeError):
                run(dtorch, name, sample, "float64", strided)
        else:  # it is a view within torch's function that fails
            compare(name, sample, "float64", strided, plain)
    else:
        compare(name, sample, "float64", strided, strided)


def _differentiable(name: str, sample: Sample) -> tuple[Any, list[Any]]:
    """The sample as a function of its leaves alone, which returns what has gradients."""
    leaves, _ = run(dtorch, name, sample, "float64")

    def call(*xs: Any) -> Any:
        given = iter(xs)

        def put(x: Any) -> Any:
            if isinstance(x, Sparse):
                return sparse(dtorch, put(x.array), x)
            if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
                return type(x)(map(put, x))
            if isinstance(x, np.dtype):
                return getattr(dtorch, x.name)
            if isinstance(x, np.ndarray):
                return next(given) if x.dtype.kind in "fc" else dtorch.tensor(x.copy())
            return x

        args = put(sample.args)
        kwargs = {k: put(v) for k, v in sample.kwargs.items()}
        result = [_dense(r) for r in flat(function(dtorch, name)(*args, **kwargs))]
        return tuple(r for r in result if isinstance(r, dtorch.Tensor) and r.dtype.category >= 2)

    return call, leaves


@pytest.mark.parametrize(("name", "sample"), DIFFERENTIATED)
def test_finite_differences(name: str, sample: Sample) -> None:
    call, leaves = _differentiable(name, sample)
    if leaves and any(r.requires_grad for r in call(*leaves)):
        assert gradcheck(call, leaves, fast_mode=True, nondet_tol=1e-12)
        assert gradgradcheck(call, leaves, atol=1e-4, fast_mode=True, nondet_tol=1e-12)


def test_the_gradient_of_a_singular_determinant_is_the_cofactors() -> None:
    # torch's is 0 there; finite differences cannot go through the second derivative's inverse
    a = dtorch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.5], [0.0, 0.0, 1.0]], dtype=dtorch.float64)
    a.requires_grad_()
    dtorch.linalg.det(a).backward()
    cofactors = [[4.0, -2.0, 0.0], [-2.0, 1.0, 0.0], [1.0, -0.5, 0.0]]
    np.testing.assert_allclose(a.grad.numpy(), cofactors, atol=1e-12)


def test_each_op_has_a_sample() -> None:
    ran = _ops_that_run()
    never = sorted(set(REGISTRY) - ran - {"moved"})  # to move a tensor takes two devices
    assert not never, f"no sample runs {', '.join(never)}; add one to tests/samples"


def _ops_that_run() -> set[str]:
    """The names of the ops that the samples run, forward, backward and backward's backward."""
    ran: set[str] = set()

    def watch(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code is Op.run.__code__:
                ran.add(frame.f_locals["self"].name)
            elif "op" in code.co_freevars:  # a short path, which runs the kernel itself
                ran.add(getattr(frame.f_locals["op"], "name", ""))

    for name, samples in SAMPLES.items():
        for sample in samples:
            sys.setprofile(watch)
            try:
                _twice(name, sample)
            finally:
                sys.setprofile(None)
    return ran


def _twice(name: str, sample: Sample) -> None:
    """A sample's call, its backward, and the backward of that."""
    leaves, results = run(dtorch, name, sample, "float64")
    roots = [r for r in results if isinstance(r, dtorch.Tensor) and r.requires_grad]
    if not roots or not leaves:
        return
    ones = [dtorch.ones(tuple(r.shape), dtype=r.dtype, requires_grad=True) for r in roots]
    grad(roots, leaves, ones, retain_graph=True, allow_unused=True)
    # A sample without finite differences may have no second derivative.
    with contextlib.nullcontext() if sample.grad else contextlib.suppress(RuntimeError):
        first = grad(roots, leaves, ones, create_graph=True, allow_unused=True)
        again = [g for g in first if g is not None and g.requires_grad]
        if again:
            cotangents = [dtorch.ones(tuple(g.shape), dtype=g.dtype) for g in again]
            grad(again, [*leaves, *ones], cotangents, allow_unused=True)
