"""linear and bilinear layers; products of groups of matrices."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..op import op
from .join import cat, stack
from .linalg import matmul
from .reduce import _sum
from .shape import _permute, raw, reshape, squeeze, unsqueeze


@op(saves="x")
def _linear(xp, x, w, b):
    # x: (..., in), w: (out, in), b: (out,) or None -> (..., out)
    if x.ndim > 2:  # one product, not one for each matrix
        y = x.reshape(prod(x.shape[:-1]), x.shape[-1]).dot(w.T)
        y = y.reshape(*x.shape[:-1], w.shape[0])
    else:
        y = x.dot(w.T)
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
    x, w, b = raw(input), raw(weight), raw(bias)
    if not x.ndim or w.ndim != 2:
        raise RuntimeError(
            "both arguments to linear need to be at least 1D, and the weight at most 2D, but they "
            f"are {input.ndim}D and {weight.ndim}D"
        )
    if x.shape[-1] != w.shape[1]:
        raise RuntimeError(
            "mat1 and mat2 shapes cannot be multiplied "
            f"({prod(input.shape[:-1])}x{input.shape[-1]} "
            f"and {weight.shape[1]}x{weight.shape[0]})"
        )
    if x.dtype != w.dtype or (b is not None and b.dtype != w.dtype):
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype} and {weight.dtype}"
            + ("" if bias is None else f" (bias: {bias.dtype})")
            + "; cast one with .to(dtype)"
        )
    if b is not None and b.shape not in ((w.shape[0],), ()):
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


def grouped_mm(mat_a, mat_b, *, offs=None, bias=None, out_dtype=None):
    """A product of matrices for each group, where the groups of a 2D operand differ in size.

    offs: (groups,) int32, where each group ends.  It slices, if a matrix is 2D, what is not shared:
        (M, K) x (groups, K, N) -> (M, N), rows in groups, as for the experts of a mixture
        (groups, M, K) x (K, N) -> (M, N), columns in groups
        (M, K) x (K, N) -> (groups, M, N), K in groups
        (groups, M, K) x (groups, K, N) -> (groups, M, N), without offs
    bias: not supported, as in torch
    """
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    if mat_a.ndim not in (2, 3) or mat_b.ndim not in (2, 3):
        raise RuntimeError("mat_a and mat_b have to be 2 or 3 dimensional")
    flat = mat_a.ndim == 2 or mat_b.ndim == 2
    if flat is (offs is None):
        raise RuntimeError(
            "Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d"
        )
    if mat_a.shape[-1] != mat_b.shape[-2]:
        raise RuntimeError("contraction dimension of mat_a and mat_b must match")
    if out_dtype not in (None, mat_a.dtype):
        raise RuntimeError("Grouped gemm output dtype must match `mat_a` dtype")
    if not flat:
        if mat_a.shape[0] != mat_b.shape[0]:
            raise RuntimeError("batched dimension has to match")
        return matmul(mat_a, mat_b)
    if offs.dtype.name != "int32" or offs.ndim != 1:
        raise RuntimeError("Offsets have to be 1D and int32")
    for name, matrix in (("mat_a", mat_a), ("mat_b", mat_b)):
        if matrix.ndim == 3 and matrix.shape[0] != offs.shape[0]:
            raise RuntimeError(
                f"{name} has {matrix.shape[0]} matrices for {offs.shape[0]} groups in offs"
            )
    ends = offs.tolist()
    size = mat_a.shape[0] if mat_b.ndim == 3 else mat_b.shape[-1 if mat_a.ndim == 3 else 0]
    if ends != sorted(ends) or ends and not (ends[0] >= 0 and ends[-1] == size):
        raise RuntimeError(f"offs has to ascend to the size that it slices, {size}, got {ends}")
    groups = [slice(i, j) for i, j in zip([0, *ends], ends)]
    if mat_b.ndim == 3:
        return cat([matmul(mat_a[part], mat_b[g]) for g, part in enumerate(groups)])
    if mat_a.ndim == 3:
        return cat([matmul(mat_a[g], mat_b[:, part]) for g, part in enumerate(groups)], 1)
    return stack([matmul(mat_a[:, part], mat_b[part]) for part in groups])


FUNCTIONS = {"bilinear": bilinear}
