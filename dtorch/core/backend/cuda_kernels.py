"""Our own CUDA kernels (cuda_kernels.cu), called with arrays.

Each function takes a backend first, as kernels do, and returns None where it has nothing for what
it is given: other dtypes, or no elements.  A launch names an instance of a kernel as C++ writes it;
ints go as long long and floats as float.  Nothing here imports CuPy: the tests run the same functions
on NumPy's arrays, with a backend whose `launch` runs the source on the CPU.
"""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

TYPES = {
    np.dtype("float32"): "float",
    np.dtype("float16"): "__half",
    np.dtype(ml_dtypes.bfloat16): "__nv_bfloat16",
}
ACTIVATIONS = ("Gelu", "GeluTanh", "Silu")
_THREADS = 256
_MOST_BLOCKS = 4096  # of kernels that loop over their elements
_PRELUDE = """#include <cuda_fp16.h>
#include <cuda_bf16.h>
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
"""


def source() -> str:
    """The text for NVRTC."""
    return _PRELUDE + Path(__file__).with_suffix(".cu").read_text()


def names() -> list[str]:
    """Every instance that is launched from here."""
    found = ["keep_mask"]
    for t in TYPES.values():
        found += [
            f"{k}<{t}, {log}>" for k in ("softmax", "softmax_grad") for log in ("false", "true")
        ]
        found += [f"{k}<{t}, {f}>" for k in ("activate", "activate_grad") for f in ACTIVATIONS]
        found += [f"{k}<{t}, {w}>" for k in ("norm", "norm_grad", "norm_channels")
                  for w in dict.fromkeys((t, "float"))]  # fmt: skip
        found += [f"{k}<{t}>" for k in (
            "cross_entropy", "cross_entropy_grad", "norm_columns", "add_slabs", "embedding",
            "embedding_grad", "max_pool", "max_pool_grad", "window_sum", "window_spread",
            "lstm_cell", "lstm_cell_grad",
        )]  # fmt: skip
    return found


def _argument(a: Any) -> Any:
    """As CuPy takes it: a null pointer as eight bytes of zero, and floats, which would be doubles."""
    if a is None:
        return 0
    return np.float32(a) if type(a) is float else a


class Launcher:
    """launch(name, blocks, threads, *arguments), by CuPy; the source is compiled on the first call.

    CuPy keeps what NVRTC made of it in a folder, for later processes.
    """

    def __init__(self, cp: Any) -> None:
        self._cp = cp
        self._functions: dict[str, Any] = {}
        self._bad: dict[int, Any] = {}

    def __call__(self, name: str, blocks: Any, threads: int, *arguments: Any) -> None:
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._module().get_function(name)
        blocks = blocks if isinstance(blocks, tuple) else (blocks,)
        function(blocks, (threads,), tuple(map(_argument, arguments)))

    def _module(self) -> Any:
        if "" not in self._functions:
            self._functions[""] = self._cp.RawModule(
                code=source(), options=("-std=c++17",), name_expressions=tuple(names())
            )
        return self._functions[""]

    def bad(self) -> Any:
        """The current device's count of indices that were out of range: int32 (1,)"""
        device = self._cp.cuda.get_device_id()
        if device not in self._bad:
            self._bad[device] = self._cp.zeros(1, "int32")
        return self._bad[device]

    def check(self) -> None:
        """IndexError if an index was out of range since the last look.  Waits for the GPU."""
        for device in list(self._bad):
            if (n := int(self._bad[device][0])) > 0:
                del self._bad[device]
                raise IndexError(
                    f"{n} indices or targets were out of range in gather, embedding, cross_entropy or "
                    "kin on the GPU, some calls ago: expected 0 <= index < the number of elements, "
                    "rows or classes. Run the step on the CPU to see which"
                )


# ---- what all need ---------------------------------------------------------------------------


def _type(*arrays: Any) -> str | None:
    """The C++ type of the arrays, if it is one and the same, of which there are kernels."""
    first = arrays[0].dtype
    if not all(a is None or a.dtype == first for a in arrays) or not arrays[0].size:
        return None
    return TYPES.get(first)


def _dense(xp: Any, *arrays: Any) -> list[Any]:
    return [a if a is None else xp.ascontiguousarray(a) for a in arrays]


def _blocks(n: int, threads: int = _THREADS) -> int:
    return min(-(-n // threads), _MOST_BLOCKS)


def _threads(n: int) -> int:
    """How many threads a block has that goes over n elements: a power of two, 32 to 1024."""
    return min(1024, max(32, 1 << (n - 1).bit_length())) if n else 32


# ---- over rows -------------------------------------------------------------------------------


def softmax(xp: Any, x: Any, log: bool) -> Any:
    """Over the last dimension."""
    t = _type(x)
    if t is None:
        return None
    (x,), y, n = _dense(xp, x), xp.empty(x.shape, x.dtype), x.shape[-1]
    xp.launch(f"softmax<{t}, {_cpp(log)}>", x.size // n, _threads(n), x, y, n)
    return y


def softmax_grad(xp: Any, g: Any, y: Any, log: bool) -> Any:
    t = _type(g, y)
    if t is None:
        return None
    (g, y), gx, n = _dense(xp, g, y), xp.empty(y.shape, y.dtype), y.shape[-1]
    xp.launch(f"softmax_grad<{t}, {_cpp(log)}>", y.size // n, _threads(n), g, y, gx, n)
    return gx


def _cpp(flag: bool) -> str:
    return "true" if flag else "false"


def cross_entropy(xp: Any, x: Any, target: Any, ignored: int) -> Any:
    """x: (N, C), target: (N,) int64 -> each row's loss and log(sum(exp(x))), float32 (N,)"""
    t = _type(x)
    if t is None or target.dtype != "int64":
        return None
    x, target = _dense(xp, x, target)
    loss, lse = (xp.empty(len(x), "float32") for _ in range(2))
    n = x.shape[1]
    xp.launch(
        f"cross_entropy<{t}>", len(x), _threads(n), x, target, loss, lse, n, ignored, xp.bad()
    )
    return loss, lse


def cross_entropy_grad(xp: Any, x: Any, target: Any, lse: Any, scale: Any, ignored: int) -> Any:
    """scale: the gradient of each row's loss, float32 (N,), or of all rows', (1,)"""
    t = _type(x)
    x, target, scale = _dense(xp, x, target, scale)
    gx, n = xp.empty(x.shape, x.dtype), x.shape[1]
    every = int(scale.size > 1)
    xp.launch(f"cross_entropy_grad<{t}>", len(x), _threads(n), x, target, lse, scale, gx, n, ignored,
              every)  # fmt: skip
    return gx


# ---- norms -----------------------------------------------------------------------------------


@cache
def _sets(view: tuple[int, ...], dims: tuple[int, ...], affine: tuple[int, ...]) -> Any:
    """How norm's kernels see x: n, inner, sets, groups, per_group, run (`Sets` in the source).

    view: x's shape; dims: what a mean is over; affine: the weights' shape, 1 where they are constant
    """
    n = prod(view[d] for d in dims)
    sets = prod(view) // n if n else 0
    last = tuple(range(len(view) - len(dims), len(view)))
    if dims == last:  # rows; their weights repeat from one set of `groups` to the next
        own = [affine[d] for d in dims]
        groups = prod(affine) // prod(own)
        lead = [d for d in range(last[0]) if affine[d] != 1]
        if lead and lead != [last[0] - 1] or own[1:] != [1] * (len(own) - 1):
            return None
        return n, n, sets, groups, own[0], n // own[0]
    if len(view) == 3 and dims == (0, 2) and affine == (1, view[1], 1):
        return n, view[2], sets, sets, 1, n
    return None


def _norm_types(x: Any, *weights: Any) -> tuple[str, str] | None:
    t, given = _type(x), [w for w in weights if w is not None]
    if not given:
        return (t, "float") if t else None
    w = _type(*given)
    return (t, w) if t and w in (t, "float") else None


def norm(xp: Any, x: Any, w: Any, b: Any, view: Any, dims: Any, affine: Any, eps: float,
         center: bool) -> Any:  # fmt: skip
    """x normalized, and the means and variances, float32 in the shape of view with dims 1."""
    types, sets = _norm_types(x, w, b), _sets(view, dims, affine)
    if types is None or sets is None:
        return None
    x, w, b = _dense(xp, x, w, b)
    y = xp.empty(x.shape, x.dtype)
    shape = [1 if d in dims else n for d, n in enumerate(view)]
    mean, var = (xp.empty(shape, "float32") for _ in range(2))
    xp.launch("norm<{}, {}>".format(*types), sets[2], _threads(sets[0]), x, w, b, y, mean, var, *sets,
              float(eps), int(center))  # fmt: skip
    return y, mean, var


def norm_grad(xp: Any, g: Any, x: Any, w: Any, b: Any, mean: Any, var: Any, needs: Any, view: Any,
              dims: Any, affine: Any, eps: float, center: bool) -> Any:  # fmt: skip
    """The gradients in x, w and b, None where none is needed."""
    types, sets = _norm_types(x, w, b), _sets(view, dims, affine)
    if types is None or sets is None or g.dtype != x.dtype or mean.dtype != "float32":
        return None
    g, x, w, mean, var = _dense(xp, g, x, w, mean, var)
    gx = gw = gb = None
    eps = float(eps)
    if needs[0]:
        gx = xp.empty(x.shape, x.dtype)
        xp.launch("norm_grad<{}, {}>".format(*types), sets[2], _threads(sets[0]), g, x, w, mean, var,
                  gx, *sets, eps, int(center))  # fmt: skip
    if needs[1] or needs[2]:
        gw, gb = (
            xp.empty(v.shape, v.dtype) if need else None
            for v, need in ((w, needs[1]), (b, needs[2]))
        )
        if sets[3:] == (1, sets[0], 1):
            _columns(xp, types, g, x, mean, var, gw, gb, sets[2], sets[0], eps)
        else:
            n, _, count, groups, per_group, run = sets
            xp.launch("norm_channels<{}, {}>".format(*types), groups * per_group,
                      _threads(count // groups * run), g, x, mean, var, gw, gb, *sets, eps)  # fmt: skip
    return gx, gw, gb


def _columns(xp: Any, types: Any, g: Any, x: Any, mean: Any, var: Any, gw: Any, gb: Any, rows: int,
             n: int, eps: float) -> None:  # fmt: skip
    """gw and gb (None, or (n,)) of rows with a weight for each column."""
    slab = max(32, -(-rows // 128))
    slabs = -(-rows // slab)
    parts = [xp.empty((slabs, n), "float32") for _ in range(2)]
    xp.launch(f"norm_columns<{types[0]}>", (-(-n // 128), slabs), 128, g, x, mean, var, *parts, rows,
              n, slab, eps)  # fmt: skip
    for part, out in zip(parts, (gw, gb)):
        if out is not None:
            xp.launch(f"add_slabs<{types[1]}>", _blocks(n), _THREADS, part, out, slabs, n)


# ---- elementwise, random ---------------------------------------------------------------------


def activation(xp: Any, x: Any, which: str) -> Any:
    t = _type(x)
    if t is None:
        return None
    (x,), y = _dense(xp, x), xp.empty(x.shape, x.dtype)
    xp.launch(f"activate<{t}, {which}>", _blocks(x.size), _THREADS, x, y, x.size)
    return y


def activation_grad(xp: Any, g: Any, x: Any, which: str) -> Any:
    t = _type(g, x)
    if t is None:
        return None
    (g, x), gx = _dense(xp, g, x), xp.empty(x.shape, x.dtype)
    xp.launch(f"activate_grad<{t}, {which}>", _blocks(x.size), _THREADS, g, x, gx, x.size)
    return gx


def keep_mask(xp: Any, shape: Any, seed: int, offset: int, least: int) -> Any:
    """bool: where the stream's 32-bit words from a state on, (seed, offset), are >= least."""
    mask = xp.empty(shape, "bool")
    if mask.size:  # NumPy's engine adds 1 to its counter, then takes the block
        xp.launch("keep_mask", _blocks(-(-mask.size // 8)), _THREADS, mask, mask.size,
                  np.uint64(seed), np.uint64(offset + 1), np.uint64(least))  # fmt: skip
    return mask


# ---- embedding -------------------------------------------------------------------------------


def embedding(xp: Any, w: Any, index: Any) -> Any:
    """The rows of w (V, D) that integers (*) name: (*, D); NaN, and counted, out of range."""
    t = _type(w)
    if t is None or not index.size:
        return None
    w, index = _dense(xp, w, index.astype("int64", copy=False))
    rows, n = w.shape
    y = xp.empty((*index.shape, n), w.dtype)
    xp.launch(f"embedding<{t}>", index.size, _threads(n), w, index, y, rows, n, xp.bad())
    return y


def embedding_grad(xp: Any, g: Any, index: Any, shape: Any, padding: int | None,
                   by_frequency: bool) -> Any:  # fmt: skip
    """(V, D): the rows of g added up where they were looked up, in an order that does not vary."""
    t = _type(g)
    if t is None:
        return None
    g, index = _dense(xp, g, index.reshape(-1).astype("int64", copy=False))
    order = xp.argsort(index, kind="stable").astype("int64", copy=False)
    gw, n = xp.zeros(shape, g.dtype), shape[1]
    xp.launch(f"embedding_grad<{t}>", index.size, _threads(n), g, index[order], order, gw, index.size,
              shape[0], n, -1 if padding is None else padding, int(by_frequency))  # fmt: skip
    return gw


# ---- pooling ---------------------------------------------------------------------------------


def _window(geo: Any) -> list[int] | None:
    """A geometry as the kernels take it: of images, and of lines as images of height 1."""
    if len(geo.size) > 2:
        return None
    fill = 2 - len(geo.size)
    parts = zip((geo.size, geo.kernel, geo.out, geo.stride, geo.padding, geo.dilation),
                (1, 1, 1, 1, 0, 1))  # fmt: skip
    return [k for part, one in parts for k in ((one,) * fill + tuple(part))]


def max_pool(xp: Any, x: Any, geo: Any, positions: bool = False) -> Any:
    """The windows' maxima; or the positions of these in their windows, int32."""
    t, window = _type(x), _window(geo)
    if t is None or window is None:
        return None
    (x,) = _dense(xp, x)
    y = xp.empty(x.shape[: -len(geo.size)] + geo.out, "int32" if positions else x.dtype)
    outputs = (None, y) if positions else (y, None)
    xp.launch(f"max_pool<{t}>", _blocks(y.size), _THREADS, x, *outputs, y.size, *window)
    return y


def max_pool_grad(xp: Any, g: Any, where: Any, geo: Any) -> Any:
    t, window = _type(g), _window(geo)
    if t is None or window is None or where.dtype != "int32":
        return None
    g, where = _dense(xp, g, where)
    gx = xp.empty(g.shape[: -len(geo.size)] + geo.size, g.dtype)
    xp.launch(f"max_pool_grad<{t}>", _blocks(gx.size), _THREADS, g, where, gx, gx.size, *window)
    return gx


def mean_pool(xp: Any, x: Any, geo: Any, count: Any) -> Any:
    """The windows' sums / count"""
    return _mean(xp, "window_sum", x, geo, geo.out, count)


def mean_pool_grad(xp: Any, g: Any, geo: Any, count: Any) -> Any:
    return _mean(xp, "window_spread", g, geo, geo.size, count)


def _mean(xp: Any, kernel: str, x: Any, geo: Any, size: Any, count: Any) -> Any:
    t, window = _type(x), _window(geo)
    if t is None or window is None or not isinstance(count, int):
        return None
    (x,) = _dense(xp, x)
    y = xp.empty(x.shape[: -len(geo.size)] + size, x.dtype)
    xp.launch(f"{kernel}<{t}>", _blocks(y.size), _THREADS, x, y, y.size, 1.0 / count, *window)
    return y


# ---- cells -----------------------------------------------------------------------------------


def lstm_cell(xp: Any, gates: Any, sums: Any, c: Any, h_new: Any, c_new: Any) -> None:
    """One step: gates + sums (N, 4H) become the gates' values, in place; h_new, c_new are written."""
    _cell(xp, "lstm_cell", c, gates, sums, c, h_new, c_new)


def lstm_cell_grad(xp: Any, gates: Any, c: Any, c_new: Any, gh: Any, gy: Any, gc: Any, gcs: Any,
                   ga: Any) -> None:  # fmt: skip
    """The gradient ga (N, 4H) of the gates' sums, written; gc becomes that of the old state."""
    _cell(xp, "lstm_cell_grad", c, gates, c, c_new, gh, gy, gc, gcs, ga)


def _cell(xp: Any, kernel: str, state: Any, *arrays: Any) -> None:
    n, size = state.shape
    name = f"{kernel}<{_type(*arrays)}>"
    xp.launch(name, _blocks(state.size), _THREADS, *arrays, n, size)
