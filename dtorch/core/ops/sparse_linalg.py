"""Products of sparse matrices.  The gradient of a sparse factor is known at its places alone."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..backend import of
from ..backend.sparse import Coo
from ..op import op
from ..tensor import wrap
from .arithmetic import add
from .create import zeros
from .index import take_rows
from .join import stack
from .linalg import _bmm, _mm, _require, addmm, mm
from .reduce import sum
from .scatter import scatter_reduce
from .shape import raw, reshape, transpose, unsqueeze
from .sparse import assembled, is_sparse, title, to_sparse, values_of
from .sparse_math import _at, _runs, as_coo, back_to


@op(saves="x")
def _spmm(xp, values, dense, *, rows, cols, n):
    """The product of a matrix by coordinates, (n, K), with one of (K, M).  values: (nnz,)"""
    return xp.coo_matmul(values, rows, cols, (n, dense.shape[0]), dense)


def _at_places(a, b, rows, cols):
    """(a @ b.T)[rows, cols] for a: (N, M), b: (K, M)."""
    return sum(take_rows(a, index=rows, dim=0) * take_rows(b, index=cols, dim=0), 1)


_spmm.vjp(
    lambda g, y, values, dense, rows, cols, n: _at_places(g, dense, rows, cols),
    lambda g, y, values, dense, rows, cols, n: _spmm(values, g, rows=cols, cols=rows,
                                                     n=dense.shape[0]),
)  # fmt: skip


def _matrix(x):
    """A sparse matrix as coalesced coordinates: (tensor, rows, columns)."""
    x = as_coo(x)
    if x._a.values.ndim > 1:
        raise RuntimeError(
            "mm: a sparse matrix has no dense dimensions, got values of shape "
            f"{list(x._a.values.shape)}"
        )
    return x, x._a.indices[0], x._a.indices[1]


@_mm.on_sparse
def _sparse_mm(a, b):
    """Sparse @ sparse is sparse; with a dense factor on either side it is dense."""
    if not is_sparse(b):
        x, rows, cols = _matrix(a)
        return _spmm.fn(values_of(x), b, rows=rows, cols=cols, n=a.shape[0])
    if not is_sparse(a):
        return transpose(_sparse_mm(transpose(b, 0, 1), transpose(a, 0, 1)), 0, 1)
    x, rows, middle = _matrix(a)
    y, of_middle, cols = _matrix(b)
    xp = of(x._a)
    i, j = _runs(xp, of_middle, middle)  # the pairs whose product counts
    v = take_rows(values_of(x), index=i, dim=0) * take_rows(values_of(y), index=j, dim=0)
    return back_to(_at(xp.stack([rows[i], cols[j]]), v, (a.shape[0], b.shape[1])), a)


@_bmm.on_sparse
def _sparse_bmm(a, b):
    """(B, N, K) @ (B, K, M), matrix by matrix."""
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise RuntimeError(
            "bmm: sparse tensors don't broadcast, expected (B, N, K) and (B, K, M), got "
            f"{list(a.shape)} and {list(b.shape)}"
        )
    return stack([_sparse_mm(a[i], b[i]) for i in range(a.shape[0])])


# ---- with something added ------------------------------------------------------------------------


def sspaddmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * mat1 @ mat2, where input and mat1 are sparse; so is the result."""
    product = smm(mat1, mat2)
    return add.fn(input * beta, product * alpha)


def smm(input, mat):
    """The product of a sparse and a dense matrix, as a sparse one."""
    if not is_sparse(input):
        raise RuntimeError(f"smm: expected a sparse first matrix, got layout {input.layout}")
    return to_sparse(mm(input, mat))


def hspmm(mat1, mat2):
    """The product of a sparse and a dense matrix: sparse in its rows, dense within each."""
    if not is_sparse(mat1):
        raise RuntimeError(f"hspmm: expected a sparse mat1, got layout {mat1.layout}")
    product = mm(mat1, mat2)
    rows = of(mat1._a).unique(_matrix(mat1)[1])
    v = take_rows(product, index=rows, dim=0)
    return assembled(v, like=Coo(rows[None], raw(v), tuple(product.shape), True))


def sampled_addmm(input, mat1, mat2, *, beta=1.0, alpha=1.0):
    """beta * input + alpha * (mat1 @ mat2) at the places of the sparse_csr tensor `input`.

    input: (*, N, M), mat1: (*, N, K), mat2: (*, K, M)
    """
    if input.layout.name != "sparse_csr":
        raise RuntimeError(
            f"sampled_addmm: Expected self to have sparse csr layout, but got {title(input)}"
        )
    for name, m in (("mat1", mat1), ("mat2", mat2)):
        if is_sparse(m):
            raise RuntimeError(
                f"sampled_addmm: Expected {name} to have strided layout, but got {title(m)}"
            )
        if m.dtype != input.dtype:
            raise RuntimeError(
                f"sampled_addmm: Expected {name} and self to have the same dtype, but got {m.dtype} "
                f"and {input.dtype}"
            )
    n, m = input.shape[-2:]
    batch = input._a.batch
    if mat1.shape != (*batch, n, mat1.shape[-1]) or mat2.shape != (*batch, mat1.shape[-1], m):
        raise RuntimeError(
            f"sampled_addmm: mat1 and mat2 shapes cannot be multiplied to {list(input.shape)}: "
            f"{list(mat1.shape)} and {list(mat2.shape)}"
        )
    first, second = mat1, transpose(mat2, -2, -1)
    if not batch:
        product = _at_places(first, second, *input._a.places())
    else:
        first = reshape(first, (prod(batch), *first.shape[-2:]))
        second = reshape(second, (prod(batch), *second.shape[-2:]))
        matrices = enumerate(input._a.each())
        product = stack([_at_places(first[i], second[i], *c.places()) for i, c in matrices])
        product = reshape(product, input._a.values.shape)
    product = product * alpha
    total = product if beta == 0 else values_of(input) * beta + product
    return assembled(total, like=input._a)


# ---- torch.sparse.mm -----------------------------------------------------------------------------


def sparse_mm(mat1, mat2, reduce=None):
    """The product of two matrices, the first of which is sparse.

    reduce: "sum", "mean", "amax" or "amin": what becomes of the products of a row of mat1
        (sparse_csr or sparse_csc) with a column of mat2 (dense), where mat1 has elements
    """
    if reduce is None:
        return mm(mat1, mat2)
    if reduce not in ("sum", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, mean, amax or amin, got {reduce}")
    if mat1.layout.name not in ("sparse_csr", "sparse_csc") or is_sparse(mat2):
        raise RuntimeError(
            "sparse.mm with reduce: expected mat1 in layout sparse_csr and mat2 dense, got "
            f"{title(mat1)} and {title(mat2)}"
        )
    _require("sparse.mm", mat1, 2, "mat1"), _require("sparse.mm", mat2, 2, "mat2")
    if mat1.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({mat1.shape[0]}x{mat1.shape[1]} and "
            f"{mat2.shape[0]}x{mat2.shape[1]})"
        )
    x, rows, cols = _matrix(mat1)
    products = unsqueeze(values_of(x), 1) * take_rows(mat2, index=cols, dim=0)
    out = zeros(mat1.shape[0], mat2.shape[1], dtype=products.dtype, device=products.device)
    index = wrap(rows[:, None]).expand(products.shape)
    return scatter_reduce(out, 0, index, products, reduce, include_self=False)


METHODS = {"smm": smm, "sspaddmm": sspaddmm}
FUNCTIONS = METHODS | {"hspmm": hspmm, "spmm": mm, "dsmm": mm, "saddmm": addmm}
