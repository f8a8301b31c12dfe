"""Distributions against torch's with the same parameters, and samples against moments."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import dtorch
from dtorch import distributions
from dtorch.distributions.kl.registry import _KL_REGISTRY


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """float64 by default: numbers become parameters of that dtype, and torch mixes in constants."""
    for library in (dtorch, torch):
        library.set_default_dtype(library.float64)
    yield
    for library in (dtorch, torch):
        library.set_default_dtype(library.float32)


COVARIANCE = [[2.0, 0.5], [0.5, 1.0]]
FACTOR = [[1.0, 0.0], [0.3, 0.8]]
P3 = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]

# name: the distribution, of a library's distributions D and its tensors t(array)
CASES: dict[str, Any] = {
    "Bernoulli": lambda D, t: D.Bernoulli(t([0.2, 0.5, 0.9])),
    "Bernoulli logits": lambda D, t: D.Bernoulli(logits=t([[-1.0], [2.0]])),
    "Beta": lambda D, t: D.Beta(t([0.5, 2.0, 30.0]), t([1.5])),
    "Binomial": lambda D, t: D.Binomial(5, t([0.2, 0.7])),
    "Binomial logits": lambda D, t: D.Binomial(t([[3.0]]), logits=t([-1.0, 0.5])),
    "Categorical": lambda D, t: D.Categorical(t(P3)),
    "Categorical logits": lambda D, t: D.Categorical(logits=t([0.1, -2.0, 1.0])),
    "Cauchy": lambda D, t: D.Cauchy(t([0.0, 1.0]), t([[1.0], [2.0]])),
    "Chi2": lambda D, t: D.Chi2(t([1.0, 4.5])),
    "ContinuousBernoulli": lambda D, t: D.ContinuousBernoulli(t([0.1, 0.4999, 0.5, 0.8])),
    "ContinuousBernoulli logits": lambda D, t: D.ContinuousBernoulli(logits=t([0.3, -4.0])),
    "Dirichlet": lambda D, t: D.Dirichlet(t([[0.5, 1.5, 3.0], [2.0, 2.0, 2.0]])),
    "Exponential": lambda D, t: D.Exponential(t([0.5, 3.0])),
    "FisherSnedecor": lambda D, t: D.FisherSnedecor(t([1.0, 5.0, 9.0]), t([1.5, 3.0, 12.0])),
    "Gamma": lambda D, t: D.Gamma(t([0.3, 1.0, 20.0]), t([2.0])),
    "GeneralizedPareto": lambda D, t: D.GeneralizedPareto(
        t([0.5]), t([1.0, 2.0, 0.7, 1.0]), t([0.3, 0.0, -0.4, 0.7])
    ),
    "Geometric": lambda D, t: D.Geometric(t([0.2, 0.9])),
    "Geometric logits": lambda D, t: D.Geometric(logits=t([0.3])),
    "Gumbel": lambda D, t: D.Gumbel(t([0.5, -1.0]), t([1.0, 3.0])),
    "HalfCauchy": lambda D, t: D.HalfCauchy(t([0.5, 2.0])),
    "HalfNormal": lambda D, t: D.HalfNormal(t([0.5, 2.0])),
    "Independent": lambda D, t: D.Independent(D.Normal(t([[0.0], [1.0]]), t([1.0, 2.0])), 1),
    "Independent 2": lambda D, t: D.Independent(D.Gamma(t([[1.0], [2.0]]), t([1.0, 2.0])), 2),
    "InverseGamma": lambda D, t: D.InverseGamma(t([0.7, 1.5, 4.0]), t([2.0])),
    "Kumaraswamy": lambda D, t: D.Kumaraswamy(t([0.5, 0.7]), t([0.8, 3.0])),
    "LKJCholesky": lambda D, t: D.LKJCholesky(3, t([0.5, 2.0])),
    "Laplace": lambda D, t: D.Laplace(t([0.5, -1.0]), t([1.0, 3.0])),
    "LogNormal": lambda D, t: D.LogNormal(t([0.5, -1.0]), t([0.5, 0.3])),
    "LogisticNormal": lambda D, t: D.LogisticNormal(t([[0.5, -1.0]]), t([[0.5, 0.3]])),
    "LowRankMultivariateNormal": lambda D, t: D.LowRankMultivariateNormal(
        t([0.5, 1.0]), t([[[1.0], [2.0]], [[0.5], [-1.0]]]), t([0.5, 1.5])
    ),
    "MixtureSameFamily": lambda D, t: D.MixtureSameFamily(
        D.Categorical(t([[0.3, 0.7], [0.5, 0.5]])), D.Normal(t([[0.0, 2.0], [1.0, 5.0]]), t([1.0, 0.5]))
    ),
    "MixtureSameFamily of vectors": lambda D, t: D.MixtureSameFamily(
        D.Categorical(logits=t([[0.3, 0.7], [0.0, 0.0], [1.0, 2.0]])),
        D.MultivariateNormal(t([[0.0, 2.0], [1.0, 5.0]]), t(COVARIANCE)).expand((3, 2)),
    ),
    "Multinomial": lambda D, t: D.Multinomial(4, t(P3)),
    "Multinomial logits": lambda D, t: D.Multinomial(2, logits=t([0.1, -2.0, 1.0])),
    "MultivariateNormal": lambda D, t: D.MultivariateNormal(t([0.5, 1.0]), t(COVARIANCE)),
    "MultivariateNormal precision": lambda D, t: D.MultivariateNormal(
        t([[0.5, 1.0], [0.0, 2.0], [1.0, 1.0]]), precision_matrix=t(COVARIANCE)
    ),
    "MultivariateNormal factor": lambda D, t: D.MultivariateNormal(
        t([0.5, 1.0]), scale_tril=t([FACTOR, FACTOR])
    ),
    "NegativeBinomial": lambda D, t: D.NegativeBinomial(t([3.0, 0.5]), t([0.2, 0.7])),
    "NegativeBinomial logits": lambda D, t: D.NegativeBinomial(4, logits=t([-0.2, 0.7])),
    "Normal": lambda D, t: D.Normal(t([0.5, -1.0]), t([[1.0], [2.0]])),
    "Normal of numbers": lambda D, t: D.Normal(0.5, 2.0),
    "OneHotCategorical": lambda D, t: D.OneHotCategorical(t(P3)),
    "OneHotCategoricalStraightThrough": lambda D, t: D.OneHotCategoricalStraightThrough(
        logits=t([0.1, -2.0, 1.0])
    ),
    "Pareto": lambda D, t: D.Pareto(t([1.0, 2.0, 0.5]), t([0.7, 1.5, 4.0])),
    "Poisson": lambda D, t: D.Poisson(t([0.5, 20.0])),
    "RelaxedBernoulli": lambda D, t: D.RelaxedBernoulli(t(0.7), t([0.2, 0.9])),
    "RelaxedBernoulli logits": lambda D, t: D.RelaxedBernoulli(t(2.0), logits=t([[0.2], [0.9]])),
    "RelaxedOneHotCategorical": lambda D, t: D.RelaxedOneHotCategorical(t(0.7), t(P3)),
    "RelaxedOneHotCategorical logits": lambda D, t: D.RelaxedOneHotCategorical(
        t(2.0), logits=t([0.1, -2.0, 1.0])
    ),
    "StudentT": lambda D, t: D.StudentT(t([0.5, 1.5, 6.0]), t([1.0]), t([2.0])),
    "TransformedDistribution": lambda D, t: D.TransformedDistribution(
        D.Normal(t([0.5, 0.0]), t([1.0, 0.7])),
        [D.AffineTransform(t([1.0, 2.0]), t([[-2.0], [1.0]])), D.SigmoidTransform()],
    ),
    "Uniform": lambda D, t: D.Uniform(t([0.5, -1.0]), t([[1.0], [2.0]])),
    "VonMises": lambda D, t: D.VonMises(t([0.5, -1.0]), t([0.5, 1.0])),
    "Weibull": lambda D, t: D.Weibull(t([0.5, 2.0]), t([1.0, 3.0])),
    "Wishart": lambda D, t: D.Wishart(t([3.5, 5.0]), t(COVARIANCE)),
    "Wishart precision": lambda D, t: D.Wishart(
        t([4.0, 6.0]), precision_matrix=t([COVARIANCE])
    ),
}  # fmt: skip
# torch's Bessel functions are good to 7 digits
TOLERANCE = {"VonMises": 2e-7}
MOMENTS = ["mean", "mode", "variance", "stddev"]
FUNCTIONS = ["entropy", "perplexity"]


def array(x: Any) -> np.ndarray:
    return x.detach().numpy(force=True)


def made(library: Any, case: str) -> tuple[Any, list[Any]]:
    """The distribution, and its parameters, which require gradients."""
    leaves: list[Any] = []

    def t(values: Any) -> Any:
        leaves.append(library.tensor(values, dtype=library.float64, requires_grad=True))
        return leaves[-1]

    D = distributions if library is dtorch else torch.distributions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CASES[case](D, t), leaves


def test_repr() -> None:
    for case, make in CASES.items():
        if "Mixture" not in case:  # torch has computed the logits of the categorical
            ours = make(distributions, dtorch.tensor)
            assert repr(ours).replace("dtorch", "torch") == repr(
                make(torch.distributions, torch.tensor)
            )


def both(case: str) -> tuple[Any, Any, list[Any], list[Any]]:
    (ours, our_leaves), (theirs, their_leaves) = made(dtorch, case), made(torch, case)
    return ours, theirs, our_leaves, their_leaves


def same(ours: Any, theirs: Any, leaves: Any, what: str, rtol: float = 1e-9) -> None:
    """Equal values and dtypes, and equal gradients by the parameters."""
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1], what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    np.testing.assert_allclose(array(ours), array(theirs), rtol, 1e-9, err_msg=what)
    assert ours.requires_grad == theirs.requires_grad, what
    finite = array(theirs.isfinite())
    if theirs.requires_grad and finite.any():
        ours, theirs = ours[dtorch.tensor(finite)], theirs[torch.tensor(finite)]
        a = dtorch.autograd.grad(ours.sum(), leaves[0], retain_graph=True, allow_unused=True)
        b = torch.autograd.grad(theirs.sum(), leaves[1], retain_graph=True, allow_unused=True)
        for x, y in zip(a, b):
            x, y = [np.zeros(()) if g is None else array(g) for g in (x, y)]
            known = np.broadcast_to(np.isfinite(y), np.broadcast_shapes(x.shape, y.shape))
            x, y = (np.broadcast_to(g, known.shape)[known] for g in (x, y))
            np.testing.assert_allclose(x, y, 10 * rtol, 1e-8, err_msg=f"gradient of {what}")


def theirs_of(theirs: Any, name: str, *args: Any) -> Any:
    """torch's result, or None where torch has none."""
    try:
        value = getattr(theirs, name)
        return value(*args) if callable(value) else value
    except NotImplementedError:
        return None


def value_of(ours: Any, theirs: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = theirs.sample((4,))
    return dtorch.from_numpy(x.numpy()), x


@pytest.mark.parametrize("case", CASES)
def test_shapes_and_moments(case: str) -> None:
    ours, theirs, *leaves = both(case)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    for name in MOMENTS + FUNCTIONS:
        expected = theirs_of(theirs, name)
        if (case, name) == ("Kumaraswamy", "mode"):  # torch's is NaN
            continue
        if expected is None:
            with pytest.raises(NotImplementedError):
                getattr(ours, name)() if name in FUNCTIONS else getattr(ours, name)
            continue
        got = getattr(ours, name)
        same(got() if callable(got) else got, expected, leaves, name, TOLERANCE.get(case, 1e-9))


@pytest.mark.parametrize("case", CASES)
def test_densities(case: str) -> None:
    ours, theirs, *leaves = both(case)
    x, y = value_of(ours, theirs)
    rtol = TOLERANCE.get(case, 1e-9)
    assert ours.support.check(x).all()
    assert type(ours.support).__name__ == type(theirs.support).__name__
    same(ours.log_prob(x), theirs.log_prob(y), leaves, "log_prob", rtol)
    for name, args in (("cdf", (x, y)), ("icdf", (x, y))):
        if name == "icdf":
            p = np.random.default_rng(0).uniform(size=(4, *ours.batch_shape))
            args = dtorch.from_numpy(p), torch.from_numpy(p)
        try:
            expected = getattr(theirs, name)(args[1])
            expected.requires_grad and torch.autograd.grad(
                expected.sum(), leaves[1], retain_graph=True, allow_unused=True
            )
        except NotImplementedError:  # or of which torch has no gradient
            continue
        same(getattr(ours, name)(args[0]), expected, leaves, name, rtol)
    if theirs.has_enumerate_support and theirs_of(theirs, "enumerate_support") is not None:
        for expand in (True, False):
            same(ours.enumerate_support(expand), theirs.enumerate_support(expand), leaves, "values")


@pytest.mark.parametrize("case", CASES)
def test_expand(case: str) -> None:
    ours, theirs, *leaves = both(case)
    shape = (3, *ours.batch_shape)
    wide, expected = ours.expand(shape), theirs.expand(shape)
    assert type(wide) is type(ours)
    assert tuple(wide.batch_shape) == shape
    assert wide.event_shape == ours.event_shape
    x, y = value_of(wide, expected)
    same(wide.log_prob(x), expected.log_prob(y), leaves, "log_prob", TOLERANCE.get(case, 1e-9))
    assert tuple(wide.sample((2,)).shape) == (2, *shape, *ours.event_shape)
    if theirs_of(theirs, "mean") is not None:
        same(wide.mean, expected.mean, leaves, "mean")


@pytest.mark.parametrize("case", CASES)
def test_samples_have_the_moments(case: str) -> None:
    ours, theirs, *_ = both(case)
    dtorch.manual_seed(3)
    n = 3000
    x = ours.sample((n,))
    assert not x.requires_grad
    assert tuple(x.shape) == (n, *ours.batch_shape, *ours.event_shape)
    assert str(x.dtype).split(".")[1] == str(value_of(ours, theirs)[1].dtype).split(".")[1]
    assert ours.support.check(x).all()
    if ours.has_rsample:
        assert ours.rsample().requires_grad == bool(made(dtorch, case)[1])
    if theirs_of(theirs, "mean") is None or case == "VonMises":  # its variance is circular
        return
    mean, variance = array(theirs.mean), array(theirs.variance)
    x = array(x)
    finite = np.isfinite(mean) & np.isfinite(variance)
    error = np.abs(x.mean(0) - mean) / np.sqrt(variance / n + 1e-12)
    assert (error[finite] < 5).all()


def test_random_numbers_have_the_distribution_function() -> None:
    dtorch.manual_seed(5)
    D = distributions
    for distribution, law in (
        (D.VonMises(0.0, 2.0), stats.vonmises(2.0)),
        (D.Gamma(0.1, 2.0), stats.gamma(0.1, scale=0.5)),
        (D.Beta(0.3, 2.0), stats.beta(0.3, 2.0)),
        (D.StudentT(2.5), stats.t(2.5)),
        (D.FisherSnedecor(3.0, 2.0), stats.f(3.0, 2.0)),
        (D.InverseGamma(1.5, 2.0), stats.invgamma(1.5, scale=2.0)),
        (D.GeneralizedPareto(0.0, 1.0, 0.5), stats.genpareto(0.5)),
        (D.Kumaraswamy(1.0, 3.0), stats.beta(1.0, 3.0)),
    ):
        x = distribution.sample((4000,)).double().numpy()
        assert stats.kstest(x, law.cdf).pvalue > 1e-3, distribution


def test_every_family_draws_scalars() -> None:
    D = distributions
    scalars = [
        D.Bernoulli(0.3), D.Poisson(2.0), D.Binomial(3, 0.5), D.Gamma(2.0, 1.0), D.Beta(1.0, 2.0),
        D.VonMises(0.0, 1.0), D.Normal(0, 1), D.NegativeBinomial(2, 0.5), D.Geometric(0.5),
        D.ContinuousBernoulli(0.3), D.StudentT(3.0), D.Laplace(0, 1),
    ]  # fmt: skip
    for p in scalars:
        assert p.sample().shape == ()
        assert p.sample((0, 2)).shape == (0, 2)
        assert p.sample().dtype is dtorch.float64


def test_mode_of_kumaraswamy() -> None:
    p = distributions.Kumaraswamy(2.0, 3.0)
    x = dtorch.linspace(0.001, 0.999, 9999)
    np.testing.assert_allclose(float(p.mode), float(x[p.log_prob(x).argmax()]), 1e-3)
    assert distributions.Kumaraswamy(0.5, 3.0).mode.isnan()


def test_extreme_parameters_stay_inside_the_support() -> None:
    D = distributions
    for dtype in (dtorch.float32, dtorch.float64):
        tiny = dtorch.full((2000,), 1e-2, dtype=dtype)
        x = D.Beta(tiny, tiny).sample()
        assert ((x > 0) & (x < 1)).all()
        assert 0.4 < float((x > 0.5).to(dtype).mean()) < 0.6
        assert (D.Gamma(tiny / 10, tiny).sample() > 0).all()
    assert float(D.Binomial(100, 0.0).sample()) == 0
    assert float(D.Binomial(100, 1.0).sample()) == 100
    assert float(D.NegativeBinomial(0.0, 0.5).log_prob(dtorch.tensor(0.0))) == 0
    assert D.Poisson(0.0).log_prob(dtorch.tensor([0.0, 1.0])).tolist() == [0, -math.inf]
    certain = D.Categorical(dtorch.tensor([0.0, 1.0]))
    assert float(D.kl_divergence(certain, certain)) == 0
    assert float(D.kl_divergence(D.Bernoulli(0.0), D.Bernoulli(0.0))) == 0


# ---- gradients of samples ------------------------------------------------------------------------


def test_gradients_of_gamma_numbers() -> None:
    """dx/da at a fixed quantile, by finite differences of the quantiles, and as torch has it."""
    a = np.array([0.02, 0.3, 1.0, 1.5, 7.0, 60.0, 5e3])[:, None]
    u = np.array([0.1, 0.45, 0.7, 0.99])
    law, h = stats.gamma, 1e-5
    x = law(a).ppf(u)
    expected = (law(a * (1 + h)).ppf(u) - law(a * (1 - h)).ppf(u)) / (2 * h * a)
    a, visible = np.broadcast_to(a, x.shape).copy(), x > 1e-100
    got = dtorch._standard_gamma_grad(dtorch.tensor(a), dtorch.tensor(x)).numpy()
    np.testing.assert_allclose(got[visible], expected[visible], 1e-5)
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x)).numpy()
    np.testing.assert_allclose(got[visible], theirs[visible], 1e-3)


def test_gradients_of_beta_numbers() -> None:
    a = np.array([0.05, 0.5, 1.0, 3.0, 80.0])[:, None, None]
    b = np.array([0.1, 1.0, 2.5, 500.0])[:, None]
    u, h = np.array([0.2, 0.6, 0.9]), 1e-5
    x = stats.beta(a, b).ppf(u)
    expected = (stats.beta(a * (1 + h), b).ppf(u) - stats.beta(a * (1 - h), b).ppf(u)) / (2 * h * a)
    args = [dtorch.tensor(v) for v in np.broadcast_arrays(x, a, a + b)]
    got = dtorch._dirichlet_grad(*args).numpy() * (1 - x)
    inside = (x > 1e-20) & (x < 1 - 1e-9)
    np.testing.assert_allclose(got[inside], expected[inside], 1e-4)
    theirs = torch._dirichlet_grad(*[torch.tensor(v.numpy()) for v in args]).numpy() * (1 - x)
    np.testing.assert_allclose(got[inside], theirs[inside], 5e-3)


def test_gradients_of_dirichlet_vectors_by_their_means() -> None:
    dtorch.manual_seed(0)
    a = dtorch.tensor([0.6, 2.0, 4.0], dtype=dtorch.float64, requires_grad=True)
    x = distributions.Dirichlet(a).rsample((8000,))
    total = a.sum()
    for i in range(3):
        (got,) = dtorch.autograd.grad(x[:, i].mean(), a, retain_graph=True)
        (expected,) = dtorch.autograd.grad(a[i] / total, a, retain_graph=True)
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=6e-3)


def test_rsample_moves_with_location_and_scale() -> None:
    D = distributions
    for family in (D.Normal, D.Cauchy, D.Laplace, D.Gumbel):
        loc, scale = (
            dtorch.tensor(v, dtype=dtorch.float64, requires_grad=True) for v in (1.0, 2.0)
        )
        x = family(loc, scale).rsample()
        by_loc, by_scale = dtorch.autograd.grad(x, [loc, scale])
        assert float(by_loc) == 1
        np.testing.assert_allclose(float(by_scale), (float(x.detach()) - 1) / 2, 1e-9)
    probs = dtorch.tensor([0.2, 0.8], requires_grad=True)
    x = D.OneHotCategoricalStraightThrough(probs).rsample()
    assert sorted(x.tolist()) == [0, 1]
    assert x.requires_grad


# ---- KL divergences ------------------------------------------------------------------------------

_PAIRS = {
    "Bernoulli": lambda D, t: [D.Bernoulli(t([0.2, 0.0])), D.Bernoulli(t([0.4, 0.7]))],
    "Beta": lambda D, t: [D.Beta(t([0.5, 2.0]), t([1.5])), D.Beta(t([2.0]), t([1.0, 3.0]))],
    "Binomial": lambda D, t: [D.Binomial(5, t([0.2, 0.7])), D.Binomial(5, t([0.3, 0.4]))],
    "Categorical": lambda D, t: [D.Categorical(t(P3)), D.Categorical(t([0.1, 0.1, 0.8]))],
    "Cauchy": lambda D, t: [D.Cauchy(t([0.0, 1.0]), t(1.0)), D.Cauchy(t([0.5, 1.0]), t(2.0))],
    "ContinuousBernoulli": lambda D, t: [
        D.ContinuousBernoulli(t([0.2, 0.5])), D.ContinuousBernoulli(t([0.4, 0.7]))
    ],
    "Dirichlet": lambda D, t: [D.Dirichlet(t([0.5, 2.0])), D.Dirichlet(t([[2.0, 1.0]] * 2))],
    "Exponential": lambda D, t: [D.Exponential(t([0.5, 2.0])), D.Exponential(t([2.0, 2.5]))],
    "Gamma": lambda D, t: [D.Gamma(t([0.5, 2.0]), t(1.5)), D.Chi2(t([2.0, 5.0]))],
    "Geometric": lambda D, t: [D.Geometric(t([0.2, 0.9])), D.Geometric(t([0.4, 0.7]))],
    "Gumbel": lambda D, t: [D.Gumbel(t([0.5, 2.0]), t(1.5)), D.Gumbel(t(0.3), t([2.0, 3.0]))],
    "HalfNormal": lambda D, t: [D.HalfNormal(t([0.5, 2.0])), D.HalfNormal(t([2.0, 2.5]))],
    "Independent": lambda D, t: [
        D.Independent(D.Normal(t([0.0, 1.0]), t(1.0)), 1),
        D.Independent(D.Normal(t([0.5, 1.0]), t(2.0)), 1),
    ],
    "Laplace": lambda D, t: [D.Laplace(t([0.5, 2.0]), t(1.5)), D.Laplace(t(0.3), t([2.0, 3.0]))],
    "LogNormal": lambda D, t: [D.LogNormal(t([0.5, 2.0]), t(1.5)), D.LogNormal(t(0.3), t(2.0))],
    "LowRankMultivariateNormal": lambda D, t: [
        D.LowRankMultivariateNormal(t([0.0, 1.0]), t([[1.0], [0.5]]), t([0.5, 2.0])),
        D.LowRankMultivariateNormal(t([[0.5, 1.0]] * 2), t([[0.2], [0.7]]), t([1.0, 2.0])),
    ],
    "MultivariateNormal": lambda D, t: [
        D.MultivariateNormal(t([[0.0, 1.0]] * 2), t(COVARIANCE)),
        D.MultivariateNormal(t([0.5, 1.0]), scale_tril=t(FACTOR)),
    ],
    "Normal": lambda D, t: [D.Normal(t([0.5, 2.0]), t(1.5)), D.Normal(t([0.3]), t([2.0, 3.0]))],
    "OneHotCategorical": lambda D, t: [
        D.OneHotCategorical(t(P3)), D.OneHotCategorical(t([[0.1, 0.0, 0.9]] * 2))
    ],
    "Pareto": lambda D, t: [D.Pareto(t([0.5, 2.0]), t([2.1, 2.5])), D.Pareto(t(0.7), t([2.0]))],
    "Poisson": lambda D, t: [D.Poisson(t([0.5, 2.0])), D.Poisson(t([2.0, 2.5]))],
    "Uniform": lambda D, t: [
        D.Uniform(t([0.2, 0.1]), t([0.7, 0.9])), D.Uniform(t([0.15, 0.15]), t([3.0, 3.0]))
    ],
}  # fmt: skip


def _pairs(library: Any, p: str, q: str) -> tuple[Any, Any, list[Any]]:
    leaves: list[Any] = []

    def t(values: Any) -> Any:
        leaves.append(library.tensor(values, dtype=library.float64, requires_grad=True))
        return leaves[-1]

    D = distributions if library is dtorch else torch.distributions
    return _PAIRS[p](D, t)[0], _PAIRS[q](D, t)[1], leaves


def _registered(registry: Any) -> set[tuple[str, str]]:
    return {(p.__name__, q.__name__) for p, q in registry}


def test_the_same_divergences_are_implemented() -> None:
    theirs = _registered(torch.distributions.kl._KL_REGISTRY)
    assert _registered(_KL_REGISTRY) == theirs
    with pytest.raises(NotImplementedError, match="No KL"):
        distributions.kl_divergence(distributions.Cauchy(0, 1), distributions.Normal(0, 1))


@pytest.mark.parametrize("p", _PAIRS)
def test_kl_divergences(p: str) -> None:
    for q in [p, *[b for a, b in sorted(_registered(_KL_REGISTRY)) if a == p != b and b in _PAIRS]]:
        p1, q1, leaves1 = _pairs(dtorch, p, q)
        p2, q2, leaves2 = _pairs(torch, p, q)
        got = distributions.kl_divergence(p1, q1)
        expected = torch.distributions.kl_divergence(p2, q2)
        if expected.isinf().all():
            assert (got == math.inf).all(), (p, q)
        else:
            same(got, expected, (leaves1, leaves2), f"{p}, {q}")


def test_infinite_moments_make_infinite_divergences() -> None:
    D, kl = distributions, distributions.kl_divergence
    heavy = D.Pareto(1.0, dtorch.tensor([0.5, 1.5]))
    assert kl(heavy, D.Normal(0.0, 1.0)).tolist() == [math.inf, math.inf]
    assert kl(heavy, D.Exponential(1.0)).isinf().tolist() == [True, False]
    assert kl(D.Beta(1.0, 1.0), D.ContinuousBernoulli(0.5)).isfinite()
    # torch says that these are infinite
    assert float(kl(D.ContinuousBernoulli(0.5), D.Uniform(0.0, 1.0))) == pytest.approx(0)
    assert float(kl(D.Uniform(0.0, 1.0), D.ContinuousBernoulli(0.5))) == pytest.approx(0)


def test_kl_of_exponential_families_by_bregman() -> None:
    bregman = _KL_REGISTRY[distributions.ExponentialFamily, distributions.ExponentialFamily]
    wishart = [
        distributions.Wishart(df, dtorch.tensor(COVARIANCE, dtype=dtorch.float64))
        for df in (4.0, 5.5)
    ]
    theirs = [
        torch.distributions.Wishart(df, torch.tensor(COVARIANCE, dtype=torch.float64))
        for df in (4.0, 5.5)
    ]
    expected = array(torch.distributions.kl_divergence(*theirs))
    np.testing.assert_allclose(array(distributions.kl_divergence(*wishart)), expected, 1e-9)
    for name in ("Beta", "Dirichlet", "Exponential", "Gamma", "Normal", "ContinuousBernoulli"):
        p, q, _ = _pairs(dtorch, name, name)
        if type(p) is type(q):
            expected = array(distributions.kl_divergence(p, q))
            np.testing.assert_allclose(array(bregman(p, q)), expected, 1e-9)


def test_entropy_of_exponential_families_by_their_normalizers() -> None:
    for case in CASES:
        p, _ = made(dtorch, case)
        if isinstance(p, distributions.ExponentialFamily):
            try:
                got = distributions.ExponentialFamily.entropy(p)
            except NotImplementedError:  # the carrier's mean has no closed form
                continue
            np.testing.assert_allclose(array(got), array(p.entropy()), 1e-9, 1e-12)


def test_registering_a_divergence() -> None:
    D = distributions

    class Ours(D.Normal):
        pass

    p = Ours(0.0, 1.0)
    assert float(D.kl_divergence(p, p)) == 0

    @D.register_kl(Ours, D.Normal)
    def _ours(p: Any, q: Any) -> str:
        return "left"

    assert D.kl_divergence(p, D.Normal(0.0, 1.0)) == "left"

    @D.register_kl(D.Normal, Ours)
    def _theirs(p: Any, q: Any) -> str:
        return "right"

    with pytest.warns(RuntimeWarning, match="Ambiguous"):
        D.kl_divergence(p, p)
    with pytest.raises(TypeError, match="Distribution subclass"):
        D.register_kl(int, Ours)


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda D, t: D.Normal(t([0.0, math.nan]), t(1.0)),
        lambda D, t: D.Normal(t([0.0, 1.0]), t([1.0, -1.0])),
        lambda D, t: D.Bernoulli(),
        lambda D, t: D.Bernoulli(t(0.5), t(0.5)),
        lambda D, t: D.Bernoulli(t(1.5)),
        lambda D, t: D.Categorical(t(0.5)),
        lambda D, t: D.Categorical(logits=t(0.5)),
        lambda D, t: D.Categorical(t([-0.1, 1.1])),
        lambda D, t: D.Normal("x", t(1.0)),
        lambda D, t: D.Uniform(t(1.0), t(0.0)),
        lambda D, t: D.Geometric(t([0.5, 0.0])),
        lambda D, t: D.Dirichlet(t(1.0)),
        lambda D, t: D.LKJCholesky(1),
        lambda D, t: D.MultivariateNormal(t(1.0), t(COVARIANCE)),
        lambda D, t: D.MultivariateNormal(t([1.0, 2.0])),
        lambda D, t: D.MultivariateNormal(t([1.0, 2.0]), scale_tril=t([1.0, 2.0])),
        lambda D, t: D.MultivariateNormal(t([1.0, 2.0]), t([[1.0, 2.0], [2.0, 1.0]])),
        lambda D, t: D.LowRankMultivariateNormal(t([1.0]), t([[1.0], [2.0]]), t([1.0])),
        lambda D, t: D.Wishart(t(0.5), t(COVARIANCE)),
        lambda D, t: D.Wishart(t(3.0)),
        lambda D, t: D.Multinomial(t(2.0), t([0.5, 0.5])),
        lambda D, t: D.Multinomial(-1, t([0.5, 0.5])),
        lambda D, t: D.Beta(t([1.0, -1.0]), t([1.0])),
        lambda D, t: D.Chi2(t(-1.0)),
        lambda D, t: D.Binomial(t([2.0, 3.0]), t([0.5, 0.5])).entropy(),
        lambda D, t: D.Independent(D.Normal(t([0.0]), t(1.0)), 2),
        lambda D, t: D.TransformedDistribution(D.Normal(t(0.0), t(1.0)), D.StickBreakingTransform()),
        lambda D, t: D.TransformedDistribution(D.Normal(t(0.0), t(1.0)), "x"),
        lambda D, t: D.MixtureSameFamily(D.Normal(t([0.0]), t(1.0)), D.Normal(t([0.0]), t(1.0))),
        lambda D, t: D.MixtureSameFamily(D.Categorical(t([1.0])), D.Normal(t([0.0, 1.0]), t(1.0))),
        lambda D, t: D.Normal(t([0.0, 1.0]), t(1.0)).log_prob(1.0),
        lambda D, t: D.Normal(t([0.0, 1.0]), t(1.0)).log_prob(t([0.0, 1.0, 2.0])),
        lambda D, t: D.Dirichlet(t([1.0, 1.0])).log_prob(t([0.2, 0.3, 0.5])),
        lambda D, t: D.Exponential(t(1.0)).log_prob(t(-1.0)),
        lambda D, t: D.Bernoulli(t(0.5)).log_prob(t(0.5)),
        lambda D, t: D.Bernoulli(t(0.5)).rsample(),
        lambda D, t: D.Normal(t(0.0), t(1.0)).enumerate_support(),
        lambda D, t: D.biject_to(D.constraints.lower_cholesky),
        lambda D, t: D.transform_to.register(int, None)(lambda c: None),
        lambda D, t: D.PowerTransform(2.0, cache_size=2),
        lambda D, t: D.ReshapeTransform((2, 3), (5,)),
        lambda D, t: D.CorrCholeskyTransform().forward_shape((2,)),
        lambda D, t: D.constraints.dependent.check(t(1.0)),
        lambda D, t: D.constraints.dependent.event_dim,
        lambda D, t: D.Distribution.set_default_validate_args("x"),
    ],
)  # fmt: skip
def test_errors(make: Any) -> None:
    errors = []
    for library in (dtorch, torch):
        D = distributions if library is dtorch else torch.distributions
        with pytest.raises(Exception) as caught:  # noqa: PT011
            make(D, lambda v, library=library: library.tensor(v))
        errors.append(caught.value)
    assert type(errors[0]) is type(errors[1])
    ours, theirs = (str(e).replace("dtorch", "torch").split("\n")[0] for e in errors)
    assert ours == theirs or not theirs or len(theirs) < 3


def test_validation_can_be_turned_off() -> None:
    D = distributions
    D.Normal(0.0, -1.0, validate_args=False).log_prob(dtorch.tensor(1.0))
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="to satisfy the constraint GreaterThan"):
        D.Normal(0.0, -1.0)


def test_subclasses() -> None:
    D = distributions

    class Shifted(D.Normal):
        def __init__(self, by: float) -> None:
            super().__init__(by, 1.0)

    with pytest.raises(NotImplementedError, match="must also define a custom .expand"):
        Shifted(2.0).expand((2,))

    class Bare(D.Distribution):
        pass

    with pytest.warns(UserWarning, match="does not define `arg_constraints`"):
        bare = Bare()
    for name in ("mean", "variance", "mode", "support", "arg_constraints"):
        with pytest.raises(NotImplementedError):
            getattr(bare, name)
    with pytest.raises(NotImplementedError):
        bare.expand((2,))
    with pytest.warns(FutureWarning, match="sample_n"):
        assert D.Normal(0.0, 1.0).sample_n(3).shape == (3,)


def test_copies_and_pickles() -> None:
    p = distributions.TransformedDistribution(
        distributions.Normal(dtorch.zeros(2), 1.0), [distributions.ExpTransform(cache_size=1)]
    )
    x = p.sample()
    for q in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        np.testing.assert_allclose(array(q.log_prob(x)), array(p.log_prob(x)), 1e-12)
