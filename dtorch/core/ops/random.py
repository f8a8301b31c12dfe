"""Random tensors, and random writes into tensors.

All draw from a Generator on the CPU; for a tensor on another device the values are moved there, so
that a seed gives the same numbers on each device.  They are drawn in float32 or float64, and in
float32 for the dtypes that have less precision.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from .. import device as devices
from .. import dtype as dtypes
from ..graph import writes
from ..op import op
from ..random import default_generator
from ..tensor import Tensor
from ..views import check_writable
from .create import made, number, size_of
from .reduce import sum_to
from .shape import broadcast_shapes

_FLOATS = ("float32", "float64")
_MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # bits


def _draw(generator, function, shape, d):
    """function(rng, float dtype) -> values of `shape`, as dtype d; complex ones have two parts."""
    generator = generator or default_generator()
    if d.kind == "c":
        part = "float32" if d.itemsize == 8 else "float64"
        return generator.draw(lambda r: function(r, (*shape, 2), part)).view(d)[..., 0]
    if d.name in _FLOATS:
        return generator.draw(lambda r: function(r, tuple(shape), d.name))
    a = generator.draw(lambda r: function(r, tuple(shape), "float32"))
    if function is _uniform:  # cut off, not rounded: 1 stays out of reach
        scale = 2.0 ** _MANTISSA[d.name]
        a = (a * scale).astype("int32") / scale
    return a.astype(d)


def _uniform(r, shape, d):
    return r.random(shape, d)


def _normal(r, shape, d):
    return r.standard_normal(shape, d)


def _floating(name, d):
    """Refuse dtypes that random real numbers cannot have."""
    if d.kind in "iub":
        raise RuntimeError(f"\"{name}\" not implemented for '{d.name}': use a floating point dtype")


def _random(name, function, doc):
    """rand and randn, each with its _like form."""

    def draw(d, shape, generator):
        _floating(name, d)
        a = _draw(generator, function, shape, d)
        # a complex normal number has variance 1: half in each part
        return a * math.sqrt(0.5) if d.kind == "c" and name == "randn" else a

    def random(*size, generator=None, **options):
        shape = size_of(size, options)
        return made(lambda xp, d: xp.asarray(draw(d, shape, generator), dtype=d), **options)

    def random_like(input, *, generator=None, **options):
        return made(
            lambda xp, d: xp.asarray(draw(d, input.shape, generator), dtype=d),
            like=input,
            **options,
        )

    random.__name__ = random.__qualname__ = name
    random_like.__name__ = random_like.__qualname__ = f"{name}_like"
    random.__doc__, random_like.__doc__ = (
        f"A tensor of {doc}.",
        f"A tensor like the input, of {doc}.",
    )
    return random, random_like


rand, rand_like = _random("rand", _uniform, "uniform random numbers in [0, 1)")
randn, randn_like = _random("randn", _normal, "normal random numbers of mean 0 and variance 1")


def _integers(shape, low, high, generator):
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    generator = generator or default_generator()
    return generator.draw(lambda r: r.integers(low, high, tuple(shape), "int64"))


def randint(low, high=None, size=None, *, generator=None, dtype=dtypes.int64, **options):
    """randint(high, size) or randint(low, high, size): random integers in [low, high)."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    shape = size_of((size,), {})
    low, high = int(number(low)), int(number(high))
    return made(lambda xp, d: xp.asarray(_integers(shape, low, high, generator).astype(d)),
                dtype, **options)  # fmt: skip


def randint_like(input, low, high=None, *, generator=None, **options):
    """Random integers in [low, high), or [0, low), in a tensor like the input."""
    low, high = (0, low) if high is None else (low, high)
    low, high = int(number(low)), int(number(high))
    return made(lambda xp, d: xp.asarray(_integers(input.shape, low, high, generator).astype(d)),
                like=input, **options)  # fmt: skip


def randperm(n, *, generator=None, dtype=dtypes.int64, **options):
    """The integers from 0 to n - 1 in random order."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    generator = generator or default_generator()
    return made(lambda xp, d: xp.asarray(generator.draw(lambda r: r.permutation(n)).astype(d)),
                dtype, **options)  # fmt: skip


def normal(mean, std=1.0, size=None, *, generator=None, **options):
    """Normal random numbers; mean and std are numbers (with a size) or tensors."""
    like = next((x for x in (mean, std) if isinstance(x, Tensor)), None)
    for name, value in (("std", std),):
        bad = bool((value < 0).any()) if isinstance(value, Tensor) else value < 0
        if bad:
            raise RuntimeError(f"normal expects all elements of {name} >= 0.0")
    if like is None:
        if size is None:
            raise TypeError("normal(): of two numbers, a size is needed too")
        return randn(size, generator=generator, **options) * std + mean
    shape = broadcast_shapes(*[x.shape for x in (mean, std) if isinstance(x, Tensor)])
    noise = randn(shape, generator=generator, dtype=like.dtype, device=like.device)
    free = [x.detach() if isinstance(x, Tensor) else x for x in (mean, std)]
    return _drawn(noise * free[1] + free[0], [x for x in (mean, std) if isinstance(x, Tensor)])


@op(saves="s", half="keep")
def _sample(xp, *parameters, values):
    return values


def _sample_vjp(needs, g, y, *shapes, values):
    return [sum_to(g * 0, shape) if need else None for need, shape in zip(needs, shapes)]


_sample.vjp_joint(_sample_vjp)


def _drawn(values, parameters):
    """Random values, of which torch says that their gradient by the parameters is 0."""
    return _sample(*parameters, values=values._a)


def keep_mask(shape, p, generator=None):
    """bool array: True with probability 1 - p.  For dropout; one 32-bit number an element.

    The order of the stream does not depend on p, so masks of different p are nested.
    """
    count = math.prod(shape)
    generator = generator or default_generator()
    words = generator.draw(lambda r: r.bit_generator.random_raw((count + 1) // 2))
    return (words.view("uint32")[:count] >= min(round(p * 2.0**32), 2**32 - 1)).reshape(shape)


def _probability(p, what="p"):
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects {what} to be in [0, 1], but got {what}={p}")


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that the input's element (or p) says, else 0; no gradient."""
    if p is not None:
        _probability(p)
        return _values(input, _uniform_array(input.shape, generator) < p)
    a = input._a
    _floating("bernoulli", a.dtype)
    probabilities = devices.move(a, "cpu")
    if a.size and not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return _values(input, _uniform_array(input.shape, generator) < probabilities.astype("float64"))


def _uniform_array(shape, generator):
    return (generator or default_generator()).draw(lambda r: r.random(tuple(shape)))


def _values(like, a):
    return _drawn(made(lambda xp, d: xp.asarray(a.astype(d)), like=like), [like])


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn with the probabilities that rows of weights stand for: (N,) or (M, N) -> int64.

    Without replacement, by the exponential trick: the largest of weight / exponential.
    """
    a = devices.move(input._a, "cpu")
    if a.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if a.dtype.kind in "iub":
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > a.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    weights = a.astype("float64")
    if not bool(((weights >= 0) & (weights < math.inf)).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not bool((weights.sum(-1) > 0).all()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement and bool(((weights > 0).sum(-1) < num_samples).any()):
        raise RuntimeError(
            "invalid multinomial distribution (with replacement=False, not enough non-negative "
            "category to sample)"
        )
    generator = generator or default_generator()
    if replacement:
        shape = (*a.shape[:-1], num_samples)
        cumulative = weights.cumsum(-1)
        u = generator.draw(lambda r: r.random(shape)) * cumulative[..., -1:]
        rows, draws = cumulative.reshape(-1, a.shape[-1]), u.reshape(-1, num_samples)
        index = u.astype("int64").reshape(draws.shape)
        for i in range(len(rows)):
            index[i] = rows[i].searchsorted(draws[i], "right")
        index = index.reshape(shape)
    else:
        e = generator.draw(lambda r: r.standard_exponential(a.shape))
        index = (-weights / e).argsort(-1)[..., :num_samples]
    return made(lambda xp, d: xp.asarray(index.astype(d)), dtypes.int64, device=input.device)


# ---- in place --------------------------------------------------------------------------------


def _fill(t, values):
    """Write drawn values over a tensor, whose history ends there."""
    check_writable(t)
    t._a[...] = devices.move(values, t.device)
    writes.stamp(t._a)
    return t


def uniform_(self, from_=0.0, to=1.0, *, generator=None, **names):
    """Fill with uniform random numbers in [from, to)."""
    low = names.get("from", from_)
    _floating("uniform_", self._a.dtype)
    if low > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}"
        )
    check_writable(self)
    return _fill(self, _draw(generator, _uniform, self.shape, self._a.dtype) * (to - low) + low)


def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal random numbers."""
    _floating("normal_", self._a.dtype)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    check_writable(self)
    scale = std * math.sqrt(0.5) if self._a.dtype.kind == "c" else std
    return _fill(self, _draw(generator, _normal, self.shape, self._a.dtype) * scale + mean)


def exponential_(self, lambd=1.0, *, generator=None):
    """Fill with exponential random numbers of mean 1 / lambd."""
    _floating("exponential_", self._a.dtype)
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    check_writable(self)
    draw = _draw(
        generator, lambda r, shape, d: r.standard_exponential(shape, d), self.shape, self._a.dtype
    )
    return _fill(self, draw / lambd)


def bernoulli_(self, p=0.5, *, generator=None):
    """Fill with 1 with probability p (a number or a tensor), else 0."""
    check_writable(self)
    if isinstance(p, Tensor):
        p = devices.move(p._a, "cpu")
    else:
        _probability(p)
    return _fill(self, (_uniform_array(self.shape, generator) < p).astype(self._a.dtype))


def random_(self, from_=0, to=None, *, generator=None, **names):
    """Fill with random integers: random_(to), random_(from, to), or as far as the dtype counts."""
    low, d = names.get("from", from_), self._a.dtype
    if to is None and low:
        low, to = 0, low
    if to is None:
        bits = {"u": 8 * d.itemsize, "i": 8 * d.itemsize - 1, "b": 1}.get(d.kind)
        to = 2 ** (_MANTISSA[self.dtype.name] if bits is None else bits) - (d.kind == "i")
        to += d.kind not in "iub"
    check_writable(self)
    return _fill(self, _integers(self.shape, int(low), int(to), generator).astype(d))


FUNCTIONS = {
    "rand": rand, "randn": randn, "rand_like": rand_like, "randn_like": randn_like,
    "randint": randint, "randint_like": randint_like, "randperm": randperm, "normal": normal,
    "bernoulli": bernoulli, "multinomial": multinomial,
}  # fmt: skip
METHODS = {
    "uniform_": uniform_, "normal_": normal_, "exponential_": exponential_, "random_": random_,
    "bernoulli_": bernoulli_, "bernoulli": bernoulli, "multinomial": multinomial,
}  # fmt: skip
