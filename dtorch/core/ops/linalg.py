"""Products of vectors and matrices, and what is made of them.

The rest of linear algebra: einsum.py, solve.py, lu.py, cholesky.py, qr.py, eigen.py, svd.py, lstsq.py,
determinant.py, matrix_functions.py and matrix_norms.py.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import cpu
from ..backend.cpu import asarray, ndarray
from ..errors import not_a_tensor
from ..graph import Node, next_seq
from ..modes import grad_on
from ..op import op
from ..short import f32, f64
from ..tensor import Tensor, new
from .arithmetic import add, mul
from .reduce import axes, sum_to
from .shape import broadcast_shapes, expand, reshape, transpose, unsqueeze

SMALL = 1 << 10  # elements: smaller arrays go to NumPy at once

# ---- the two products --------------------------------------------------------------------------


@op(saves="x")
def _mm(xp, a, b):
    """(N, K) @ (K, M): dot copies what BLAS cannot read, where matmul would leave BLAS."""
    return xp.dot(a, b)


@op(saves="x")
def _bmm(xp, a, b):
    """(*A, N, K) @ (*B, K, M), the leading dimensions broadcast."""
    return xp.matmul(a, b)


def _product(a, b):
    """a @ b for the rules; where the arrays allow it without a further step."""
    if type(a) is ndarray and (a.dtype is f32 or a.dtype is f64):
        return a.dot(b) if a.size < SMALL else cpu.dot(a, b)
    return _mm(a, b)


_mm.vjp(
    lambda g, y, a, b: _product(g, b.T), lambda g, y, a, b: _product(a.T, g), own=(False, False)
)  # fmt: skip
_bmm.vjp(
    lambda g, y, a, b: sum_to(_bmm(g, transpose(b, -2, -1)), a.shape),
    lambda g, y, a, b: sum_to(_bmm(transpose(a, -2, -1), g), b.shape),
)


def matmul(input, other):
    """The matrix product: of vectors the dot product; of stacks of matrices, with broadcasting."""
    # The short path: two matrices of float32 or of float64 on the CPU.
    try:
        a, b = input._a, other._a
        d = a.dtype
        fits = a.ndim == b.ndim == 2 and d is b.dtype and (d is f32 or d is f64)
    except AttributeError:
        fits = False
    if not fits or type(a) is not ndarray or type(b) is not ndarray:
        return _matmul_any(input, other)
    try:
        out = a.dot(b) if a.size < SMALL else cpu.dot(a, b)
    except ValueError:
        raise _mismatch(a, b) from None
    t = new(Tensor)
    t._a = out if type(out) is ndarray else asarray(out)
    t._grad = t._base = t._views = t._leaf = None
    t._rg = (input._rg or other._rg) and grad_on()
    t._node = None
    if t._rg:
        e0 = input._node or (input if input._rg else None)
        e1 = other._node or (other if other._rg else None)
        saved = (a if e1 is not None else None, b if e0 is not None else None)
        t._node = Node(_mm, (e0, e1), saved, None, None, None, next_seq())
    return t


def _mismatch(a, b):
    rows, columns = "x".join(map(str, a.shape)), "x".join(map(str, b.shape))
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows} and {columns})")


def _same_dtype(a, b, names="m1 and m2"):
    if a.dtype != b.dtype:
        first, second = (_WORDS.get(_name(x), _name(x)) for x in (a, b))
        raise RuntimeError(
            f"expected {names} to have the same dtype, but got: {first} != {second}; cast one with "
            ".to(dtype)"
        )


def _name(x):
    return getattr(x.dtype, "name", str(x.dtype))


_WORDS = {  # C++'s names, which torch's messages use
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
    "int64": "long", "int32": "int", "int16": "short", "int8": "signed char",
    "uint8": "unsigned char",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def _matmul_any(a, b):
    for x in (a, b):
        if not hasattr(x, "ndim"):
            raise TypeError(f"matmul(): argument must be Tensor, not {type(x).__name__}")
    if not a.ndim or not b.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D"
        )
    _same_dtype(a, b)
    if a.ndim == 1:
        return _dropped(_matmul_any(unsqueeze(a, 0), b), -2) if b.ndim > 1 else dot(a, b)
    if b.ndim == 1:
        if a.shape[-1] != b.shape[0]:
            raise RuntimeError(
                f"size mismatch, got input ({a.shape[-2]}), mat ({a.shape[-2]}x{a.shape[-1]}), vec "
                f"({b.shape[0]})"
            )
        return _dropped(_matmul_any(a, unsqueeze(b, 1)), -1)
    if a.shape[-1] != b.shape[-2]:
        if a.ndim <= 2 or b.ndim <= 2:
            raise _mismatch(reshape(a, (-1, a.shape[-1])) if b.ndim == 2 and a.ndim > 2 else a, b)
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{b.shape[0]}, "
            f"{a.shape[-1]}] but got: [{b.shape[0]}, {b.shape[-2]}]."
        )
    if a.ndim == b.ndim == 2:
        return _mm(a, b)
    if b.ndim == 2 and 0 not in a.shape:  # one product of matrices: (*, N, K) as (* N, K)
        rows = _mm(reshape(a, (-1, a.shape[-1])), b)
        return reshape(rows, (*a.shape[:-1], b.shape[-1]))
    broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return _bmm(a, b)


def _dropped(x, dim):
    shape = list(x.shape)
    del shape[dim]
    return reshape(x, shape)


def _require(name, x, ndim, what):
    if not hasattr(x, "ndim"):
        raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {type(x).__name__}")
    if x.ndim != ndim:
        raise RuntimeError(f"{name}: expected {what} to be a {ndim}-D tensor, but got {x.ndim}-D")


def mm(input, mat2):
    """(N, K) @ (K, M)"""
    _require("mm", input, 2, "self"), _require("mm", mat2, 2, "mat2")
    return matmul(input, mat2)


def bmm(input, mat2):
    """(B, N, K) @ (B, K, M)"""
    for x, what in ((input, "batch1"), (mat2, "batch2")):
        if x.ndim != 3:
            raise RuntimeError(f"{what} must be a 3D tensor, got {x.ndim}D")
    if (input.shape[0], input.shape[2]) != (mat2.shape[0], mat2.shape[1]):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, "
            f"{input.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    _same_dtype(input, mat2)
    return _bmm(input, mat2)


def mv(input, vec):
    """(N, K) @ (K,)"""
    _require("mv", input, 2, "self"), _require("mv", vec, 1, "vec")
    return _matmul_any(input, vec)


def dot(input, tensor):
    """The sum of the products of two vectors' elements."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    if input.shape != tensor.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src "
            f"[{tensor.shape[0]}] to have the same number of elements, but got {input.shape[0]} "
            "and "
            f"{tensor.shape[0]} elements respectively"
        )
    if input.dtype != tensor.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype} and "
            f"{tensor.dtype}"
        )
    return reshape(_mm(reshape(input, (1, -1)) if input.shape[0] else reshape(input, (1, 0)),
                       unsqueeze(tensor, 1)), ())  # fmt: skip


def vdot(input, other):
    """dot with the conjugate of the first vector."""
    from .complex import conj_any

    return dot(conj_any(input), other)


def inner(input, other):
    """The products of vectors along the last dimension of each: (*A, K), (*B, K) -> (*A, *B)"""
    if not input.ndim or not other.ndim:
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


def outer(input, vec2):
    """(N,), (M,) -> (N, M): all products"""
    _require("outer", input, 1, "self"), _require("outer", vec2, 1, "vec2")
    return mul(unsqueeze(input, 1), vec2)


# ---- with something added ----------------------------------------------------------------------


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * mat1 @ mat2, of matrices"""
    return _plus(input, mm(mat1, mat2), beta, alpha)


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * mat @ vec"""
    return _plus(input, mv(mat, vec), beta, alpha)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * batch1 @ batch2, of (B, N, M) and (B, M, P)"""
    return _plus(input, bmm(batch1, batch2), beta, alpha)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2).sum(0)"""
    products = bmm(batch1, batch2)
    return _plus(input, products.sum(0, dtype=products.dtype), beta, alpha)


def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * outer(vec1, vec2)"""
    return _plus(input, outer(vec1, vec2), beta, alpha, promotes=True)


def _plus(input, out, beta, alpha, promotes=False):
    """promotes: addr alone takes different dtypes, and is strict about factors"""
    if promotes:
        _check_factors(out, beta=beta, alpha=alpha)
    else:
        _same_dtype(input, out, "self and the product")
    beta, alpha = (_factor(k, out.dtype) for k in (beta, alpha))
    if alpha != 1:
        out = mul(out, alpha)
    if beta == 0:  # not even a NaN of the input counts
        expand(input, out.shape)
        return out
    if broadcast_shapes(input.shape, out.shape) != out.shape:
        raise RuntimeError(
            f"The expanded size of the tensor {list(out.shape)} must match the existing size "
            f"{list(input.shape)} of the input"
        )
    return add(input if beta == 1 else mul(input, beta), out)


def _factor(k, dtype):
    """A factor in a tensor's kind of numbers: that of integers is cut to an integer."""
    return (bool, int)[dtype.category](k) if dtype.category < 2 else k


def _check_factors(out, **factors):
    for what, k in factors.items():
        if isinstance(k, float) and out.dtype.category < 2:
            raise RuntimeError(
                f"For integral input tensors, argument {what} must not be a floating point number, "
                f"but it is {k}."
            )


# ---- sums of products --------------------------------------------------------------------------


def tensordot(a, b, dims=2):
    """The products summed over pairs of dimensions: the last `dims` of a with the first of b."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = list(range(-dims, 0)), list(range(dims))
    _same_dtype(a, b, "both inputs")
    mine, its = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(mine) != len(its):
        raise RuntimeError("both dimension lists should have same length")
    mine, its = [d % max(a.ndim, 1) for d in mine], [d % max(b.ndim, 1) for d in its]
    for i, j in zip(mine, its):
        if a.shape[i] == 1:  # a size of 1 broadcasts
            b = b.sum(j, True, dtype=b.dtype)
        elif b.shape[j] == 1:
            a = a.sum(i, True, dtype=a.dtype)
        if a.shape[i] != b.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                "and "
                f"second has size {b.shape[j]} in dim {j}"
            )
    free_a = [i for i in range(a.ndim) if i not in mine]
    free_b = [j for j in range(b.ndim) if j not in its]
    shape = [a.shape[i] for i in free_a] + [b.shape[j] for j in free_b]
    inner_size = 1
    for i in mine:
        inner_size *= a.shape[i]
    rows = 1
    for i in free_a:
        rows *= a.shape[i]
    columns = 1
    for j in free_b:
        columns *= b.shape[j]
    left = reshape(a.permute(*free_a, *mine), (rows, inner_size))
    right = reshape(b.permute(*its, *free_b), (inner_size, columns))
    return reshape(_mm(left, right), shape)


def kron(input, other):
    """The Kronecker product: each element of the input times all of the other tensor."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("kron(): argument 'other' (position 2)", other)
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + tuple(input.shape)
    b = (1,) * (n - other.ndim) + tuple(other.shape)
    left = reshape(input, [k for i in a for k in (i, 1)])
    right = reshape(other, [k for i in b for k in (1, i)])
    return reshape(mul(left, right), [i * j for i, j in zip(a, b)])


def trace(input):
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return input.diagonal().sum()


def cross(input, other, dim=None):
    """The cross product of vectors of three along `dim`, by default the first that has size 3."""
    if dim is None:
        dim = next((i for i, n in enumerate(input.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions, got {input.ndim} and "
            f"{other.ndim}"
        )
    (d,) = axes(dim, input.ndim)
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and "
            f"{other.shape[d]}"
        )
    from .layout import roll

    shape = broadcast_shapes(input.shape, other.shape)
    a, b = expand(input, shape), expand(other, shape)
    return roll(a, -1, d) * roll(b, -2, d) - roll(a, -2, d) * roll(b, -1, d)


def cross_along(input, other, *, dim=-1):
    """linalg.cross: the cross product of vectors of three along `dim`."""
    return cross(input, other, dim)


def vecdot(x, y, *, dim=-1):
    """The dot products of the vectors along `dim`, the first conjugated: broadcast, (*, N) -> (*)"""
    from .complex import conj_any
    from .reduce import sum

    return sum(mul(conj_any(x), y), dim)


def diagonal_of(A, *, offset=0, dim1=-2, dim2=-1):
    """linalg.diagonal: a view of the diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)


def cdist(x1, x2, p=2.0, compute_mode=None):
    """The p-norm distance of each row pair: (*, N, K), (*, M, K) -> (*, N, M)"""
    from .norms import vector_norm

    for name, x in (("X1", x1), ("X2", x2)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    return vector_norm(unsqueeze(x1, -2) - unsqueeze(x2, -3), p, -1)


FUNCTIONS = METHODS = {
    "matmul": matmul, "mm": mm, "bmm": bmm, "mv": mv, "dot": dot, "vdot": vdot, "inner": inner,
    "outer": outer, "ger": outer, "addmm": addmm, "addmv": addmv, "addr": addr, "baddbmm": baddbmm,
    "addbmm": addbmm, "kron": kron, "trace": trace, "cross": cross,
}  # fmt: skip
FUNCTIONS = FUNCTIONS | {"tensordot": tensordot, "cdist": cdist}
IN_PLACE = {"addmm": addmm, "addmv": addmv, "addr": addr, "baddbmm": baddbmm, "addbmm": addbmm}
LINALG = {"matmul": matmul, "cross": cross_along, "vecdot": vecdot, "diagonal": diagonal_of}
