"""Reductions and normalizations of the elements that a mask lets through: dtorch.masked.

What is masked out is replaced by a value that leaves the result as it is: 0 in a sum, 1 in a product,
-inf where the largest is looked for.  A mask is a bool tensor that broadcasts to the input, True
where an element counts; None lets all through.  `dtype` is that of the result, the input's by
default, except that whole numbers are summed and multiplied as int64.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf, nan

from .. import dtype as dtypes
from . import activation, norms, reduce, scan
from .complex import conj_any
from .create import tensor
from .numeric import logaddexp as _logaddexp
from .pointwise import maximum, sqrt, where
from .reduce import axes
from .shape import axis, expand
from .sort import nanmedian


def _whole(mask, input):
    """The mask as a bool tensor of the input's shape."""
    if mask.ndim > input.ndim:
        raise IndexError(
            "expected broadcastable mask (got mask dimensionality higher than of the input): the "
            f"mask has {mask.ndim} dimensions, the input {input.ndim}"
        )
    return expand(mask, input.shape).to(dtypes.bool_)


def _only(input, mask, otherwise):
    """The input with what is masked out replaced by a number, given as such or by its dtype."""
    if mask is None:
        return input
    value = otherwise(input.dtype) if callable(otherwise) else otherwise
    return where(_whole(mask, input), input, tensor(value, dtype=input.dtype, device=input.device))


def _lowest(dtype):
    """The number that is never the larger one."""
    if dtype.is_floating_point:
        return -inf
    if dtype.category == 1:
        return dtypes.iinfo(dtype).min
    raise NotImplementedError(
        f"there is no smallest number of {dtype} to put where a mask is False"
    )


def _highest(dtype):
    """The number that is never the smaller one."""
    return dtypes.iinfo(dtype).max if dtype.category == 1 else -_lowest(dtype)


def _total_dtype(input, dtype):
    """The dtype of a sum or a product."""
    if dtype is None and input.dtype.category < 2:
        return dtypes.int64
    return dtype or input.dtype


# ---- reductions ------------------------------------------------------------------------------


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum over `dim` (default: all) of what the mask lets through; 0 of nothing."""
    x = _only(input, mask, 0)
    dims = axes(dim, x.ndim)
    return reduce.sum(x, dims, bool(keepdim), dtype=_total_dtype(input, dtype))


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product over `dim` (default: all) of what the mask lets through; 1 of nothing."""
    y = _only(input, mask, 1).to(_total_dtype(input, dtype))
    for d in reversed(axes(dim, input.ndim)):
        y = reduce.prod(y, d, bool(keepdim))
    return y


def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest over `dim` (default: all) that the mask lets through; the least number of nothing."""
    x = _only(input, mask, _lowest)
    return reduce.amax(x, axes(dim, x.ndim), bool(keepdim)).to(dtype or input.dtype)


def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest over `dim` (default: all) that the mask lets through."""
    x = _only(input, mask, _highest)
    return reduce.amin(x, axes(dim, x.ndim), bool(keepdim)).to(dtype or input.dtype)


def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the largest is that the mask lets through: an index, in the dtype of the input."""
    x = _only(input, mask, _lowest)
    return reduce.argmax(x, dim, bool(keepdim)).to(dtype or input.dtype)


def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the smallest is that the mask lets through: an index, in the dtype of the input."""
    x = _only(input, mask, _highest)
    return reduce.argmin(x, dim, bool(keepdim)).to(dtype or input.dtype)


def _counted(input, dim, keepdim, mask):
    """How many elements a reduction takes together: a number, or a tensor for each mask's share."""
    if mask is None:
        return reduce.count(input.shape, axes(dim, input.ndim))
    return reduce.sum(_whole(mask, input), axes(dim, input.ndim), bool(keepdim))


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean over `dim` (default: all) of what the mask lets through; NaN of nothing."""
    if (dtype or input.dtype).category < 2:
        raise ValueError(
            f"mean(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} "
            "dtype must be either a floating point or complex dtype. Got: "
            f"{dtype or input.dtype}"
        )
    total = sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
    return total / _counted(input, dim, keepdim, mask)


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The median along `dim` of what the mask lets through; NaN of nothing."""
    x = input if input.dtype.is_floating_point else input.to(dtypes.float32)
    y = nanmedian(_only(x, mask, nan), axis(dim, x.ndim), keepdim).values
    if x is input:
        return y
    if (y != y).any():
        raise ValueError(
            "masked median expects no fully masked out rows if dtype is not floating point"
        )
    return y.to(dtype or input.dtype)


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """linalg.vector_norm over `dim` (default: all) of what the mask lets through."""
    x = _only(input, mask, _highest if ord == -inf else 0)
    return norms.vector_norm(x, ord, axes(dim, x.ndim), bool(keepdim), dtype=dtype or input.dtype)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance, by N - correction (default 1), of what the mask lets through of `dim`."""
    dim, correction = reduce._spread_options("var", dim, unbiased, correction)
    dtype = dtype or (input.dtype if input.dtype.category >= 2 else dtypes.float32)
    wide = dtype if dtype.category >= 2 else dtypes.float32
    total = sum(input, dim, keepdim=True, dtype=dtype, mask=mask)
    away = _only(input, mask, 0) - total / _counted(input, dim, True, mask)
    squares = sum(away * conj_any(away), dim, keepdim=keepdim, dtype=wide, mask=mask)
    freedom = tensor(_counted(input, dim, keepdim, mask), device=input.device)
    if correction != 0:
        freedom = freedom.to(wide.to_real()) - float(correction)
        freedom = maximum(freedom, freedom.new_zeros(()))
    return (squares / freedom).to(dtype)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The square root of var"""
    options = {"correction": correction, "keepdim": keepdim, "dtype": dtype, "mask": mask}
    return sqrt(var(input, dim, unbiased, **options))


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The logarithm of the sum over `dim` (default: all) of exp of what the mask lets through."""
    x = _only(input, mask, -inf if input.is_complex() else _lowest)
    return norms.logsumexp(x, axes(dim, x.ndim), keepdim).to(dtype or input.dtype)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), of what either's mask lets through."""
    a = _only(input, input_mask, -inf)
    b = _only(other, other_mask, -inf)
    return _logaddexp(a, b).to(dtype or input.dtype)


# ---- scans and normalizations: the shape stays -----------------------------------------------


def cumsum(input, dim, *, dtype=None, mask=None):
    """The sums of the elements up to each along `dim`, of those that the mask lets through."""
    dtype = dtype or input.dtype
    return scan.cumsum(_only(input, mask, 0), dim, dtype=dtype).to(dtype)


def cumprod(input, dim, *, dtype=None, mask=None):
    """The products of the elements up to each along `dim`, of those that the mask lets through."""
    dtype = dtype or input.dtype
    return scan.cumprod(_only(input, mask, 1), dim, dtype=dtype).to(dtype)


def softmax(input, dim, *, dtype=None, mask=None):
    """softmax along `dim` of what the mask lets through; 0 elsewhere, NaN where nothing is."""
    x = _only(input, mask, _lowest)
    return activation.softmax(x, dim, dtype=dtype or input.dtype)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """The logarithm of softmax"""
    x = _only(input, mask, _lowest)
    return activation.log_softmax(x, dim, dtype=dtype or input.dtype)


def softmin(input, dim, *, dtype=None, mask=None):
    """softmax of the negative input"""
    x = _only(input, mask, _highest)
    return activation.softmin(x, dim, dtype=dtype or input.dtype)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The input divided by its norm along `dim`, or by eps if that is larger; 0 where masked out."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _only(input, mask, 0) / maximum(length, length.new_full((), eps))


def is_masked_tensor(obj):
    """Whether an object is a tensor with a mask of its own: there is no such class here."""
    return False


MASKED = {
    f.__name__: f
    for f in (amax, amin, argmax, argmin, cumprod, cumsum, is_masked_tensor, log_softmax, logaddexp,
              logsumexp, mean, median, norm, normalize, prod, softmax, softmin, std, sum, var)
}  # fmt: skip
