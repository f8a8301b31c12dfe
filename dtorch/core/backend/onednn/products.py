"""Products of matrices, with a bias where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .primitive import BIAS, DST, SRC, WEIGHTS, Description, Primitive, described, kept


@kept
def _product(a: Any, a_strides: Any, b: Any, b_strides: Any, bias: bool) -> Primitive:
    """(*B, M, K) @ (*B, K, N) -> (*B, M, N) in C order; strides in elements."""
    out = (*a[:-1], b[-1])
    y, beta = described(out), described((1,) * (len(out) - 1) + out[-1:]) if bias else None
    x, w = described(a, a_strides), described(b, b_strides)
    arguments = [(SRC, x), (WEIGHTS, w), (DST, y)] + ([(BIAS, beta)] if bias else [])
    return Primitive(Description("matmul", x, w, beta, y, None), *arguments)


def _strides(a: Any) -> Any:
    """The strides in elements where the last two dimensions are a matrix by rows or by columns."""
    strides = tuple([s // 4 for s in a.strides])
    rows, columns = strides[-2:]
    if columns == 1 and rows >= a.shape[-1] or rows == 1 and columns >= a.shape[-2]:
        return strides
    return None


def matmul(a: Any, b: Any, bias: Any = None) -> Any:
    """a @ b (+ bias) of float32 arrays (*B, M, K) and (*B, K, N), or None: no fast way for these."""
    sa, sb = _strides(a), _strides(b)
    if sa is None or sb is None:
        return None
    run = _product(a.shape, sa, b.shape, sb, bias is not None)
    if run is None:
        return None
    out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    if bias is None:
        run(a, b, out)
    else:
        run(a, b, out, np.ascontiguousarray(bias))
    return out
