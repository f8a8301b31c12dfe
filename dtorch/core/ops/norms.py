"""Norms, and the logarithm of a sum of exponentials."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf

from ..op import op
from .pointwise import abs, exp, sgn, where
from .reduce import amax, amin, axes, kept, sum
from .shape import number, raw, reshape


@op(saves="xy", promote="float", holomorphic=False)
def _p_norm(xp, x, *, p, dims, keepdim):
    """(sum |x|^p)^(1/p) for a finite p that is not 0"""
    a = xp.absolute(x) if x.dtype.kind == "c" or p != 2 else x
    if p == 1:
        return xp.sum(a, axis=dims, keepdims=keepdim)
    if p == 2:
        return xp.sqrt(xp.sum(a * a, axis=dims, keepdims=keepdim))
    return xp.sum(a**p, axis=dims, keepdims=keepdim) ** (1 / p)


def _p_norm_vjp(g, y, x, p, dims, keepdim):
    # x |x|^(p-2) / y^(p-1), and 0 where that is not defined: at a norm of 0, and at x = 0 for p < 1.
    # The second derivative is NaN there, as in torch.
    shape = kept(x.shape, dims)
    g = reshape(g, shape)
    if p == 1:
        return g * sgn(x)
    y = reshape(y, shape)
    if p == 2:
        return g * where(y == 0, 0, x / y)
    a = abs(x)
    if p < 1:
        return g * y ** (1 - p) * (sgn(x) * where(a == 0, 0, a ** (p - 1)))
    power = sgn(x) * a ** (p - 1) if p < 2 else x * a ** (p - 2)
    return where(y == 0, 0, g / y ** (p - 1)) * power


_p_norm.vjp(_p_norm_vjp)


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(sum |x|^ord)^(1/ord) over `dim` or all; inf, -inf: the largest, smallest; 0: count."""
    if dtype is not None:
        x = x.to(dtype)
    if raw(x).dtype.kind in "iub":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x.dtype.name}"
        )
    dims = axes(dim, x.ndim)
    if ord in (inf, -inf):
        return (amax if ord > 0 else amin)(abs(x), dims, keepdim)
    if ord == 0:
        return sum(abs(x * 0) + (x != 0).to(x.dtype.to_real()), dims, keepdim)
    return _p_norm(x, p=number(ord), dims=dims, keepdim=keepdim)


def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The vector norm of all elements or over `dim`; "fro" is 2, "nuc" the nuclear norm."""
    if p == "nuc":
        from .matrix_norms import matrix_norm

        return matrix_norm(input, "nuc", (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only 'fro' and 'nuc' are supported as a norm's name, got {p!r}")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@op(saves="xy", promote="float")
def _logsumexp(xp, x, *, dims, keepdim):
    if 0 in x.shape:
        return xp.log(xp.sum(xp.exp(x), axis=dims, keepdims=keepdim))
    top = (
        xp.max(x, axis=dims, keepdims=True)
        if x.dtype.kind != "c"
        else x.real.max(dims, keepdims=True)
    )
    top = xp.where(xp.isfinite(top), top, 0).astype(top.dtype)
    y = xp.log(xp.sum(xp.exp(x - top), axis=dims, keepdims=True)) + top
    return y if keepdim else y.reshape([n for i, n in enumerate(x.shape) if i not in dims])


def _logsumexp_vjp(g, y, x, dims, keepdim):
    shape = kept(x.shape, dims)
    return reshape(g, shape) * exp(x - reshape(y, shape))


_logsumexp.vjp(_logsumexp_vjp)


def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) over `dim`, without overflow."""
    return _logsumexp(input, dims=axes(dim, input.ndim), keepdim=keepdim)


def dist(input, other, p=2):
    """The p-norm of input - other"""
    return vector_norm(input - other, p)


def renorm(input, p, dim, maxnorm):
    """The slices along `dim`, those with a p-norm over `maxnorm` scaled down to it."""
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p={p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    (dim,) = axes(dim, input.ndim)
    dims = tuple(d for d in range(input.ndim) if d != dim)
    norms = vector_norm(input, p, dims, True)
    return input * where(norms > maxnorm, maxnorm / (norms + 1e-7), 1)


FUNCTIONS = METHODS = {"norm": norm, "logsumexp": logsumexp, "dist": dist, "renorm": renorm}
IN_PLACE = {"renorm": renorm}
