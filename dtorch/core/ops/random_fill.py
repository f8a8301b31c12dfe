"""Random writes into tensors: uniform_, normal_ and kin.

A tensor's history ends where it is written over.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .. import backend
from .. import device as devices
from .. import dtype as dtypes
from ..backend import cpu
from ..graph import writes
from ..tensor import Tensor
from ..views import check_writable
from .random import (
    MANTISSA,
    below,
    check_floating,
    check_probability,
    drawn,
    in_unit,
    integers,
    probabilities,
    standard_normal,
    stream,
    whole,
)
from .shape import expand


def _fill(t, draw):
    """Write the array of draw() over a tensor; nothing is drawn for one that refuses it."""
    check_writable(t)
    backend.store(t._a, devices.move(draw(), t.device))
    writes.stamp(t._a)
    return t


def uniform_(self, from_=0.0, to=1.0, *, generator=None, **names):
    """Fill with uniform random numbers in [from, to)."""
    low, d = names.get("from", from_), self._a.dtype
    check_floating("uniform_", d)
    if low > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}"
        )
    most = dtypes.finfo(self.dtype).max if d.kind != "c" else math.inf
    for name, value in (("from", low), ("to", to), ("to - from", to - low)):
        if abs(value) > most:
            raise RuntimeError(f"{name} is out of bounds for {self.dtype.name}: {value}")
    return _fill(self, lambda: drawn(generator, in_unit, self.shape, d) * (to - low) + low)


def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal random numbers."""
    d = self._a.dtype
    check_floating("normal_", d)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    scale = std * math.sqrt(0.5) if d.kind == "c" else std
    return _fill(self, lambda: drawn(generator, standard_normal, self.shape, d) * scale + mean)


def _check_real(name, d):
    if d.kind not in "fV":
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {d.name}"
        )


def log_normal_(self, mean=1.0, std=2.0, *, generator=None):
    """Fill with exp of normal random numbers of this mean and std."""
    check_floating("log_normal_", self._a.dtype, "fV")
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")

    def law(r, shape, d):
        return cpu.exp(r.standard_normal(shape, d) * std + mean)

    return _fill(self, lambda: drawn(generator, law, self.shape, self._a.dtype))


def exponential_(self, lambd=1.0, *, generator=None):
    """Fill with exponential random numbers of mean 1 / lambd."""
    _check_real("Exponential", self._a.dtype)
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")

    def law(r, shape, d):
        return r.standard_exponential(shape, d) / lambd

    return _fill(self, lambda: drawn(generator, law, self.shape, self._a.dtype))


def cauchy_(self, median=0.0, sigma=1.0, *, generator=None):
    """Fill with random numbers of the Cauchy distribution: its quantiles at uniform ones."""
    _check_real("Cauchy", self._a.dtype)
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")

    def law(r, shape, d):
        return median + sigma * cpu.tan(math.pi * (r.random(shape, d) - 0.5))

    return _fill(self, lambda: drawn(generator, law, self.shape, self._a.dtype))


def geometric_(self, p, *, generator=None):
    """Fill with how many trials, each with probability p, it takes until one succeeds: from 1 on."""
    d = self._a.dtype
    check_floating("geometric_", d, "fViu")
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    shape = tuple(self.shape)
    return _fill(self, lambda: stream(generator).draw(lambda r: r.geometric(p, shape)).astype(d))


def bernoulli_(self, p=0.5, *, generator=None):
    """Fill with 1 with probability p (a number or a tensor), else 0."""
    d = self._a.dtype
    check_floating("bernoulli_", d, "fViub")
    if isinstance(p, Tensor):
        p = probabilities(expand(p.detach(), self.shape))
    else:
        check_probability(p)
    return _fill(self, lambda: below(p, self.shape, generator).astype(d))


def random_(self, *bounds, generator=None, **names):
    """Fill with random integers: random_(to), random_(from, to), or as far as the dtype counts.

    A floating point tensor gets integers that it holds exactly.
    """
    d = self._a.dtype
    check_floating("random_", d, "fViub")
    if len(bounds) > 2:
        raise TypeError(f"random_() takes at most 2 bounds, got {len(bounds)}")
    low, to = (0, *bounds) if len(bounds) == 1 else bounds or (0, None)
    low, to = names.pop("from", low), names.pop("to", to)
    if names:
        raise TypeError(f"random_() got an unexpected keyword argument '{next(iter(names))}'")
    low = whole("random_(): argument 'from'", low)
    to = _end(self.dtype) if to is None else whole("random_(): argument 'to'", to)
    return _fill(self, lambda: integers(generator, self.shape, low, to, d))


def _end(dtype):
    """One more than the last of the integers from 0 on that a dtype holds exactly."""
    if dtype.category > 1:
        return 2 ** MANTISSA[dtype.name] + 1
    return 2 if dtype.category == 0 else dtypes.iinfo(dtype).max + (dtype.name != "int64")


METHODS = {
    "uniform_": uniform_, "normal_": normal_, "log_normal_": log_normal_, "cauchy_": cauchy_,
    "exponential_": exponential_, "geometric_": geometric_, "bernoulli_": bernoulli_,
    "random_": random_,
}  # fmt: skip
