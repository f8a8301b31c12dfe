"""Products of matrices by cuBLAS and cuBLASLt, over ctypes.

Not by CuPy's own functions: these refuse to run while a CUDA graph is captured, have no bfloat16 in
stacks of matrices and make float32 of float16 there, and copy views that cuBLAS can read as they lie.

Arrays are in rows, cuBLAS's matrices in columns: what is C = A B here is Cᵀ = Bᵀ Aᵀ there.
"""

from __future__ import annotations

import ctypes
import importlib
from ctypes import byref, c_float, c_int, c_int64, c_longlong, c_size_t, c_uint64, c_void_p
from math import prod
from typing import Any

import numpy as np

# cudaDataType, cublasComputeType_t, cublasLtEpilogue_t and kin, of CUDA 12 and 13
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
FLOAT32, FLOAT64, TF32 = 68, 70, 77
TRANS_A, TRANS_B, EPILOGUE, BIAS, BIAS_TYPE = 3, 4, 7, 8, 26
WITH_BIAS = 4
MAX_WORKSPACE = 1

WORKSPACE = 32 << 20  # bytes, as cuBLAS has on Hopper; given, so that graphs can be captured
allow_tf32 = False  # in products of float32; see settings.set_float32_matmul_precision

_P, _I, _L = c_void_p, c_int, c_longlong
_SIGNATURES = {
    "cublasCreate_v2": (_P,),
    "cublasSetStream_v2": (_P, _P),
    "cublasSetWorkspace_v2": (_P, _P, c_size_t),
    "cublasGemmStridedBatchedEx": (_P, _I, _I, _I, _I, _I, _P, _P, _I, _I, _L, _P, _I, _I, _L, _P, _P,
                                   _I, _I, _L, _I, _I, _I),
    "cublasLtMatmulDescCreate": (_P, _I, _I),
    "cublasLtMatmulDescSetAttribute": (_P, _I, _P, c_size_t),
    "cublasLtMatrixLayoutCreate": (_P, _I, c_uint64, c_uint64, c_int64),
    "cublasLtMatmulPreferenceCreate": (_P,),
    "cublasLtMatmulPreferenceSetAttribute": (_P, _I, _P, c_size_t),
    "cublasLtMatmulAlgoGetHeuristic": (_P, _P, _P, _P, _P, _P, _P, _I, _P, _P),
    "cublasLtMatmul": (_P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, _P, c_size_t, _P),
}  # fmt: skip


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm, and what is known of it."""

    _fields_ = [("algorithm", c_uint64 * 8), ("workspace", c_size_t), ("state", c_int),
                ("waves", c_float), ("reserved", c_int * 4)]  # fmt: skip


def libraries() -> tuple[Any, Any] | None:
    """cuBLAS and cuBLASLt, of NVIDIA's wheels or of the system; None where they are not found."""
    try:
        finder = importlib.import_module("cuda.pathfinder")
        found = [
            ctypes.CDLL(finder.load_nvidia_dynamic_lib(n).abs_path) for n in ("cublas", "cublasLt")
        ]
    except (ImportError, RuntimeError, OSError):  # pathfinder's own error is a RuntimeError
        return None
    for name, arguments in _SIGNATURES.items():
        function = getattr(found[name.startswith("cublasLt")], name)
        function.argtypes, function.restype = arguments, c_int
    return found[0], found[1]


def lies(x: Any) -> tuple[int, int] | None:
    """(transposed or not, leading dimension) of matrices (..., N, M), or None if they need a copy."""
    (n, m), (down, along) = x.shape[-2:], (s // x.itemsize for s in x.strides[-2:])
    if (along == 1 or m == 1) and (down >= m or n == 1):
        return 0, max(down if n > 1 else m, m)
    if (down == 1 or n == 1) and (along >= n or m == 1):
        return 1, max(along if m > 1 else n, n)
    return None


class Blas:
    """The products on one device, in one thread: a handle of cuBLAS is bound to both.

    xp: the backend, which says where arrays are; cublas, lt: the libraries; stream(): the current one
    """

    def __init__(self, xp: Any, cublas: Any, lt: Any, stream: Any) -> None:
        self.xp, self.cublas, self.lt, self.stream = xp, cublas, lt, stream
        self.handle = c_void_p()
        _check(cublas.cublasCreate_v2(byref(self.handle)), "cublasCreate")  # cuBLASLt takes it, too
        self.workspace = xp.empty(WORKSPACE, "uint8")
        self.used: Any = None  # the stream that the handle has
        self.plans: dict[Any, Any] = {}
        self.numbers = {
            (kind, v): kind(v) for kind in (c_float, ctypes.c_double) for v in (0.0, 1.0)
        }

    def matmul(self, a: Any, b: Any) -> Any:
        """(..., N, K) @ (..., K, M), with broadcasting; None for vectors, and for other dtypes."""
        if a.ndim < 2 or b.ndim < 2 or a.dtype != b.dtype or a.dtype.name not in TYPES:
            return None
        (n, k), m = a.shape[-2:], b.shape[-1]
        if k != b.shape[-2]:
            raise ValueError(
                f"matmul: expected inner dimensions of one size, got {k} and {b.shape[-2]}"
            )
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = self.xp.empty((*lead, n, m), a.dtype)
        if not out.size or not k:
            out.fill(0)
            return out
        a, step_a = self._stack(a, lead)
        b, step_b = self._stack(b, lead)
        (turn_a, ld_a), (turn_b, ld_b) = lies(a), lies(b)  # type: ignore[misc]
        kind, one, zero = self._kind(a.dtype)
        if (stream := self.stream()) != self.used:
            _check(self.cublas.cublasSetStream_v2(self.handle, stream), "cublasSetStream")
            self._give_workspace()
            self.used = stream
        t, address = TYPES[a.dtype.name], self.xp.address
        _check(self.cublas.cublasGemmStridedBatchedEx(
            self.handle, turn_b, turn_a, m, n, k, byref(one), address(b), t, ld_b, step_b, address(a),
            t, ld_a, step_a, byref(zero), address(out), t, m, n * m, prod(lead), kind, -1,
        ), f"a product of ({n}, {k}) and ({k}, {m}) in {a.dtype.name}")  # fmt: skip
        return out

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        """x wᵀ + b in one launch: (N, K), (M, K), (M,) -> (N, M); None where the library has none."""
        same = x.dtype == w.dtype == b.dtype and x.dtype.name in TYPES
        if not same or x.dtype == "float64" or not x.size or not w.size:
            return None
        x, w = (a if lies(a) else self.xp.ascontiguousarray(a) for a in (x, w))
        b = b if b.strides == (b.itemsize,) else self.xp.ascontiguousarray(b)
        key = (x.shape, w.shape, x.dtype.name, lies(x), lies(w), allow_tf32)
        if key not in self.plans:
            self.plans[key] = self._plan(x, w)
        if self.plans[key] is None:
            return None
        call, left, right, result, found = self.plans[key]
        address, (_, one, zero) = self.xp.address, self._kind(x.dtype)
        self._set(call, BIAS, c_uint64(address(b)))
        y = self.xp.empty((x.shape[0], w.shape[0]), x.dtype)
        _check(self.lt.cublasLtMatmul(
            self.handle, call, byref(one), address(w), left, address(x), right, byref(zero), address(y),
            result, address(y), result, byref(found.algorithm), address(self.workspace), WORKSPACE,
            self.stream(),
        ), "cublasLtMatmul")  # fmt: skip
        return y

    def _plan(self, x: Any, w: Any) -> Any:
        """What cuBLASLt needs for one kind of `linear`: yᵀ (M, N) = w (M, K) xᵀ (K, N)."""
        (n, k), m = x.shape, w.shape[0]
        t = TYPES[x.dtype.name]
        (turn_x, ld_x), (turn_w, ld_w) = lies(x), lies(w)  # type: ignore[misc]
        call = _made(self.lt.cublasLtMatmulDescCreate, self._kind(x.dtype)[0], TYPES["float32"])
        for which, value in ((TRANS_A, 1 - turn_w), (TRANS_B, turn_x), (EPILOGUE, WITH_BIAS),
                             (BIAS_TYPE, t)):  # fmt: skip
            self._set(call, which, c_int(value))
        self._set(call, BIAS, c_uint64(self.xp.address(self.workspace)))  # to know the alignment by
        layout = self.lt.cublasLtMatrixLayoutCreate
        left = _made(layout, t, *((m, k) if turn_w else (k, m)), ld_w)
        right = _made(layout, t, *((n, k) if turn_x else (k, n)), ld_x)
        result = _made(layout, t, m, n, m)
        wish = _made(self.lt.cublasLtMatmulPreferenceCreate)
        most = c_uint64(WORKSPACE)
        _check(
            self.lt.cublasLtMatmulPreferenceSetAttribute(wish, MAX_WORKSPACE, byref(most), 8),
            "cublasLtMatmulPreferenceSetAttribute",
        )
        found, count = Heuristic(), c_int()
        status = self.lt.cublasLtMatmulAlgoGetHeuristic(
            self.handle, call, left, right, result, result, wish, 1, byref(found), byref(count)
        )
        if status or not count.value or found.state:
            return None
        return call, left, right, result, found

    def _kind(self, d: Any) -> tuple[int, Any, Any]:
        """The type that is computed in, and 1 and 0 in it."""
        number = ctypes.c_double if d == "float64" else c_float
        kind = FLOAT64 if d == "float64" else TF32 if allow_tf32 and d == "float32" else FLOAT32
        return kind, self.numbers[number, 1.0], self.numbers[number, 0.0]

    def _stack(self, x: Any, lead: tuple[int, ...]) -> tuple[Any, int]:
        """x, or a copy, that cuBLAS can step through; and the step between matrices, in elements."""
        if prod(x.shape[:-2]) == 1:
            x = x.reshape(x.shape[-2:])
            return (x if lies(x) else self.xp.ascontiguousarray(x)), 0
        if x.shape[:-2] != lead:
            x = self.xp.broadcast_to(x, (*lead, *x.shape[-2:]))
        steps = [(s, k) for s, k in zip(x.strides[:-2], lead) if k != 1]
        even = all(s == t * k for (s, _), (t, k) in zip(steps, steps[1:]))
        if not even or not lies(x):
            x = self.xp.ascontiguousarray(x)
            return x, x.shape[-2] * x.shape[-1]
        return x, steps[-1][0] // x.itemsize

    def _give_workspace(self) -> None:
        """A stream that is set takes the workspace away."""
        where = self.xp.address(self.workspace)
        _check(
            self.cublas.cublasSetWorkspace_v2(self.handle, where, WORKSPACE), "cublasSetWorkspace"
        )

    def _set(self, call: Any, which: int, value: Any) -> None:
        size = ctypes.sizeof(value)
        status = self.lt.cublasLtMatmulDescSetAttribute(call, which, byref(value), size)
        _check(status, "cublasLtMatmulDescSetAttribute")


def _made(create: Any, *arguments: Any) -> Any:
    made = c_void_p()
    _check(create(byref(made), *arguments), create.__name__)
    return made


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"cuBLAS: {what} failed with status {status}")
