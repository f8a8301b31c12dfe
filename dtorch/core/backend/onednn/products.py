"""Products of matrices, with a bias where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .primitive import BIAS, DST, SRC, WEIGHTS, Description, Primitive, described, kept, reorder

_FAR = 512  # rows that many elements apart, or a multiple, fall into few of the cache's sets
_DEEP = 256  # sums of that many products and more are worth a copy
_PADDING = 16


class _Apart:
    """A matrix by rows, copied so that its rows don't meet in the cache.  (R, C), R * C elements"""

    def __init__(self, rows: int, columns: int) -> None:
        self.shape, self.strides = (rows, columns + _PADDING), (columns + _PADDING, 1)
        copy = reorder(described((rows, columns)), described((rows, columns), self.strides))
        assert copy is not None
        self._copy = copy

    def __call__(self, a: Any) -> Any:
        out = np.empty(self.shape, np.float32)
        self._copy(a, out)
        return out


class _Product:
    """(*B, M, K) @ (*B, K, N) -> (*B, M, N) in C order; strides in elements.

    A gradient in weights is the sum of products over the rows of two matrices, a.T @ b.  The kernels
    for AVX2 read these matrices as they lie, at half the speed where rows are far apart.
    """

    def __init__(self, a: Any, a_strides: Any, b: Any, b_strides: Any, bias: bool) -> None:
        self.out = (*a[:-1], b[-1])
        y, beta = described(self.out), None
        if bias:
            beta = described((1,) * (len(self.out) - 1) + self.out[-1:])
        x, w = described(a, a_strides), described(b, b_strides)
        made = Description("matmul", x, w, beta, y, None)
        self._first = self._second = None
        if len(a) == 2 and a[1] >= _DEEP and made.implementation.startswith("gemm"):
            k, m, n = a[1], a[0], b[1]
            if a_strides == (1, m) and b_strides == (n, 1):
                self._first = None if m % _FAR else _Apart(k, m)
                self._second = None if n % _FAR else _Apart(k, n)
        if self._first is not None:
            x = described(a, self._first.strides[::-1])
        if self._second is not None:
            w = described(b, self._second.strides)
        if self._first is not None or self._second is not None:
            made = Description("matmul", x, w, beta, y, None)
        arguments = [(SRC, x), (WEIGHTS, w), (DST, y)] + ([(BIAS, beta)] if bias else [])
        self._run = Primitive(made, *arguments)

    def __call__(self, a: Any, b: Any, bias: Any) -> Any:
        if self._first is not None:
            a = self._first(a)
        if self._second is not None:
            b = self._second(b)
        out = np.empty(self.out, np.float32)
        if bias is None:
            self._run(a, b, out)
        else:
            self._run(a, b, out, np.ascontiguousarray(bias))
        return out


_product = kept(_Product)


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
    return None if run is None else run(a, b, bias)
