"""dtorch.testing says what torch.testing says."""

import numpy as np
import pytest
import torch

import dtorch
import dtorch.testing

CASES = """
([1.0, 2.0],), ([1.0, 2.0],)
([1.0, 2.0],), ([1.0, 2.5],)
([1.0, 2.0],), ([1.0, 2.0 + 1e-9],)
([[1.0, 2.0], [3.0, 4.0]],), ([[1.0, 0.0], [9.0, 4.0]],)
([1, 2, 3],), ([1, 2, 4],)
(3.0,), (4.0,)
([1.0, nan],), ([1.0, nan],)
([1.0, inf],), ([1.0, inf],)
([True, False],), ([True, True],)
([1.0],), ([1.0, 2.0],)
([1.0],), ([1],)
([1 + 2j],), ([1 + 2.5j],)
""".strip().splitlines()


def text(lib, call):
    try:
        call(lib.testing.assert_close)
    except (AssertionError, TypeError, ValueError) as error:
        return type(error), str(error).replace("dtorch.", "torch.")
    return None


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"equal_nan": True}, {"rtol": 0, "atol": 1}], ids=str)
def test_tensors(case, options):
    (a,), (e,) = eval(case, {"nan": float("nan"), "inf": float("inf")})
    mine, theirs = (
        text(lib, lambda f, lib=lib: f(lib.tensor(a), lib.tensor(e), **options))
        for lib in (dtorch, torch)
    )
    assert mine == theirs


MORE = """
f(1, 1)
f(1.0, 1.5)
f(1, 2)
f(True, False)
f(1, 1.0)
f(1, 1.0, check_dtype=False)
f(float('nan'), float('nan'), equal_nan=True)
f([t(1.0), t(2.0)], [t(1.0), t(2.0)])
f([t(1.0), t(2.0)], [t(1.0), t(3.0)])
f([t(1.0)], [t(1.0), t(3.0)])
f({'a': t([1.0])}, {'a': t([2.0])})
f({'a': t([1.0])}, {'b': t([2.0])})
f({'a': [t([1.0]), 1]}, {'a': [t([1.0]), 2]})
f(t(1.0), t(2.0), msg='mine')
f(t(1.0), t(2.0), msg=lambda m: 'before ' + m)
f(t(1.0), t(2.0), rtol=1)
f(t([1.0]), t([1.0]).double())
f(t([1.0]), t([1.0]).double(), check_dtype=False)
f(t([[1.0, 2], [3, 4]]), t([[1.0, 3], [2, 4]]).t(), check_stride=True)
f(t([[1.0, 2], [3, 4]]), t([[1.0, 3], [2, 4]]).t())
f('a', 'a')
f(np.ones(2), np.ones(2))
f(np.ones(2), np.zeros(2))
f(t([1.0]), t([1.0]).requires_grad_())
""".strip().splitlines()


@pytest.mark.parametrize("call", MORE)
def test_calls(call):
    mine, theirs = (
        text(lib, lambda f, lib=lib: eval(call, {"f": f, "t": lib.tensor, "np": np}))
        for lib in (dtorch, torch)
    )
    assert mine == theirs


@pytest.mark.parametrize("name", ["float32", "float16", "complex64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("noncontiguous", [False, True])
def test_make_tensor(name, noncontiguous):
    for lib in (dtorch, torch):
        d = getattr(lib, name)
        t = lib.testing.make_tensor(4, 5, dtype=d, device="cpu", noncontiguous=noncontiguous)
        assert t.dtype is d
        assert tuple(t.shape) == (4, 5)
        assert t.is_contiguous() != noncontiguous
        values = np.asarray(t.tolist())
        assert -9 <= values.real.min() <= values.real.max() < 10
        with pytest.raises(ValueError, match="low"):
            lib.testing.make_tensor(2, dtype=d, device="cpu", low=3, high=1)
    t = dtorch.testing.make_tensor((100,), dtype=dtorch.int64, low=0, high=2, exclude_zero=True)
    assert bool((t == 1).all())
    with pytest.raises(ValueError, match="requires_grad"):
        dtorch.testing.make_tensor(2, dtype=dtorch.int64, requires_grad=True)


def test_assert_allclose_is_lenient():
    dtorch.testing.assert_allclose(dtorch.tensor([1.0]), [1.0])
    with pytest.raises(AssertionError):
        dtorch.testing.assert_allclose(dtorch.tensor([1.0]), [2.0])
