"""Random tensors.

All draw from a Generator on the CPU; for a tensor on another device the values are moved there, so
that a seed gives the same numbers on each device.  They are drawn in float32 or float64, and in
float32 for the dtypes that have less precision.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import numbers

from .. import device as devices
from .. import dtype as dtypes
from ..backend import cpu, cuda_kernels
from ..op import op
from ..random import Generator, default_generator
from ..tensor import Tensor
from .create import made, number, size_of
from .reduce import sum_to
from .shape import broadcast_shapes

_FLOATS = ("float32", "float64")
MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # bits


def stream(generator):
    """The generator given, or the default one."""
    if not isinstance(generator, (Generator, type(None))):
        raise TypeError(
            f"argument 'generator' must be dtorch.Generator, not {type(generator).__name__}"
        )
    return generator or default_generator()


def drawn(generator, function, shape, d):
    """function(rng, shape, float dtype) as array dtype d; complex numbers are drawn as two parts."""
    generator, shape = stream(generator), tuple(shape)
    if d.kind == "c":
        part = "float32" if d.itemsize == 8 else "float64"
        return generator.draw(lambda r: function(r, (*shape, 2), part)).view(d)[..., 0]
    if d.name in _FLOATS:
        return generator.draw(lambda r: function(r, shape, d.name))
    a = generator.draw(lambda r: function(r, shape, "float32"))
    if function is in_unit:  # cut off, not rounded: 1 stays out of reach
        scale = 2.0 ** MANTISSA[d.name]
        a = (a * scale).astype("int32") / scale
    return a.astype(d)


def in_unit(r, shape, d):
    """Uniform numbers in [0, 1)"""
    return r.random(shape, d)


def standard_normal(r, shape, d):
    return r.standard_normal(shape, d)


def check_floating(name, d, kinds="fcV"):
    """Refuse array dtypes that random real numbers cannot have."""
    if d.kind not in kinds:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{d.name}': use a floating point dtype"
        )


def whole(name, x):
    """A Python int from one, or from an integer tensor of one element."""
    x = number(x)
    if isinstance(x, bool) or not isinstance(x, numbers.Integral):
        raise TypeError(f"{name} must be int, not {type(x).__name__}")
    return int(x)


def _range_of(dtype):
    """The least and the greatest number that a dtype holds."""
    if dtype.category == 0:
        return 0, 1
    limits = dtypes.finfo(dtype) if dtype.category > 1 else dtypes.iinfo(dtype)
    return limits.min, limits.max


def integers(generator, shape, low, high, d):
    """Random integers in [low, high) as array dtype d, which must be able to hold them."""
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    least, most = _range_of(dtypes.of_numpy(d))
    for name, value in (("from", low), ("to - 1", high - 1)):
        if not least <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {d.name}: {value}")
    kind = "int64" if high <= 2**63 else "uint64"
    return stream(generator).draw(lambda r: r.integers(low, high, tuple(shape), kind)).astype(d)


def _random(name, function, doc):
    """rand and randn, each with its _like form."""

    def draw(d, shape, generator):
        check_floating(name, d)
        a = drawn(generator, function, shape, d)
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


rand, rand_like = _random("rand", in_unit, "uniform random numbers in [0, 1)")
randn, randn_like = _random(
    "randn", standard_normal, "normal random numbers of mean 0 and variance 1"
)


def randint(low=None, high=None, size=None, *, generator=None, dtype=dtypes.int64, **options):
    """randint(high, size) or randint(low, high, size): random integers in [low, high)."""
    if size is None:
        low, high, size = 0, low, high
    elif low is None or high is None:
        low, high = 0, low if high is None else high
    if isinstance(size, numbers.Number) or size is None:
        raise TypeError(
            f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}"
        )
    low, high = whole("randint(): argument 'low'", low), whole("randint(): argument 'high'", high)
    shape = size_of((size,), {})
    return made(lambda xp, d: xp.asarray(integers(generator, shape, low, high, d)),
                dtype, **options)  # fmt: skip


def randint_like(input, low=None, high=None, *, generator=None, **options):
    """Random integers in [low, high), or [0, low), in a tensor like the input."""
    if low is None or high is None:
        low, high = 0, low if high is None else high
    low = whole("randint_like(): argument 'low'", low)
    high = whole("randint_like(): argument 'high'", high)
    return made(lambda xp, d: xp.asarray(integers(generator, input.shape, low, high, d)),
                like=input, **options)  # fmt: skip


def randperm(n, *, generator=None, dtype=dtypes.int64, **options):
    """The integers from 0 to n - 1 in random order."""
    n = whole("randperm(): argument 'n'", n)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    dtype = dtypes.as_dtype(dtype)
    if n - 1 > _range_of(dtype)[1]:
        raise RuntimeError(
            f"value cannot be converted to type {dtype.name} without overflow: {n - 1}"
        )
    return made(lambda xp, d: xp.asarray(stream(generator).draw(lambda r: r.permutation(n)).astype(d)),
                dtype, **options)  # fmt: skip


def normal(mean, std=1.0, size=None, *, generator=None, **options):
    """Normal random numbers; mean and std are numbers (with a size) or tensors.

    The dtype is that of the mean, if it is a tensor, or else of the std.
    """
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if bool((std < 0).any()) if isinstance(std, Tensor) else std < 0:
        raise RuntimeError(f"normal expects all elements of std >= 0.0, but got {std}")
    if not tensors:
        if size is None:
            raise TypeError("normal(): of two numbers, a size is needed too")
        return randn(size, generator=generator, **options) * std + mean
    like = tensors[0]
    shape = broadcast_shapes(*[x.shape for x in tensors])
    noise = randn(shape, generator=generator, dtype=like.dtype, device=like.device)
    free = [x.detach() if isinstance(x, Tensor) else x for x in (mean, std)]
    return _without_gradient((noise * free[1] + free[0]).to(like.dtype), tensors)


@op(saves="s", half="keep")
def _sample(xp, *parameters, values):
    return values


def _sample_vjp(needs, g, y, *shapes, values):
    return [sum_to(g * 0, shape) if need else None for need, shape in zip(needs, shapes)]


_sample.vjp_joint(_sample_vjp)


def _without_gradient(values, parameters):
    """Random values, of which torch says that their gradient by the parameters is 0."""
    return _sample(*parameters, values=values._a)


def keep_mask(shape, p, xp=cpu, generator=None):
    """bool array: True with probability 1 - p.  For dropout; one 32-bit number an element.

    The order of the stream does not depend on p, so masks of different p are nested; nor on the
    device that xp is for, where the mask is made.
    """
    count, least = math.prod(shape), min(round(p * 2.0**32), 2**32 - 1)
    if xp.name == "cuda":
        if xp.capturing():
            raise RuntimeError(
                "dropout can't be captured in a CUDA graph: its mask would be the same at each replay. "
                "Expected a step without it: model.eval(), or p=0"
            )
        return cuda_kernels.keep_mask(xp, shape, *stream(generator).reserve(-(-count // 8)), least)
    words = stream(generator).draw(lambda r: r.bit_generator.random_raw((count + 1) // 2))
    return (words.view("uint32")[:count] >= least).reshape(shape)


def check_probability(p, what="p"):
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects {what} to be in [0, 1], but got {what}={p}")


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that the input's element (or p) says, else 0; no gradient."""
    if p is None:
        return _like(input, below(probabilities(input), input.shape, generator))
    if not isinstance(p, numbers.Number):
        raise TypeError(f"bernoulli(): argument 'p' must be float, not {type(p).__name__}")
    check_probability(p)
    return _like(input, below(p, input.shape, generator))


def probabilities(t):
    """The tensor's array, if all of it is in [0, 1]."""
    check_floating("bernoulli", t._a.dtype, "fV")
    p = devices.move(t._a, "cpu").astype("float64")
    if p.size and not bool(((p >= 0) & (p <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return p


def below(p, shape, generator):
    """True with probability p (a number, or an array that broadcasts)."""
    return stream(generator).draw(lambda r: r.random(tuple(shape))) < p


def _like(input, values):
    """Random values, drawn with parameters from the input, in a tensor like it."""
    values = made(lambda xp, d: xp.asarray(values.astype(d)), like=input)
    return _without_gradient(values, [input])


def poisson(input, generator=None):
    """Poisson random numbers, whose means are the input's elements; no gradient."""
    check_floating("poisson", input._a.dtype, "fV")
    rates = devices.move(input._a, "cpu").astype("float64")
    if not bool((rates >= 0).all()):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _like(input, stream(generator).draw(lambda r: r.poisson(rates, rates.shape)))


def binomial(count, prob, generator=None):
    """How many of `count` trials succeed, each with probability `prob`; both broadcast."""
    if count.dtype.category < 2:
        raise ValueError(
            f"binomial only supports floating-point dtypes for count, got: {count.dtype.name}"
        )
    if prob.dtype is not count.dtype:
        raise RuntimeError(f"Found dtype {prob.dtype.name} but expected {count.dtype.name}")
    n = devices.move(count._a, "cpu").astype("int64")
    if n.size and n.min() < 0:
        raise RuntimeError("binomial expects all elements of count >= 0")
    p = probabilities(prob)
    shape = broadcast_shapes(count.shape, prob.shape)
    values = stream(generator).draw(lambda r: r.binomial(n, p, shape))
    values = made(lambda xp, d: xp.asarray(values.astype(d)), like=count)
    return _without_gradient(values, [count, prob])


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
    generator = stream(generator)
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


FUNCTIONS = {
    "rand": rand, "randn": randn, "rand_like": rand_like, "randn_like": randn_like,
    "randint": randint, "randint_like": randint_like, "randperm": randperm, "normal": normal,
    "bernoulli": bernoulli, "multinomial": multinomial, "poisson": poisson, "binomial": binomial,
}  # fmt: skip
METHODS = {"bernoulli": bernoulli, "multinomial": multinomial}
