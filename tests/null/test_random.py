"""Random numbers: their distributions, by Kolmogorov and Smirnov's test; seeds; torch's errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import dtorch
from dtorch.core.random import seed_at, use_generator

N = 4000

# method: (arguments, the distribution that it should draw from)
LAWS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "uniform_": ((-1.0, 3.0), stats.uniform(-1, 4)),
    "normal_": ((1.0, 2.0), stats.norm(1, 2)),
    "log_normal_": ((0.5, 0.7), stats.lognorm(0.7, scale=np.exp(0.5))),
    "exponential_": ((2.0,), stats.expon(scale=0.5)),
    "cauchy_": ((1.0, 0.5), stats.cauchy(1, 0.5)),
}
COUNTS: dict[str, tuple[Any, Any]] = {
    "geometric_": (lambda t: t.geometric_(0.3), stats.geom(0.3)),
    "random_": (lambda t: t.random_(2, 7), stats.randint(2, 7)),
    "bernoulli_": (lambda t: t.bernoulli_(0.3), stats.bernoulli(0.3)),
    "poisson": (lambda t: dtorch.poisson(t + 2.5), stats.poisson(2.5)),
    "binomial": (lambda t: dtorch.binomial(t + 7, t + 0.4), stats.binom(7, 0.4)),
}


@pytest.mark.parametrize("name", LAWS)
def test_distributions_of_real_numbers(name: str) -> None:
    args, law = LAWS[name]
    t = dtorch.empty(N, dtype=dtorch.float64)
    getattr(t, name)(*args, generator=dtorch.Generator().manual_seed(5))
    assert stats.kstest(t.numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", COUNTS)
def test_distributions_of_integers(name: str) -> None:
    draw, law = COUNTS[name]
    dtorch.manual_seed(5)
    values = draw(dtorch.zeros(N)).numpy()
    seen, counts = np.unique(values, return_counts=True)
    expected = N * law.pmf(seen)
    big = expected > 5
    assert expected.sum() > 0.98 * N
    chi2 = ((counts - expected)[big] ** 2 / expected[big]).sum()
    assert stats.chi2(big.sum()).sf(chi2) > 1e-3


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_weight(replacement: bool) -> None:
    dtorch.manual_seed(1)
    weights = dtorch.tensor([1.0, 0.0, 3.0, 4.0]).expand(N, 4)
    first = dtorch.multinomial(weights, 2, replacement)[:, 0].numpy()
    assert abs(np.bincount(first, minlength=4) / N - [1 / 8, 0, 3 / 8, 1 / 2]).max() < 0.03


def test_a_seed_repeats_and_a_generator_is_apart() -> None:
    def draws(**how: Any) -> list[Any]:
        return [
            dtorch.rand(3, **how), dtorch.randint(9, (3,), **how), dtorch.randperm(5, **how),
            dtorch.normal(dtorch.zeros(3), 1.0, **how), dtorch.bernoulli(dtorch.full((9,), 0.5), **how),
            dtorch.empty(3).cauchy_(**how), dtorch.multinomial(dtorch.ones(5), 3, **how),
            dtorch.poisson(dtorch.ones(5), **how),
        ]  # fmt: skip

    dtorch.manual_seed(3)
    first = draws()
    dtorch.manual_seed(3)
    own = draws(generator=dtorch.Generator().manual_seed(3))
    for a, b, c in zip(first, draws(), own):
        assert a.tolist() == b.tolist() == c.tolist()


# calls that torch refuses: the same kind of error here
REFUSED: dict[str, Any] = {
    "integers": lambda lib: lib.rand(2, dtype=lib.int64),
    "float size": lambda lib: lib.rand(2.5),
    "size not a tuple": lambda lib: lib.randint(3, 2),
    "empty range": lambda lib: lib.randint(3, 3, (2,)),
    "more than the dtype holds": lambda lib: lib.randint(300, (2,), dtype=lib.uint8),
    "bound not whole": lambda lib: lib.randint(1.5, (2,)),
    "permutation": lambda lib: lib.randperm(400, dtype=lib.uint8),
    "negative std": lambda lib: lib.normal(lib.zeros(3), -lib.ones(3)),
    "no probability": lambda lib: lib.bernoulli(lib.tensor([1.5])),
    "probability as an integer": lambda lib: lib.bernoulli(lib.tensor([1])),
    "bernoulli_ of another shape": lambda lib: lib.zeros(3).bernoulli_(lib.tensor([0.5, 0.5])),
    "complex bernoulli_": lambda lib: lib.zeros(3).to(lib.complex64).bernoulli_(),
    "uniform_": lambda lib: lib.zeros(3).uniform_(3, 1),
    "uniform_ to infinity": lambda lib: lib.zeros(3).uniform_(0, float("inf")),
    "exponential_": lambda lib: lib.zeros(3).exponential_(0),
    "cauchy_": lambda lib: lib.zeros(3).cauchy_(0, -1),
    "cauchy_ of integers": lambda lib: lib.zeros(3).long().cauchy_(),
    "log_normal_": lambda lib: lib.zeros(3).log_normal_(0, 0),
    "geometric_": lambda lib: lib.zeros(3).geometric_(1.0),
    "random_ up to 0": lambda lib: lib.zeros(3).random_(0),
    "random_ beyond uint8": lambda lib: lib.zeros(3).byte().random_(0, 300),
    "negative rate": lambda lib: lib.poisson(lib.tensor([-1.0])),
    "integer count": lambda lib: lib.binomial(lib.tensor([3]), lib.tensor([0.5])),
    "expanded memory": lambda lib: lib.zeros(1).expand(3).uniform_(),
    "no generator": lambda lib: lib.rand(2, generator=3),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_errors_are_torchs(call: Any) -> None:
    with pytest.raises((RuntimeError, TypeError, ValueError)) as theirs:
        call(torch)
    with pytest.raises(theirs.type):
        call(dtorch)


def test_seeds_of_places_are_all_different_and_uniform() -> None:
    places = [(), *((a,) for a in range(1, 20)), *((a, b, 1) for a in range(20) for b in range(20))]
    seeds = [seed_at(seed, *place) for seed in (0, 7, -1) for place in places]
    assert len(set(seeds)) == 3 * len(places)
    assert seeds == [seed_at(seed, *place) for seed in (0, 7, -1) for place in places]
    assert stats.kstest([s / 2**64 for s in seeds], "uniform").pvalue > 1e-3
    with pytest.raises(ValueError, match="up to three numbers"):
        seed_at(0, 1, 2, 3, 4)


def test_another_default_generator_leaves_the_first_as_it_was() -> None:
    dtorch.manual_seed(3)
    expected = dtorch.rand(4).tolist()
    dtorch.manual_seed(3)
    with use_generator(dtorch.Generator(seed=3)):
        assert dtorch.rand(4).tolist() == expected
    assert dtorch.rand(4).tolist() == expected
