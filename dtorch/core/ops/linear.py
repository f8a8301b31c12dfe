"""linear and bilinear."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..op import op
from .linalg import matmul
from .reduce import _sum
from .shape import _permute, reshape, squeeze, unsqueeze


@op(saves="x")
def _linear(xp, x, w, b):
    # x: (..., in), w: (out, in), b: (out,) or None -> (..., out)
    if x.ndim > 2:  # one product, not one for each matrix
        y = xp.matmul(x.reshape(prod(x.shape[:-1]), x.shape[-1]), w.T)
        y = y.reshape(*x.shape[:-1], w.shape[0])
    else:
        y = xp.matmul(x, w.T)
    if b is not None:
        y += b
    return y


def _transposed(x):
    return _permute(x, dims=(1, 0))


def _linear_vjp(needs, g, y, x, w, b):
    gx = gw = gb = None
    if needs[0]:
        gx = _linear(g, _transposed(w), None)
    if needs[1] or needs[2]:
        n = prod(x.shape[:-1])
        rows = g if g.ndim == 2 else reshape(g, (n, g.shape[-1]))
        if needs[1]:
            x = x if x.ndim == 2 else reshape(x, (n, x.shape[-1]))
            gw = _linear(_transposed(rows), _transposed(x), None)
        if needs[2]:
            gb = _sum(rows, dims=(0,), keepdim=False)
            gb = gb if b.ndim else _sum(gb, dims=(0,), keepdim=False)
    return gx, gw, gb


_linear.vjp_joint(_linear_vjp)


def linear(input, weight, bias=None):
    """input @ weight.T + bias.  input: (..., in), weight: (out, in) or (in,), bias: (out,) or ()"""
    if weight.ndim == 1:
        y = squeeze(linear(input, unsqueeze(weight, 0)), -1)
        return y if bias is None else y + bias
    if not input.ndim or weight.ndim != 2:
        raise RuntimeError(
            "both arguments to linear need to be at least 1D, and the weight at most 2D, but they "
            f"are {input.ndim}D and {weight.ndim}D"
        )
    if input.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            "mat1 and mat2 shapes cannot be multiplied "
            f"({prod(input.shape[:-1])}x{input.shape[-1]} "
            f"and {weight.shape[1]}x{weight.shape[0]})"
        )
    if input.dtype is not weight.dtype or (bias is not None and bias.dtype is not weight.dtype):
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype} and {weight.dtype}"
            + ("" if bias is None else f" (bias: {bias.dtype})")
            + "; cast one with .to(dtype)"
        )
    if bias is not None and tuple(bias.shape) not in ((weight.shape[0],), ()):
        raise RuntimeError(
            f"expected bias of size [{weight.shape[0]}] to go with weight {list(weight.shape)}, "
            f"but got {list(bias.shape)}"
        )
    return _linear(input, weight, bias)


def bilinear(input1, input2, weight, bias=None):
    """y[o] = input1 @ weight[o] @ input2 + bias[o].  weight: (out, in1, in2)"""
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match: got "
            f"{list(input1.shape)} and {list(input2.shape)}"
        )
    o, i, j = weight.shape
    for k, (x, n) in enumerate(((input1, i), (input2, j)), 1):
        if x.shape[-1] != n:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {x.shape[-1]} but "
                f"expected {n}"
            )
    if bias is not None and tuple(bias.shape) != (o,):
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {list(bias.shape)} but "
            f"expected {o}"
        )
    rows = reshape(_permute(weight, dims=(0, 2, 1)), (o * j, i))
    y = reshape(linear(input1, rows), (*input1.shape[:-1], o, j))
    y = squeeze(matmul(y, unsqueeze(input2, -1)), -1)
    return y if bias is None else y + bias


FUNCTIONS = {"bilinear": bilinear}
