"""dtorch.linalg beyond single calls: errors, options, factorisations that solve, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dtorch
from dtorch.autograd import gradcheck, gradgradcheck
from tests.samples import arr

SINGULAR = np.array([[1.0, 2], [2, 4]])
NAN = np.full((2, 2), np.nan)


def both(call, *args, **kwargs):
    """call(library, tensor, ...) -> the result, or the error, of dtorch and of torch."""
    results = []
    for library in (dtorch, torch):
        try:
            results.append(call(library, library.tensor, *args, **kwargs))
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            results.append(error)
    return results


def numpy(x):
    return x.detach().numpy()


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, t: lib.linalg.inv(t(SINGULAR)),
        lambda lib, t: lib.linalg.inv(t(np.stack([np.eye(2), SINGULAR]))),
        lambda lib, t: lib.linalg.inv_ex(t(SINGULAR), check_errors=True),
        lambda lib, t: lib.linalg.solve(t(SINGULAR), t([1.0, 2.0], dtype=lib.float64)),
        lambda lib, t: lib.linalg.cholesky(t(np.stack([np.eye(2), -np.eye(2)]))),
        lambda lib, t: lib.cholesky(t(-np.eye(2))),
        lambda lib, t: lib.linalg.cholesky_ex(t(-np.eye(2)), check_errors=True),
        lambda lib, t: lib.linalg.lu_factor(t(np.zeros((2, 2)))),
        lambda lib, t: lib.linalg.svd(t(NAN)),
        lambda lib, t: lib.cholesky_inverse(t(np.zeros((2, 2)))),
    ],
)
def test_what_cannot_be_factorised_is_torchs_error(call):
    mine, theirs = both(call)
    assert isinstance(mine, dtorch.linalg.LinAlgError)
    assert isinstance(mine, RuntimeError)
    assert str(mine) == str(theirs)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, t: lib.linalg.inv(t(np.zeros((2, 3)))),
        lambda lib, t: lib.linalg.inv(t(np.zeros(2))),
        lambda lib, t: lib.linalg.solve(t(np.eye(2)), t(np.ones((3, 2)))),
        lambda lib, t: lib.linalg.solve_triangular(t(np.eye(2)), t(np.ones((3, 2))), upper=True),
        lambda lib, t: lib.linalg.tensorinv(t(np.ones((2, 3))), 1),
        lambda lib, t: lib.linalg.tensorinv(t(np.eye(2)), 0),
        lambda lib, t: lib.linalg.cond(t(np.eye(2)), 3),
        lambda lib, t: lib.linalg.matrix_power(t(np.eye(2)), 1.5),
        lambda lib, t: lib.linalg.multi_dot([t(np.eye(2))]),
        lambda lib, t: lib.linalg.multi_dot([t(np.eye(2)), t(np.eye(3))]),
        lambda lib, t: lib.linalg.eig(t(NAN)),
        lambda lib, t: lib.linalg.vander(t(np.ones(2)), N=1),
        lambda lib, t: lib.linalg.householder_product(t(np.ones((2, 3))), t(np.ones(2))),
        lambda lib, t: lib.linalg.lu_solve(t(np.eye(2)), t(np.ones(2)).int(), t(np.ones((3, 2)))),
        lambda lib, t: lib.cov(t(np.ones((2, 2, 2)))),
        lambda lib, t: lib.einsum("ij->k", t(np.eye(2))),
    ],
)
def test_bad_arguments_are_torchs_error(call):
    mine, theirs = both(call)
    assert type(mine) is type(theirs)
    assert str(mine).startswith(str(theirs).rstrip("."))


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 4, 3)])
def test_least_squares_gives_what_its_driver_gives(driver, shape):
    a, b = arr(*shape), arr(*shape[:-1], 2, seed=1)
    mine, theirs = both(lambda lib, t: lib.linalg.lstsq(t(a), t(b), driver=driver))
    assert mine._fields == ("solution", "residuals", "rank", "singular_values")
    for x, y in zip(mine, theirs):
        assert x.shape == tuple(y.shape)
        np.testing.assert_allclose(numpy(x), numpy(y), atol=1e-9)


def test_ranks_follow_their_tolerances():
    a = np.stack([np.diag([1.0, 1e-3, 0.0]), np.diag([1.0, 1.0, 1e-20])])
    for options in ({}, {"atol": 1e-2}, {"rtol": 1e-2}, {"tol": 1e-2}, {"hermitian": True}):
        mine, theirs = both(lambda lib, t, **how: lib.linalg.matrix_rank(t(a), **how), **options)
        assert mine.tolist() == theirs.tolist()
        assert mine.dtype is dtorch.int64
    mine, theirs = both(lambda lib, t: lib.linalg.matrix_rank(t(a), atol=t([1e-2, 2.0])))
    assert mine.tolist() == theirs.tolist() == [1, 0]


def test_the_pseudo_inverse_has_gradients_where_the_rank_is_not_full():
    def f(a, b):
        return dtorch.linalg.pinv(a @ b.mT)

    given = [dtorch.tensor(arr(3, 2, seed=s), requires_grad=True) for s in (0, 1)]
    assert gradcheck(f, given)
    assert gradgradcheck(f, given, atol=1e-4)


@pytest.mark.parametrize("name", ["cholesky", "eigh", "eig", "svd", "qr", "lu", "matrix_exp"])
def test_second_derivatives_through_complex_factorisations(name):
    def f(a):
        a = a @ a.mH + dtorch.eye(3, dtype=a.dtype) if name in ("cholesky", "eigh") else a
        result = getattr(dtorch.linalg, name)(a)
        parts = result if isinstance(result, tuple) else (result,)
        # lengths alone: the phases of eigenvectors and of singular vectors are arbitrary
        return tuple(p.abs() for p in parts if not (name == "lu" and p is parts[0]))

    z = dtorch.tensor(arr(3, 3) + 1j * arr(3, 3, seed=1), requires_grad=True)
    assert gradcheck(f, [z], fast_mode=True)
    if name not in ("qr", "lu"):  # abs has no second derivative at their zeros
        assert gradgradcheck(f, [z], fast_mode=True, atol=1e-3)


@pytest.mark.parametrize("name", ["eigh", "svd", "eig"])
def test_a_loss_that_depends_on_a_phase_is_refused(name):
    a = arr(3, 3) + 1j * arr(3, 3, seed=1)
    z = dtorch.tensor(a + a.conj().T if name == "eigh" else a, requires_grad=True)
    loss = getattr(dtorch.linalg, name)(z)[0 if name == "svd" else 1].imag.sum()
    with pytest.raises(RuntimeError, match="loss function depends on this quantity"):
        loss.backward()


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0)])
def test_empty_batches_and_empty_matrices(shape):
    square = ["inv", "det", "slogdet", "cholesky", "eigh", "eig", "svd", "svdvals", "qr", "lu",
              "lu_factor", "ldl_factor", "pinv", "matrix_exp", "matrix_rank", "cond"]  # fmt: skip
    for name in square:
        mine, theirs = both(lambda lib, t, n: getattr(lib.linalg, n)(t(np.zeros(shape))), name)
        if isinstance(theirs, torch.Tensor):
            mine, theirs = [mine], [theirs]
        assert [x.shape for x in mine] == [tuple(x.shape) for x in theirs], name


@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl_solves_indefinite_equations(hermitian):
    a = arr(2, 4, 4) + 1j * arr(2, 4, 4, seed=1)
    a = a + (np.conj(a) if hermitian else a).swapaxes(-2, -1)
    b = arr(4, 2) + 0j
    ld, pivots = dtorch.linalg.ldl_factor(dtorch.tensor(a), hermitian=hermitian)
    x = dtorch.linalg.ldl_solve(ld, pivots, dtorch.tensor(b), hermitian=hermitian)
    np.testing.assert_allclose(a @ x.numpy(), np.broadcast_to(b, (2, 4, 2)), atol=1e-9)


def test_cholesky_solves():
    mine, theirs = both(lambda lib, t: lib.cholesky_solve(t(arr(3, 2)), t(np.tril(arr(3, 3)))))
    np.testing.assert_allclose(numpy(mine), numpy(theirs), rtol=1e-9)
    mine, theirs = both(lambda lib, t: lib.cholesky_inverse(t(np.triu(arr(3, 3))), upper=True))
    np.testing.assert_allclose(numpy(mine), numpy(theirs), rtol=1e-9)


def test_few_of_many():
    low = arr(8, 2) @ arr(2, 6)
    a = dtorch.tensor(low)
    for u, s, v in (dtorch.svd_lowrank(a, 3), dtorch.svd_lowrank(a.mT, 3)[::-1]):
        np.testing.assert_allclose((u * s @ v.mT).numpy(), low, atol=1e-9)
    u, s, v = dtorch.pca_lowrank(a, 2)
    np.testing.assert_allclose((u * s @ v.mT).numpy(), low - low.mean(0), atol=1e-9)
    m = np.diag(np.arange(1.0, 10.0)) + 0.1
    b = np.eye(9) + 0.1
    for largest in (True, False):
        w, x = dtorch.lobpcg(dtorch.tensor(m), 2, dtorch.tensor(b), largest=largest)
        np.testing.assert_allclose(m @ x.numpy(), b @ x.numpy() * w.numpy(), atol=1e-9)
        expected = np.sort(np.linalg.eigvals(np.linalg.solve(b, m)).real)
        np.testing.assert_allclose(w.numpy(), expected[:-3:-1] if largest else expected[:2])


def test_many_matrices_are_multiplied_in_the_cheapest_order():
    from dtorch.core.ops.matrix_functions import _best_splits

    sizes = [30, 35, 15, 5, 10, 20, 25]  # the example of Cormen et al.: ((A0(A1A2))((A3A4)A5))
    split = _best_splits(sizes)
    assert (split[0][5], split[0][2], split[3][5]) == (2, 0, 4)


def test_results_have_torchs_names():
    for name, fields in {
        "slogdet": ("sign", "logabsdet"), "eig": ("eigenvalues", "eigenvectors"),
        "svd": ("U", "S", "Vh"), "qr": ("Q", "R"), "lu": ("P", "L", "U"),
        "lu_factor_ex": ("LU", "pivots", "info"), "inv_ex": ("inverse", "info"),
        "cholesky_ex": ("L", "info"), "ldl_factor_ex": ("LD", "pivots", "info"),
    }.items():  # fmt: skip
        assert getattr(dtorch.linalg, name)(dtorch.eye(2))._fields == fields
    assert dtorch.svd(dtorch.eye(2))._fields == ("U", "S", "V")
    assert dtorch.geqrf(dtorch.eye(2))._fields == ("a", "tau")
