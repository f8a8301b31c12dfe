"""What cuBLAS is called with: a library stands in that reads the arguments as cuBLAS does."""

import ctypes
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

import dtorch
from dtorch.core.backend import cublas
from dtorch.core.op import REGISTRY

NAMES = {0: np.float32, 1: np.float64, 2: np.float16, 14: ml_dtypes.bfloat16}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 1.6e-2}


def columns(address, kind, ld, rows, cols):
    """The matrix (rows, cols) in columns at an address."""
    d = np.dtype(NAMES[kind])
    assert ld >= max(1, rows), "leading dimension too small"
    memory = (ctypes.c_char * ((ld * (cols - 1) + rows) * d.itemsize)).from_address(address)
    return np.ndarray((rows, cols), d, memory, strides=(d.itemsize, ld * d.itemsize))


class Library:
    """cuBLAS and cuBLASLt: a status from each call, 0 for success."""

    def __init__(self):
        self.things, self.kinds = {}, []

    def cublasCreate_v2(self, handle):
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.workspace = None
        return 0

    def cublasSetWorkspace_v2(self, handle, where, size):
        self.workspace = size
        return 0

    def cublasGemmStridedBatchedEx(self, handle, ta, tb, m, n, k, alpha, a, a_type, lda, sa, b, b_type,
                                   ldb, sb, beta, c, c_type, ldc, sc, count, kind, how):  # fmt: skip
        assert self.workspace == cublas.WORKSPACE
        self.kinds.append(kind)
        assert type(alpha._obj) is (ctypes.c_double if kind == cublas.FLOAT64 else ctypes.c_float)
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        size = np.dtype(NAMES[a_type]).itemsize
        for i in range(count):
            x = columns(a + i * sa * size, a_type, lda, *((k, m) if ta else (m, k)))
            y = columns(b + i * sb * size, b_type, ldb, *((n, k) if tb else (k, n)))
            x, y = ((v.T if t else v).astype("float64") for v, t in ((x, ta), (y, tb)))
            columns(c + i * sc * size, c_type, ldc, m, n)[...] = x @ y
        return 0

    def _new(self, place, **what):
        place._obj.value = len(self.things) + 1
        self.things[place._obj.value] = what
        return 0

    def cublasLtMatmulDescCreate(self, place, kind, scale):
        return self._new(place, kind=kind)

    def cublasLtMatrixLayoutCreate(self, place, kind, rows, cols, ld):
        return self._new(place, layout=(kind, ld, rows, cols))

    def cublasLtMatmulPreferenceCreate(self, place):
        return self._new(place)

    def cublasLtMatmulPreferenceSetAttribute(self, *arguments):
        return 0

    def cublasLtMatmulDescSetAttribute(self, call, which, value, size):
        assert ctypes.sizeof(value._obj) == size
        self.things[call.value][which] = value._obj.value
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, handle, call, a, b, c, d, wish, most, found, count):
        count._obj.value = 1
        return 0

    def cublasLtMatmul(self, handle, call, alpha, a, la, b, lb, beta, c, lc, d, ld, algorithm,
                       workspace, size, stream):  # fmt: skip
        call = self.things[call.value]
        x, y, out = (
            columns(p, *self.things[at.value]["layout"]) for p, at in ((a, la), (b, lb), (d, ld))
        )
        turns = ((x, call[cublas.TRANS_A]), (y, call[cublas.TRANS_B]))
        x, y = ((v.T if t else v).astype("float64") for v, t in turns)
        assert call[cublas.EPILOGUE] == cublas.WITH_BIAS
        bias = columns(call[cublas.BIAS], call[cublas.BIAS_TYPE], len(x), len(x), 1)
        out[...] = x @ y + bias.astype("float64")
        return 0


@pytest.fixture
def blas():
    def empty(shape, dtype):
        return np.full(shape, np.nan).astype(dtype) if dtype != "uint8" else np.zeros(64, "uint8")

    def contiguous(a):
        xp.copies += 1
        return np.ascontiguousarray(a)

    xp = SimpleNamespace(
        empty=empty, ascontiguousarray=contiguous, broadcast_to=np.broadcast_to, copies=0,
        address=lambda a: a.ctypes.data,
    )  # fmt: skip
    library = Library()
    return cublas.Blas(xp, library, library, lambda: 5)


def r(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


# name: (a, b, how many operands have to be copied)
PRODUCTS = {
    "as they are": (r(5, 3), r(3, 4), 0),
    "b transposed": (r(5, 3), r(4, 3).T, 0),
    "a transposed": (r(3, 5).T, r(3, 4), 0),
    "both transposed": (r(3, 5).T, r(4, 3).T, 0),
    "columns of a matrix": (r(5, 9)[:, 3:6], r(3, 4), 0),
    "columns, transposed": (r(9, 5)[3:6].T, r(7, 4)[2:5], 0),
    "every other column": (r(5, 6)[:, ::2], r(3, 4), 1),
    "backwards": (r(5, 3)[::-1], r(3, 4), 1),
    "a row": (r(1, 3), r(3, 4), 0),
    "a column": (r(5, 3), r(3, 1), 0),
    "an outer product": (r(5, 1), r(1, 4), 0),
    "one number": (r(1, 1), r(1, 1), 0),
    "a stack": (r(6, 5, 3), r(6, 3, 4), 0),
    "a stack, transposed": (r(6, 5, 3), r(6, 4, 3).transpose(0, 2, 1), 0),
    "a stack and a matrix": (r(6, 5, 3), r(3, 4), 0),
    "a matrix and a stack": (r(5, 3), r(2, 6, 3, 4), 0),
    "heads": (r(2, 9, 4, 3).transpose(0, 2, 1, 3), r(2, 9, 4, 3).transpose(0, 2, 3, 1), 2),
    "a stack that is broadcast": (r(2, 1, 5, 3), r(2, 6, 3, 4), 1),
    "two that are broadcast": (r(2, 1, 5, 3), r(6, 3, 4), 2),
    "every other matrix": (r(6, 5, 3)[::2], r(3, 3, 4), 0),
    "expanded": (np.broadcast_to(r(5, 3), (6, 5, 3)), r(6, 3, 4), 0),
    "nothing to add up": (r(5, 0), r(0, 4), 0),
    "nothing": (r(0, 3), r(3, 4), 0),
}


@pytest.mark.parametrize("case", PRODUCTS)
@pytest.mark.parametrize("dtype", list(NAMES.values()), ids=lambda d: np.dtype(d).name)
def test_products(blas, case, dtype):
    a, b, copies = PRODUCTS[case]
    layout = [np.broadcast_to(np.zeros(1, dtype), x.shape) for x in (a, b)]
    given = []
    for x in (a, b):  # the values in another dtype, lying in the same way
        whole = x
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        steps = [s // x.itemsize for s in x.strides]
        memory = whole.astype(dtype)
        start = (x.ctypes.data - whole.ctypes.data) // x.itemsize if x.size else 0
        given.append(np.lib.stride_tricks.as_strided(
            memory.reshape(-1)[start:], x.shape, [s * memory.itemsize for s in steps]
        ))  # fmt: skip
    assert [g.shape for g in given] == [x.shape for x in layout]
    got = blas.matmul(*given)
    want = given[0].astype("float64") @ given[1].astype("float64")
    assert got.dtype == dtype
    assert got.shape == want.shape
    np.testing.assert_allclose(
        got.astype("float64"), want, TOLERANCE[got.dtype.name], TOLERANCE[got.dtype.name]
    )
    assert blas.xp.copies == copies


@pytest.mark.parametrize("turn", ["", "x", "w", "xw"])
@pytest.mark.parametrize("dtype", [d for d in NAMES.values() if d is not np.float64])
def test_linear_with_a_bias_is_one_call(blas, turn, dtype):
    x, w, b = (r(*s).astype(dtype) for s in ((7, 3), (5, 3), (5,)))
    if "x" in turn:
        x = np.asfortranarray(x)
    if "w" in turn:
        w = np.asfortranarray(w)
    for bias in (b, b * 2):  # the second time by the same plan
        got = blas.linear(x, w, bias)
        want = x.astype("float64") @ w.astype("float64").T + bias.astype("float64")
        np.testing.assert_allclose(got.astype("float64"), want, 0.02, TOLERANCE[got.dtype.name])
    assert len(blas.plans) == 1


def test_tf32_is_for_float32_and_only_when_allowed(blas, monkeypatch):
    x = r(3, 3)
    for allowed in (False, True):
        monkeypatch.setattr(cublas, "allow_tf32", allowed)
        for dtype in ("float32", "float64", "float16"):
            blas.matmul(x.astype(dtype), x.astype(dtype))
    full = [cublas.FLOAT32, cublas.FLOAT64, cublas.FLOAT32]
    assert blas.cublas.kinds == [*full, cublas.TF32, *full[1:]]


def test_what_cublas_does_not_do_is_left(blas):
    assert blas.matmul(r(3, 3).astype("int64"), r(3, 3).astype("int64")) is None
    assert blas.matmul(r(3), r(3, 3)) is None
    assert blas.matmul(r(3, 3).astype("float32"), r(3, 3)) is None
    assert blas.linear(r(3, 3), r(3, 3), r(3)) is None
    with pytest.raises(ValueError, match="got 3 and 4"):
        blas.matmul(r(2, 3), r(4, 2))


def test_a_failure_says_which_product():
    library = Library()
    library.cublasGemmStridedBatchedEx = lambda *a: 13
    xp = SimpleNamespace(empty=np.empty, address=lambda a: a.ctypes.data)
    with pytest.raises(
        RuntimeError, match=r"\(2, 3\) and \(3, 4\) in float64 failed with status 13"
    ):
        cublas.Blas(xp, library, library, lambda: 5).matmul(r(2, 3), r(3, 4))


@pytest.mark.parametrize("shape", [(7, 3), (2, 4, 3)])
def test_products_of_the_ops_go_there(blas, shape):
    xp = SimpleNamespace(product=blas.matmul, linear=blas.linear)
    x, w, b = (r(*s).astype("float16") for s in (shape, (5, 3), (10,)))
    y = REGISTRY["_linear"].fused["cuda"](xp, x, w, b[::2])
    want = x.astype("float64") @ w.astype("float64").T + b[::2].astype("float64")
    assert y.dtype == "float16"
    np.testing.assert_allclose(y.astype("float64"), want, 0.01, 2e-3)
    y = REGISTRY["_bmm"].fused["cuda"](xp, x, w.T)
    np.testing.assert_allclose(y.astype("float64"), want - b[::2].astype("float64"), 0.01, 2e-3)


def test_tf32_is_asked_for_by_either_of_torchs_switches():
    switch = dtorch.backends.cuda.matmul
    assert (switch.allow_tf32, cublas.allow_tf32) == (False, False)
    try:
        switch.allow_tf32 = True
        assert dtorch.get_float32_matmul_precision() == "high"
        assert cublas.allow_tf32
    finally:
        dtorch.set_float32_matmul_precision("highest")
    assert (switch.allow_tf32, cublas.allow_tf32) == (False, False)


@pytest.mark.skipif(cublas.libraries() is None, reason="cuBLAS is not installed")
def test_the_libraries_have_these_functions_and_numbers():
    """Descriptors can be made without a GPU, and their attributes read back."""
    _, lt = cublas.libraries()
    call = cublas._made(lt.cublasLtMatmulDescCreate, cublas.FLOAT32, 0)
    values = {cublas.TRANS_A: 1, cublas.EPILOGUE: cublas.WITH_BIAS, cublas.BIAS_TYPE: 14}
    for which, value in values.items():
        given, got, size = ctypes.c_int(value), ctypes.c_int(), ctypes.c_size_t()
        assert not lt.cublasLtMatmulDescSetAttribute(call, which, ctypes.byref(given), 4)
        assert not lt.cublasLtMatmulDescGetAttribute(
            call, which, ctypes.byref(got), ctypes.c_size_t(4), ctypes.byref(size)
        )
        assert (got.value, size.value) == (value, 4)
    assert cublas._made(lt.cublasLtMatrixLayoutCreate, 14, 768, 3072, 768).value
