"""The CUDA backend: CuPy under its own names, and what CuPy lacks.  Imported on first use only."""

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

import ml_dtypes  # before CuPy, which looks for bfloat16 when it is imported
import numpy as np

from . import cublas, cuda_kernels, cudnn, visible

name = "cuda"
slice_size = 1 << 62  # whole arrays: launches cost more than memory here


def why_not() -> str | None:
    """Why CUDA cannot be used here, in words, or None where it can."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed: pip install 'dtorch[cuda]'"
    if not visible.nvml_uuids():
        return "there is no NVIDIA driver, or it sees no GPU (nvidia-smi should list one)"
    if not visible.device_count():
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        return f"CUDA_VISIBLE_DEVICES={chosen!r} hides every GPU of this machine"
    return None


_reason = why_not()
if _reason is not None:
    raise ImportError(f"CUDA is not available: {_reason}")

cp = importlib.import_module("cupy")
ndarray = cp.ndarray
bfloat16 = np.dtype(ml_dtypes.bfloat16)


def __getattr__(attr: str) -> Any:
    """Everything that CuPy has, kept here after the first look."""
    value = getattr(cp, attr)
    globals()[attr] = value
    return value


def special(function: str) -> Any:
    """A function of cupyx.scipy.special."""
    found = getattr(importlib.import_module("cupyx.scipy.special"), function, None)
    if found is None:
        raise NotImplementedError(
            f"CuPy has no special function {function}: move the tensor to the CPU with .cpu()"
        )
    return found


def scipy_linalg(function: str) -> Any:
    """A function of cupyx.scipy.linalg."""
    found = getattr(importlib.import_module("cupyx.scipy.linalg"), function, None)
    if found is None:
        raise NotImplementedError(
            f"CuPy has no scipy.linalg.{function} on the GPU; move the tensor to the CPU: x.cpu()"
        )
    return found


def lapack(routine: str, a: Any) -> Any:
    """The routines of BLAS and LAPACK that CuPy has, with SciPy's arguments and results."""
    if routine not in _LAPACK:
        raise NotImplementedError(
            f"CuPy has no LAPACK routine {routine} on the GPU; move the tensor to the CPU: x.cpu()"
        )
    return _LAPACK[routine]


def _getrf(a: Any) -> Any:
    lu, pivots = scipy_linalg("lu_factor")(a)
    zero = lu.diagonal() == 0
    return lu, pivots, cp.where(zero.any(), zero.argmax() + 1, 0)


def _potrf(a: Any, lower: bool) -> Any:
    """Only lower=True.  cuSOLVER's info is not shown by CuPy: the smallest part that fails is it."""
    for k in range(1, len(a) + 1):
        try:
            y = linalg.cholesky(a[:k, :k])
        except linalg.LinAlgError:
            return a.copy(), cp.asarray(k)
    return y, cp.asarray(0)


def _gels(a: Any, b: Any) -> Any:
    """min |a x - b| by the QR factors of a, of full rank.

    a: (M, N), b: (max(M, N), K) -> None, x (N, K), info
    """
    m, n = a.shape
    solve = scipy_linalg("solve_triangular")
    q, r = linalg.qr(a if m >= n else a.conj().T)
    zero = r.diagonal() == 0
    info = int(cp.where(zero.any(), zero.argmax() + 1, 0))
    if info:
        return None, b, info
    x = solve(r, q.conj().T @ b[:m]) if m >= n else q @ solve(r, b[:m], trans="C")
    return None, x, 0


def _trsm(alpha: float, a: Any, b: Any, lower: bool, diag: bool) -> Any:
    solve = scipy_linalg("solve_triangular")
    return alpha * solve(a, b, lower=lower, unit_diagonal=diag)


_LAPACK = {"gels": _gels, "getrf": _getrf, "potrf": _potrf, "trsm": _trsm}


class _Linalg:
    """cupy.linalg, where what fails raises LinAlgError: CuPy goes on with NaN unless told not to."""

    LinAlgError = np.linalg.LinAlgError

    def __getattr__(self, name: str) -> Any:
        function = getattr(cp.linalg, name)
        errstate = importlib.import_module("cupyx").errstate

        def raising(*args: Any, **kwargs: Any) -> Any:
            with errstate(linalg="raise"):
                return function(*args, **kwargs)

        setattr(self, name, raising)
        return raising


linalg = _Linalg()


def erf(x: Any) -> Any:
    return special("erf")(x)


def relu(x: Any) -> Any:
    return cp.maximum(x, 0)


def add_scaled(target: Any, x: Any, factor: Any) -> None:
    """target += factor * x, in place."""
    target += factor * x


def reshaped(a: Any, shape: Any) -> Any:
    """A view of `a` with this shape; ValueError where only a copy could have it."""
    out = a.reshape(shape)
    if out.size and out.data.ptr != a.data.ptr:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    return out


def as_strided(a: Any, shape: Any, strides: Any) -> Any:
    """A view of `a` with these shape and strides (in bytes)."""
    return cp.lib.stride_tricks.as_strided(a, shape, strides)


def memory(a: Any) -> Any:
    """All of the memory that `a` lies in, as elements of its dtype.  (n,)"""
    owner = root(a)
    return cp.ndarray((owner.nbytes // a.itemsize,), a.dtype, owner.data)


def strided_storage(a: Any, shape: Any, strides: Any, offset: int) -> Any:
    """A view of the whole buffer that `a` lies in; strides and offset in elements."""
    return as_strided(memory(a)[offset:], shape, [s * a.itemsize for s in strides])


def root(a: Any) -> Any:
    """The array that owns the memory which `a` is a view of."""
    while a.base is not None:
        a = a.base
    return a


def apart(a: Any) -> Any:
    """The same memory as an array that has a `counter` of its own, where `a` is no view."""
    return a if a.base is not None else cp.ndarray(a.shape, a.dtype, a.data, a.strides)


def counter(a: Any) -> Any:
    """The array by which in-place writes to `a` are counted: the same for `a` and its views."""
    return root(a)


def address(a: Any) -> int:
    return a.data.ptr


def scatter_add(target: Any, index: Any, value: Any) -> None:
    """target[index] += value, where an index that comes twice adds twice."""
    importlib.import_module("cupyx").scatter_add(target, index, value)


def combine_at(ufunc: str, target: Any, index: Any, value: Any) -> None:
    """target[index] = ufunc(target[index], value), where an index that comes twice counts twice."""
    function = getattr(cp, ufunc)
    if ufunc in ("maximum", "minimum"):
        function.at(target, index, value)
        return
    # CuPy has no multiply.at.  Elements by their place in the target, then all that come first
    # there, all that come second, and so on: as many rounds as one place has elements at most.
    places = cp.arange(target.size).reshape(target.shape)[index]
    places, values = places.reshape(-1), cp.broadcast_to(value, places.shape).reshape(-1)
    order = cp.argsort(places)
    places, values = places[order], values[order]
    flat = target.reshape(-1)  # a view: `target` is contiguous
    here = cp.arange(places.size)
    first = cp.searchsorted(places, places)  # where the run of the same place begins
    for turn in range(int((here - first).max()) + 1 if places.size else 0):
        mine = here - first == turn
        flat[places[mine]] = function(flat[places[mine]], values[mine])


def accumulate(ufunc: str, x: Any, axis: int) -> Any:
    """The results of a ufunc, one that is associative, over the first 1, 2, ... elements.

    By doubling (Hillis and Steele, "Data parallel algorithms", 1986): log2(n) passes.
    """
    function, y, step = getattr(cp, ufunc), cp.moveaxis(x.copy(), axis, 0), 1
    while step < len(y):
        y[step:] = function(y[:-step], y[step:])
        step *= 2
    return cp.moveaxis(y, 0, axis)


def index_rows_add(target: Any, rows: Any, value: Any) -> None:
    """target[rows[i]] += value[i].  target: (V, ...), rows: (N,) integers, value: (N, ...)"""
    scatter_add(target, rows, value)


def coo_matmul(values: Any, rows: Any, cols: Any, shape: tuple[int, int], dense: Any) -> Any:
    """The matrix of `shape` with values[i] at (rows[i], cols[i]), times a dense one."""
    if values.dtype.kind in "iub":  # cuSPARSE knows floating point numbers only
        out = cp.zeros((shape[0], dense.shape[1]), dense.dtype)
        scatter_add(out, rows, values[:, None] * dense[cols])
        return out
    sparse = importlib.import_module("cupyx.scipy.sparse")
    return sparse.coo_matrix((values, (rows, cols)), shape).tocsr() @ dense


def in_range(index: Any, n: int) -> bool:
    """True: to look would be to wait.  What is not in 0 <= index < n is counted, and raised later."""
    bad()[0] += cp.count_nonzero((index < 0) | (index >= n)).astype("int32")
    return True


_THERE = contextlib.nullcontext()


def on(*arrays: Any) -> Any:
    """A context in which the device of the first array on a GPU is the current one."""
    for a in arrays:
        device: Any = getattr(getattr(a, "values", a), "device", "cpu")  # NumPy 2 says "cpu", too
        if device != "cpu":
            return _THERE if device.id == cp.cuda.get_device_id() else device
    return _THERE


def to_numpy(a: Any) -> Any:
    launch.check()
    return cp.asnumpy(a)


def capturing() -> bool:
    """Whether what the current stream is given is being recorded as a CUDA graph."""
    return bool(cp.cuda.get_current_stream().is_capturing())


def synchronize() -> None:
    """Wait until the current device has done what was asked of it."""
    cp.cuda.get_current_stream().synchronize()
    launch.check()


# ---- our own kernels -------------------------------------------------------------------------

launch = cuda_kernels.Launcher(cp)
bad = launch.bad


# ---- products of matrices --------------------------------------------------------------------

_cublas = functools.cache(cublas.libraries)
_cudnn = functools.cache(cudnn.library)
_here = threading.local()


def _handle(make: Callable[[], Any]) -> Any:
    """What make() makes for a library, once for each device and thread."""
    made = _here.__dict__.setdefault(make.__name__, {})
    device = cp.cuda.get_device_id()
    if device not in made:
        made[device] = make()
    return made[device]


def _products() -> cublas.Blas | None:
    """cuBLAS for the current device and thread; None where it is not found, and CuPy's are used."""
    return None if _cublas() is None else _handle(_blas)


def _blas() -> cublas.Blas:
    blas, lt = cast("tuple[Any, Any]", _cublas())
    return cublas.Blas(sys.modules[__name__], blas, lt, _stream)


def _stream() -> int:
    return int(cp.cuda.get_current_stream().ptr)


def product(a: Any, b: Any) -> Any:
    """a @ b in the operands' dtype, also in half precision; None where cuBLAS does not do it."""
    blas = _products()
    return None if blas is None else blas.matmul(a, b)


def linear(x: Any, w: Any, b: Any) -> Any:
    """x wᵀ + b of (N, K), (M, K) and (M,) or None; None where cuBLAS does not do it."""
    blas = _products()
    if blas is None:
        return None
    y = blas.linear(x, w, b) if b is not None and b.ndim == 1 else None
    if y is None:
        y = blas.matmul(x, w.T)
        if y is not None and b is not None:
            y += b
    return y


def matmul(a: Any, b: Any) -> Any:
    y = product(a, b)
    return cp.matmul(a, b) if y is None else y


def dot(a: Any, b: Any) -> Any:
    y = product(a, b) if a.ndim == b.ndim == 2 else None
    return cp.dot(a, b) if y is None else y


# ---- convolutions ----------------------------------------------------------------------------


def convolutions() -> cudnn.Cudnn | None:
    """cuDNN for the current device and thread; None where it is not installed."""
    return None if _cudnn() is None else _handle(_planner)


def _planner() -> cudnn.Cudnn:
    cp.empty(1)  # cuDNN wants the device's context to be there
    return cudnn.Cudnn(sys.modules[__name__], _cudnn(), _stream)
