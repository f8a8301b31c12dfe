"""Writing elements by tensors of indices: scatter, scatter_add, scatter_reduce and put."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..op import op
from ..tensor import Tensor
from .arithmetic import div
from .gather import along, check_index, gathered
from .index import index_put
from .pointwise import where
from .shape import expand, raw, reshape


@op(half="keep")
def _scatter(xp, x, src, *, index, dim):
    """x with src at the elements that index names; the last of several writes stays."""
    out = x.copy()
    out[along(xp, index, dim)] = src
    return out


@op(half="keep")
def _scatter_add(xp, x, src, *, index, dim):
    out = x.copy()
    xp.scatter_add(out, along(xp, index, dim), src)
    return out


_scatter.vjp(
    lambda g, y, x, src, index, dim: _scatter(g, 0, index=index, dim=dim),
    lambda g, y, x, src, index, dim: gathered(g, index=index, dim=dim),
)
_scatter_add.vjp(
    lambda g, y, x, src, index, dim: g,
    lambda g, y, x, src, index, dim: gathered(g, index=index, dim=dim),
)


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """The input with src (a tensor or a number) written where index names, along `dim`.

    reduce "add" or "multiply" combines it with what is there.
    """
    src = value if src is None else src
    if reduce is not None:
        names = {"add": "sum", "multiply": "prod"}
        if reduce not in names:
            raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}")
        if not isinstance(src, Tensor):
            src = expand((input.detach() * 0).sum().to(input.dtype) + src, index.shape).to(
                input.dtype
            )
        return scatter_reduce(input, dim, index, src, names[reduce])
    like = src if isinstance(src, Tensor) else None
    return _scattered("scatter", _scatter, input, dim, index, src, like)


def scatter_add(input, dim, index, src):
    """The input with src added where index names, along `dim`."""
    return _scattered("scatter_add", _scatter_add, input, dim, index, src, src)


def _scattered(name, kernel, input, dim, index, src, like):
    if like is not None and like.dtype != input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    d, i = check_index(name, input, dim, index, like)
    if not i.size:
        return input.clone()
    if not input.ndim:
        whole = src if like is None else reshape(src, (-1,))
        return reshape(kernel(reshape(input, (1,)), whole, index=i.reshape(-1), dim=0), ())
    if like is not None:
        if not like.ndim:
            src = reshape(src, (1,))
        i = i.reshape(-1) if not i.ndim else i
        src = src[tuple(slice(n) for n in i.shape)]
    return kernel(input, src, index=i.reshape(-1) if not i.ndim else i, dim=d)


def _reduced_at(ufunc, start):
    """x with src combined by a ufunc where index names; include_self=False begins at `start`."""

    @op(saves="xy", name=f"_scatter_{ufunc}")
    def kernel(xp, x, src, *, index, dim, include_self):
        out, at = x.copy(), along(xp, index, dim)
        if not include_self:
            out[at] = start if x.dtype.kind == "f" or ufunc == "multiply" else (
                (xp.iinfo(x.dtype).min if start < 0 else xp.iinfo(x.dtype).max)
                if x.dtype.kind in "iu" else start > 0
            )  # fmt: skip
        xp.combine_at(ufunc, out, at, src)
        return out

    return kernel


_scatter_multiply = _reduced_at("multiply", 1)
_scatter_maximum = _reduced_at("maximum", float("-inf"))
_scatter_minimum = _reduced_at("minimum", float("inf"))


def _written(x, index, dim, include_self):
    """1 where an element of x counts itself, else 0."""
    ones = where(x == x, 1, 1)
    return ones if include_self else _scatter(ones, 0, index=index, dim=dim)


def _scatter_extreme_vjp(needs, g, y, x, src, index, dim, include_self):
    mine = where(x == y, 1, 0) * _written(x, index, dim, include_self)
    its = where(src == gathered(y, index=index, dim=dim), 1, 0)
    share = div(g, _scatter_add(mine, its, index=index, dim=dim))
    written = _scatter(where(x == x, 1, 1), 0, index=index, dim=dim)  # others pass g on
    gx = where((written if not include_self else written * 0) == 1, g, share * mine)
    return gx, gathered(share, index=index, dim=dim) * its


def _scatter_multiply_vjp(needs, g, y, x, src, index, dim, include_self):
    """g times the product of the other factors of an element.

    The factors that are 0 are kept apart, since there is no dividing by them.  Where one other
    factor is 0, the product is that factor times the rest: it is 0, but its derivative is not.
    Derivatives from the third on lack the terms in which three factors are 0.
    """
    counts = _written(x, index, dim, include_self)
    zero_x, zero_src = where(x == 0, counts, 0), where(src == 0, 1, 0)
    x1, src1 = where(x == 0, 1, x), where(src == 0, 1, src)  # the others
    product = _scatter_multiply(x1, src1, index=index, dim=dim, include_self=include_self)
    zeros = _scatter_add(zero_x, zero_src, index=index, dim=dim)
    total = _scatter_add(zero_x * x, zero_src * src, index=index, dim=dim)  # of zeros

    def without(own, own_zero, divisor, g, product, zeros, total):
        rest, count = total - own_zero * own, zeros - own_zero
        return g * product / divisor * where(count == 0, 1, where(count == 1, rest, 0))

    at = [gathered(t, index=index, dim=dim) for t in (g, product, zeros, total)]
    gx = counts * without(x, zero_x, x1, g, product, zeros, total)
    return gx, without(src, zero_src, src1, *at)


_scatter_maximum.vjp_joint(_scatter_extreme_vjp)
_scatter_minimum.vjp_joint(_scatter_extreme_vjp)
_scatter_multiply.vjp_joint(_scatter_multiply_vjp)


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """The input with src combined where index names: "sum", "prod", "mean", "amax" or "amin"."""
    ops = {"prod": _scatter_multiply, "amax": _scatter_maximum, "amin": _scatter_minimum}
    if reduce in ops:

        def kernel(x, s, **where_):
            return ops[reduce](x, s, include_self=include_self, **where_)

        return _scattered("scatter_reduce", kernel, input, dim, index, src, src)
    if reduce not in ("sum", "mean"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}."
        )
    start = input if include_self else scatter(input, dim, index, 0)
    total = scatter_add(start, dim, index, src)
    if reduce == "sum":
        return total
    one = input.detach() * 0 + 1
    ones = scatter_add(
        one if include_self else scatter(one, dim, index, 0), dim, index, src.detach() * 0 + 1
    )
    counts = where(ones < 1, 1, ones)
    return total / counts if input.dtype.category > 1 else total // counts


def put(input, index, source, accumulate=False):
    """The input with source at the elements of the flattened input that index names."""
    n, i = prod(input.shape), raw(index).reshape(-1)
    if i.dtype != "int64":
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.name}")
    if source.dtype != input.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype.name} and source.dtype = {source.dtype.name}"
        )
    if source.numel() != i.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {i.size}"
        )
    if i.size and (i.min() < -n or i.max() >= n):
        raise IndexError(f"out of range: tried to access an index beyond {n} elements")
    flat = index_put(
        reshape(input, (-1,)), reshape(source, (-1,)), index=(i,), accumulate=accumulate
    )
    return reshape(flat, input.shape)


IN_PLACE = {
    "scatter": scatter, "scatter_add": scatter_add, "scatter_reduce": scatter_reduce, "put": put,
}  # fmt: skip
FUNCTIONS = METHODS = IN_PLACE
