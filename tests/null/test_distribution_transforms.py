"""Transforms of distributions and constraints, against torch's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import dtorch
from dtorch import distributions

NUMBERS = [[-1.5, 0.2, 0.7], [2.0, -0.1, 1.3]]
POSITIVE = [[0.5, 0.2, 0.7], [2.0, 0.1, 1.3]]
MATRIX = [[0.3, 9.0], [-0.5, 0.8]]

# name: (transform, of a library's distributions D and its tensors t(array); a point of its domain)
CASES: dict[str, Any] = {
    "Abs": (lambda D, t: D.AbsTransform(), NUMBERS),
    "Affine": (lambda D, t: D.AffineTransform(t([1.0, 2.0, 3.0]), t([[-1.0], [2.0]])), NUMBERS),
    "Affine of numbers": (lambda D, t: D.AffineTransform(1.0, -3.0), NUMBERS),
    "Affine of vectors": (lambda D, t: D.AffineTransform(1.0, t([1.0, 2.0, 3.0]), 1), NUMBERS),
    "Affine of vectors by a number": (lambda D, t: D.AffineTransform(0.0, 2.0, 2), NUMBERS),
    "Cat": (
        lambda D, t: D.CatTransform([D.ExpTransform(), D.TanhTransform()], -1, [1, 2]), NUMBERS
    ),
    "Cat of vectors": (
        lambda D, t: D.CatTransform(
            [D.AffineTransform(0.0, 2.0, 1), D.IndependentTransform(D.ExpTransform(), 1)], -1, [1, 2]
        ),
        NUMBERS,
    ),
    "Compose": (
        lambda D, t: D.ComposeTransform([D.ExpTransform(), D.AffineTransform(t([1.0]), 2.0)]),
        NUMBERS,
    ),
    "Compose of vectors": (
        lambda D, t: D.ComposeTransform([D.ExpTransform().inv, D.StickBreakingTransform()]),
        POSITIVE,
    ),
    "CorrCholesky": (lambda D, t: D.CorrCholeskyTransform(), NUMBERS),
    "CumulativeDistribution": (
        lambda D, t: D.CumulativeDistributionTransform(D.Normal(t([0.5]), t([2.0]))), NUMBERS
    ),
    "Exp": (lambda D, t: D.ExpTransform(), NUMBERS),
    "identity": (lambda D, t: D.identity_transform, NUMBERS),
    "Independent": (lambda D, t: D.IndependentTransform(D.ExpTransform(), 1), NUMBERS),
    "inverse": (lambda D, t: D.ExpTransform().inv, POSITIVE),
    "LowerCholesky": (lambda D, t: D.LowerCholeskyTransform(), MATRIX),
    "PositiveDefinite": (lambda D, t: D.PositiveDefiniteTransform(), MATRIX),
    "Power": (lambda D, t: D.PowerTransform(t([0.5, -2.0, 3.0])), POSITIVE),
    "Reshape": (lambda D, t: D.ReshapeTransform((3,), (1, 3)), NUMBERS),
    "Sigmoid": (lambda D, t: D.SigmoidTransform(), NUMBERS),
    "Softmax": (lambda D, t: D.SoftmaxTransform(), NUMBERS),
    "Softplus": (lambda D, t: D.SoftplusTransform(), NUMBERS),
    "Stack": (lambda D, t: D.StackTransform([D.ExpTransform(), D.TanhTransform()], -2), NUMBERS),
    "StickBreaking": (lambda D, t: D.StickBreakingTransform(), NUMBERS),
    "Tanh": (lambda D, t: D.TanhTransform(), NUMBERS),
}  # fmt: skip


def made(library: Any, case: str) -> tuple[Any, Any]:
    def t(values: Any) -> Any:
        return library.tensor(values, dtype=library.float64)

    D = distributions if library is dtorch else torch.distributions
    make, point = CASES[case]
    return make(D, t), t(point).requires_grad_()


def outcome(call: Any, *args: Any) -> Any:
    """A result, or the class of the error."""
    try:
        return call(*args)
    except (NotImplementedError, ValueError) as e:
        return type(e)


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-12, 1e-14)
        assert tuple(ours.shape) == tuple(theirs.shape)
    elif isinstance(theirs, tuple):
        assert tuple(ours) == tuple(theirs)
    else:
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("case", CASES)
def test_transforms(case: str) -> None:
    (ours, x), (theirs, u) = made(dtorch, case), made(torch, case)
    y, v = ours(x), theirs(u)
    same(y, v)
    for a, b in ((ours, theirs), (ours.inv, theirs.inv)):
        for name in ("sign", "bijective", "domain", "codomain", "event_dim"):
            same(outcome(getattr, a, name), outcome(getattr, b, name))
    same(ours.inv(y), theirs.inv(v))
    assert ours.inv.inv is ours
    assert repr(ours) == repr(theirs) or case == "CumulativeDistribution"
    same(
        outcome(ours.log_abs_det_jacobian, x, y),
        outcome(theirs.log_abs_det_jacobian, u, v),
    )
    same(
        outcome(ours.inv.log_abs_det_jacobian, y, x),
        outcome(theirs.inv.log_abs_det_jacobian, v, u),
    )
    assert tuple(ours.forward_shape(x.shape)) == tuple(y.shape)
    assert tuple(ours.inverse_shape(y.shape)) == tuple(ours.inv(y).shape)
    assert ours.domain.check(x).all() or case == "Stack"


BIJECTIVE = [c for c in CASES if c not in
             ("Abs", "Softmax", "LowerCholesky", "PositiveDefinite", "identity")]  # fmt: skip


@pytest.mark.parametrize("case", BIJECTIVE)
def test_log_determinants_are_those_of_the_jacobian(case: str) -> None:
    t, point = made(dtorch, case)
    point = point.detach()
    x = point if t.domain.event_dim == 2 else point[0]
    if case in ("Affine", "Stack"):
        x = point
    if t.domain.event_dim == 0 or case == "Reshape":
        y = t(x)
        if case == "Reshape":
            assert float(t.log_abs_det_jacobian(x, y)) == 0
            return
    jacobian = dtorch.autograd.functional.jacobian(t, x)
    total = float(t.log_abs_det_jacobian(x, t(x)).sum())
    n = x.numel()
    rows = jacobian.reshape(-1, n)
    if case in ("StickBreaking", "Compose of vectors"):  # the last element follows from the others
        rows = rows[:-1]
    if case == "CorrCholesky":  # those below the diagonal
        rows = rows[dtorch.ones(3, 3).tril(-1).bool().reshape(-1)]
    np.testing.assert_allclose(float(dtorch.linalg.slogdet(rows).logabsdet), total, 1e-9)


def test_caches_give_back_the_very_tensor() -> None:
    D = distributions
    for t in (
        D.ExpTransform(cache_size=1),
        D.AffineTransform(0.0, 2.0).with_cache(),
        D.StickBreakingTransform().with_cache(1),
        D.CatTransform([D.ExpTransform()], 0, [3], cache_size=1),
    ):
        x = dtorch.tensor([0.1, 0.2, 0.3])
        y = t(x)
        assert t.inv(y) is x
        assert t(x) is y
        assert t.inv.with_cache(0).inv._cache_size == 0
        assert t.with_cache(1) is t
        z = t.inv(y.clone())
        assert z is not x
        np.testing.assert_allclose(z.numpy(), x.numpy(), 1e-5)
        for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
            np.testing.assert_allclose(other(x).numpy(), y.numpy())
    composed = D.ComposeTransform([D.ExpTransform(), D.TanhTransform()], cache_size=1)
    assert composed.inv(composed(x)) is x


def test_equality() -> None:
    D = distributions
    assert D.ExpTransform() == D.ExpTransform()
    assert D.ExpTransform() != D.TanhTransform()
    assert D.ExpTransform().inv == D.ExpTransform().inv
    assert D.ExpTransform().inv != D.ExpTransform()
    assert D.AffineTransform(0.0, dtorch.ones(2)) == D.AffineTransform(0.0, dtorch.ones(2))
    assert D.AffineTransform(0.0, 1.0) != D.AffineTransform(0.0, 2.0)
    assert D.PowerTransform(2.0) == D.PowerTransform(2.0)
    assert D.ComposeTransform([D.ExpTransform()]) == D.ComposeTransform([D.ExpTransform()])


def chain(D: Any, T: Any, base_dims: int, event_dims: int, names: tuple[str, ...]) -> Any:
    base = D.Normal(T.zeros((3, 4, 4)[3 - base_dims :], dtype=T.float64), 1.0)
    if event_dims:
        base = D.Independent(base, event_dims)
    return D.TransformedDistribution(base, [getattr(D, f"{name}Transform")() for name in names])


@pytest.mark.parametrize("names", [
    (), ("Exp",), ("Softmax",), ("LowerCholesky",), ("Exp", "Softmax"), ("Exp", "LowerCholesky"),
    ("Softmax", "Exp"), ("LowerCholesky", "Exp"), ("StickBreaking", "Exp", "StickBreaking"),
])  # fmt: skip
def test_shapes_of_transformed_distributions(names: tuple[str, ...]) -> None:
    for base_dims, event_dims in ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 2)):
        theirs = outcome(chain, torch.distributions, torch, base_dims, event_dims, names)
        ours = outcome(chain, distributions, dtorch, base_dims, event_dims, names)
        if theirs is ValueError:
            assert ours is ValueError
            continue
        for name in ("batch_shape", "event_shape"):
            assert tuple(getattr(ours, name)) == tuple(getattr(theirs, name))
        assert ours.support.event_dim == theirs.support.event_dim
        x = ours.sample((2,))
        log_prob = outcome(theirs.log_prob, torch.tensor(x.numpy()))
        same(outcome(lambda p=ours, x=x: p.log_prob(x)), log_prob)
        wide = (5, *ours.batch_shape)
        assert tuple(ours.expand(wide).sample().shape) == (*wide, *ours.event_shape)


# ---- constraints ---------------------------------------------------------------------------------

VALUES = {
    0: [[0.0, 1.0, -1.0], [0.5, 2.0, float("nan")]],
    1: [[0.2, 0.8], [0.0, 1.0], [1.0, 1.0], [-0.5, 1.5], [3.0, 1.0]],
    2: [[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [3.0, 2.0]]],
}  # fmt: skip
CONSTRAINTS: dict[str, Any] = {
    **{name: lambda c, name=name: getattr(c, name) for name in (
        "boolean", "corr_cholesky", "lower_cholesky", "lower_triangular", "nonnegative",
        "nonnegative_integer", "one_hot", "positive", "positive_definite", "positive_integer",
        "positive_semidefinite", "real", "real_vector", "simplex", "square", "symmetric",
        "unit_interval")},
    "greater_than": lambda c: c.greater_than(0.5),
    "greater_than_eq": lambda c: c.greater_than_eq(0.5),
    "less_than": lambda c: c.less_than(0.5),
    "interval": lambda c: c.interval(-1, 1),
    "half_open_interval": lambda c: c.half_open_interval(-1, 1),
    "integer_interval": lambda c: c.integer_interval(-1, 1),
    "multinomial": lambda c: c.multinomial(3),
    "independent": lambda c: c.independent(c.positive, 1),
    "cat": lambda c: c.cat([c.positive, c.unit_interval], -1, [1, 2]),
    "stack": lambda c: c.stack([c.positive, c.unit_interval, c.real], -1),
    "MixtureSameFamilyConstraint": lambda c: c.MixtureSameFamilyConstraint(c.positive),
    "dependent": lambda c: c.dependent(is_discrete=False, event_dim=0),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name: str) -> None:
    ours = CONSTRAINTS[name](distributions.constraints)
    theirs = CONSTRAINTS[name](torch.distributions.constraints)
    assert repr(ours) == repr(theirs)
    assert (ours.is_discrete, ours.event_dim) == (theirs.is_discrete, theirs.event_dim)
    assert distributions.constraints.is_dependent(ours) == (name == "dependent")
    for to in ("biject_to", "transform_to"):
        t = outcome(getattr(distributions, to), ours)
        assert repr(t) == repr(outcome(getattr(torch.distributions, to), theirs))
    if name == "dependent":
        return
    values = VALUES[ours.event_dim]
    got, expected = ours.check(dtorch.tensor(values)), theirs.check(torch.tensor(values))
    assert got.tolist() == expected.tolist()


def test_points_of_constrained_sets() -> None:
    D, c = distributions, distributions.constraints
    x = dtorch.randn(4, 3)
    for constraint in (c.real, c.positive, c.less_than(2.0), c.interval(-1.0, dtorch.tensor(3.0)),
                       c.simplex, c.corr_cholesky, c.independent(c.unit_interval, 1),
                       c.stack([c.positive, c.real, c.unit_interval], -1)):  # fmt: skip
        for to in (D.biject_to, D.transform_to):
            t = to(constraint)
            y = t(x)
            assert constraint.check(y).all()
            if t.bijective:
                np.testing.assert_allclose(t.inv(y).numpy(), x.numpy(), 1e-3, 1e-4)
    square = dtorch.randn(4, 3, 3)
    for constraint in (c.lower_cholesky, c.positive_definite):
        assert constraint.check(D.transform_to(constraint)(square)).all()


def test_registering_a_constraint() -> None:
    D = distributions

    class Even(D.constraints.Constraint):
        pass

    @D.biject_to.register(Even)
    def _even(constraint: Any) -> Any:
        return D.AffineTransform(0, 2)

    assert D.biject_to(Even()) == D.AffineTransform(0, 2)
    with pytest.raises(NotImplementedError, match="Cannot transform Even"):
        D.transform_to(Even())


def test_vectors_of_triangles() -> None:
    from dtorch.distributions import utils

    for diag in (-1, 0, 1):
        m = dtorch.randn(2, 4, 4).tril(diag)
        v = utils.tril_matrix_to_vec(m, diag)
        theirs = torch.distributions.utils.tril_matrix_to_vec(torch.tensor(m.numpy()), diag)
        assert v.tolist() == theirs.tolist()
        assert (utils.vec_to_tril_matrix(v, diag) == m).all()
    with pytest.raises(ValueError, match="cannot be expressed as"):
        utils.vec_to_tril_matrix(dtorch.ones(4))
