"""Discrete Fourier transforms: dtorch.fft.

Three ops do all of them: complex to complex, real to half of a spectrum, and back.  The backend's
FFT keeps single precision.  Each is linear, so its gradient is another one of the three: a DFT's
matrix is symmetric; a real transform's adjoint goes back from the half spectrum, in which the inner
frequencies stand for their mirror images too.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .. import dtype as dtypes
from ..op import op
from ..tensor import Tensor
from .complex import conj_any, is_complex
from .create import arange
from .join import cat
from .layout import roll
from .resample import pad_constant
from .shape import axis, cast, clone

# Where a transform has the factor 1/n, its adjoint has it too: in the other direction's words.
_ADJOINT = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


@op()
def _c2c(xp, x, *, dims, forward, norm):
    """The transform over `dims` of complex numbers."""
    return (xp.fft.fftn if forward else xp.fft.ifftn)(x, axes=dims, norm=norm)


@op(saves="s", holomorphic=False)
def _r2c(xp, x, *, dims, norm):
    """Real numbers (*, n) to the spectrum (*, n // 2 + 1), the last of `dims` being that of n."""
    return xp.fft.rfftn(x, axes=dims, norm=norm)


@op(holomorphic=False)
def _c2r(xp, x, *, dims, n, norm):
    """A half spectrum (*, n // 2 + 1) to real numbers (*, n), the last of `dims` being that of n."""
    if dims[1:]:  # one by one: the spectrum of a gradient need not be symmetric in these
        x = xp.fft.ifftn(x, axes=dims[:-1], norm=norm)
    return xp.fft.irfft(x, n, axis=dims[-1], norm=norm)


@op()
def _weigh_inner(xp, x, *, dim, n, weight):
    """A half spectrum of n numbers along `dim`, its inner frequencies multiplied by `weight`."""
    out = x.copy()
    out[(slice(None),) * dim + (slice(1, (n + 1) // 2),)] *= weight
    return out


def _r2c_vjp(g, y, shape, dims, norm):
    n = shape[dims[-1]]
    g = _weigh_inner(g, dim=dims[-1], n=n, weight=0.5)
    return _c2r(g, dims=dims, n=n, norm=_ADJOINT[norm])


def _c2r_vjp(g, y, x, dims, n, norm):
    g = _r2c(g, dims=dims, norm=_ADJOINT[norm])
    return _weigh_inner(g, dim=dims[-1], n=n, weight=2)


_c2c.vjp(lambda g, y, x, **how: _c2c(g, **how))
_r2c.vjp(_r2c_vjp)
_c2r.vjp(_c2r_vjp)
_weigh_inner.vjp(lambda g, y, x, **how: _weigh_inner(g, **how))


# ---- the arguments ---------------------------------------------------------------------------


def _floating(name, x, real=False):
    """x with whole numbers as floats; RuntimeError for what has no transform."""
    if real and is_complex(x):
        raise RuntimeError(f"{name} expects a real input tensor, but got {x.dtype}")
    if x.dtype.category < 2:
        x = cast(x, dtypes.get_default_dtype().np)
    if x.dtype in (dtypes.float16, dtypes.bfloat16):
        raise RuntimeError(f"Unsupported dtype {x.dtype}: {name} takes float32 or float64")
    return x


def _complex(name, x):
    x = _floating(name, x)
    return cast(x, x.dtype.to_complex().np) if not is_complex(x) else x


def _resized(x, dims, sizes):
    """x cropped, or filled up with zeros, at the end of `dims`."""
    pads = [(0, 0)] * x.ndim
    for d, n in zip(dims, sizes):
        pads[d] = (0, n - x.shape[d])
    return pad_constant(x, pads=tuple(pads), value=0) if any(a for _, a in pads) else x


def _one_dim(x, n, dim):
    """The arguments `n` and `dim` of a transform along one dimension, as _some_dims gives them."""
    if not x.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if n is not None:
        _check_count(n)
    return (axis(dim, x.ndim),), (n,)


def _some_dims(x, s, dim):
    """The arguments `s` and `dim` as tuples: dims, and the sizes given for them or None."""
    s = (s,) if isinstance(s, int) else s
    if dim is None:
        k = x.ndim if s is None else len(s)
        if k > x.ndim:
            raise RuntimeError(
                f"Got shape with {k} values but input tensor only has {x.ndim} dimensions."
            )
        dims = tuple(range(x.ndim - k, x.ndim))
    else:
        dims = tuple(axis(d, x.ndim) for d in ((dim,) if isinstance(dim, int) else dim))
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    if s is not None and len(s) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    return dims, (None,) * len(dims) if s is None else tuple(None if n == -1 else n for n in s)


def _check_count(n):
    if not isinstance(n, int):
        raise TypeError(f"the number of data points must be int, not {type(n).__name__}")
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _counts(x, dims, sizes):
    """The sizes, those of x where none was given; RuntimeError unless they are positive."""
    counts = tuple(x.shape[d] if n is None else n for d, n in zip(dims, sizes))
    for n in counts:
        _check_count(n)
    return counts


def _norm(norm):
    if norm not in (None, *_ADJOINT):
        raise RuntimeError(
            f'Invalid normalization mode: "{norm}"; expected "backward", "forward" or "ortho"'
        )
    return norm or "backward"


# ---- the transforms --------------------------------------------------------------------------
# Each takes its name (for errors), the input, dims, sizes for them, and the norm.


def _fft(name, x, dims, sizes, norm, forward=True):
    x = _resized(_complex(name, x), dims, _counts(x, dims, sizes))
    return _c2c(x, dims=dims, forward=forward, norm=norm) if dims else clone(x)


def _ifft(name, x, dims, sizes, norm):
    return _fft(name, x, dims, sizes, norm, forward=False)


def _rfft(name, x, dims, sizes, norm):
    _need_axis(name, dims)
    x = _resized(_floating(name, x, real=True), dims, _counts(x, dims, sizes))
    return _r2c(x, dims=dims, norm=norm)


def _irfft(name, x, dims, sizes, norm):
    _need_axis(name, dims)
    *others, n = sizes
    n = 2 * (x.shape[dims[-1]] - 1) if n is None else n
    counts = _counts(x, dims, (*others, n))
    x = _resized(_complex(name, x), dims, (*counts[:-1], n // 2 + 1))
    return _c2r(x, dims=dims, n=n, norm=norm)


def _hfft(name, x, dims, sizes, norm):
    return _irfft(name, conj_any(x), dims, sizes, _ADJOINT[norm])


def _ihfft(name, x, dims, sizes, norm):
    return conj_any(_rfft(name, x, dims, sizes, _ADJOINT[norm]))


def _need_axis(name, dims):
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")


_TRANSFORMS = {
    "fft": (_fft, "The discrete Fourier transform"),
    "ifft": (_ifft, "The inverse of {fft}"),
    "rfft": (_rfft, "The half of {fft} of real numbers that says all: n // 2 + 1 of the last dim"),
    "irfft": (_irfft, "The inverse of {rfft}, n (default: 2 (m - 1) of m) real numbers"),
    "hfft": (_hfft, "{fft}, real, of numbers that are symmetric up to conjugation, given by half"),
    "ihfft": (_ihfft, "The inverse of {hfft}"),
}


def _family(base, transform, summary):
    """A transform over one dimension, over two, and over any."""

    def over_one(input, n=None, dim=-1, norm=None):
        return transform(base, _tensor(base, input), *_one_dim(input, n, dim), _norm(norm))

    def over_two(input, s=None, dim=(-2, -1), norm=None):
        name = f"{base}2"
        return transform(name, _tensor(name, input), *_some_dims(input, s, dim), _norm(norm))

    def over_any(input, s=None, dim=None, norm=None):
        name = f"{base}n"
        return transform(name, _tensor(name, input), *_some_dims(input, s, dim), _norm(norm))

    suffixes = {
        "": (over_one, "along `dim`, of its first n elements or filled up to n with zeros."),
        "2": (over_two, "over two dims, cropped or filled up with zeros to the sizes `s`."),
        "n": (over_any, "over `dim` (default: all), cropped or filled with zeros to sizes `s`."),
    }
    for suffix, (function, where) in suffixes.items():
        function.__name__ = function.__qualname__ = base + suffix
        what = summary.format(**{name: name + suffix for name in _TRANSFORMS})
        function.__doc__ = (
            f"{what}, {where}\n\n"
            '    norm: which direction divides by n: "backward" (default), "forward", or "ortho": '
            "both, by\n        sqrt(n)"
        )
    return {f.__name__: f for f, _ in suffixes.values()}


def _tensor(name, x):
    if not isinstance(x, Tensor):
        raise TypeError(
            f"fft_{name}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}"
        )
    return x


# ---- frequencies, and their order ------------------------------------------------------------


def _frequencies(name, n, d, whole, options):
    dtype = dtypes.as_dtype(options.get("dtype"))
    if dtype is not None and dtype.category < 2:
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    options["dtype"] = dtype or dtypes.get_default_dtype()
    requires_grad = options.pop("requires_grad", False)
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    step = 1 / (n * d) if n * d else float("inf")
    if whole:
        steps = cat([arange(0, (n + 1) // 2, **options), arange(-(n // 2), 0, **options)])
    else:
        steps = arange(0, n // 2 + 1, **options)
    return (steps * step).requires_grad_(requires_grad)


def fftfreq(n, d=1.0, **options):
    """The frequencies of fft of n samples `d` apart, the negative ones behind.  (n,)"""
    return _frequencies("fftfreq", n, d, True, options)


def rfftfreq(n, d=1.0, **options):
    """The frequencies of rfft of n samples `d` apart.  (n // 2 + 1,)"""
    return _frequencies("rfftfreq", n, d, False, options)


def _shift(input, dim, shift):
    dims = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = tuple(axis(d, input.ndim) for d in dims)
    return roll(input, [shift(input.shape[d]) for d in dims], dims) if dims else clone(input)


def fftshift(input, dim=None):
    """The frequencies of an fft over `dim` (default: all) in order: the zero to the middle."""
    return _shift(input, dim, lambda n: n // 2)


def ifftshift(input, dim=None):
    """The inverse of fftshift."""
    return _shift(input, dim, lambda n: (n + 1) // 2)


FFT = {}
for _base, (_transform, _summary) in _TRANSFORMS.items():
    FFT |= _family(_base, _transform, _summary)
FFT |= {
    "fftfreq": fftfreq, "rfftfreq": rfftfreq, "fftshift": fftshift, "ifftshift": ifftshift,
}  # fmt: skip
