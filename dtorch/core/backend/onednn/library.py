"""oneDNN's C interface over ctypes: finding the library, and its functions by name.

Only what every version 3 has is used: descriptors by strides or "any", never by format tags, whose
numbers change between versions.  Numbers here are those of dnnl_types.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

from ... import env
from .. import threads

P, Int, F, U = c_void_p, c_int, c_float, c_uint32
CPU, IN_ORDER, FLOAT32, ANY = 1, 1, 3, 1  # engine kind, stream flag, data type, format kind/tag
TRAINING, INFERENCE = 64, 96  # propagation kinds

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "engine_create": (P, Int, c_size_t),
    "stream_create": (P, P, U),
    "memory_desc_create_with_tag": (P, Int, P, Int, Int),
    "memory_desc_create_with_strides": (P, Int, P, Int, P),
    "memory_desc_equal": (P, P),
    "memory_desc_destroy": (P,),
    "memory_create": (P, P, P, P),
    "memory_destroy": (P,),
    "memory_set_data_handle": (P, P),
    "primitive_create": (P, P),
    "primitive_destroy": (P,),
    "primitive_execute": (P, P, Int, P),
    "primitive_desc_destroy": (P,),
    "primitive_desc_query": (P, Int, Int, P),
    "primitive_attr_create": (P,),
    "primitive_attr_destroy": (P,),
    "primitive_attr_set_post_ops": (P, P),
    "post_ops_create": (P,),
    "post_ops_destroy": (P,),
    "post_ops_append_binary": (P, Int, P),
    "binary_primitive_desc_create": (P, P, Int, P, P, P, P),
    "reorder_primitive_desc_create": (P, P, P, P, P, P),
    "matmul_primitive_desc_create": (P, P, P, P, P, P, P),
    "eltwise_forward_primitive_desc_create": (P, P, Int, Int, P, P, F, F, P),
    "eltwise_backward_primitive_desc_create": (P, P, Int, P, P, P, F, F, P, P),
    "softmax_forward_primitive_desc_create": (P, P, Int, Int, P, P, Int, P),
    "softmax_backward_primitive_desc_create": (P, P, Int, P, P, P, Int, P, P),
    "layer_normalization_forward_primitive_desc_create": (P, P, Int, P, P, P, F, U, P),
    "layer_normalization_backward_primitive_desc_create": (P, P, Int, P, P, P, P, F, U, P, P),
    "batch_normalization_forward_primitive_desc_create": (P, P, Int, P, P, F, U, P),
    "batch_normalization_backward_primitive_desc_create": (P, P, Int, P, P, P, F, U, P, P),
    "pooling_forward_primitive_desc_create": (P, P, Int, Int, P, P, P, P, P, P, P, P),
    "pooling_backward_primitive_desc_create": (P, P, Int, P, P, P, P, P, P, P, P, P),
    "convolution_forward_primitive_desc_create": (P, P, Int, Int, P, P, P, P, P, P, P, P, P),
    "convolution_backward_data_primitive_desc_create": (P, P, Int, P, P, P, P, P, P, P, P, P),
    "convolution_backward_weights_primitive_desc_create": (P, P, Int, P, P, P, P, P, P, P, P, P, P),
}  # fmt: skip
_STATUS = {1: "out of memory", 2: "invalid arguments", 3: "unimplemented", 5: "runtime error"}


class Unsupported(RuntimeError):
    """oneDNN has no implementation, or only its slow reference one, for what was asked."""


class Library:
    """The loaded library; `call(name, *args)` raises where oneDNN reports an error."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dll = ctypes.CDLL(path)
        version = self._version()
        if version[0] != 3:
            raise OSError(f"{path} is oneDNN {'.'.join(map(str, version))}; version 3 is needed")
        self.version = ".".join(map(str, version))
        self.functions: dict[str, Any] = {}
        for name, types in _SIGNATURES.items():
            function = getattr(self.dll, "dnnl_" + name)
            function.argtypes, function.restype = types, Int
            self.functions[name] = function
        query = self.dll.dnnl_primitive_desc_query_md
        query.argtypes, query.restype = (P, Int, Int), P
        self.query_md = query
        size = self.dll.dnnl_memory_desc_get_size
        size.argtypes, size.restype = (P,), c_size_t
        self.size_of = size
        self.set_pointer = self.functions["memory_set_data_handle"]
        self.execute = self.functions["primitive_execute"]
        self.engine = P()
        self.call("engine_create", byref(self.engine), CPU, 0)
        self._streams = threading.local()

    def _version(self) -> tuple[int, ...]:
        class Version(ctypes.Structure):
            _fields_ = [("major", Int), ("minor", Int), ("patch", Int)]

        self.dll.dnnl_version.restype = ctypes.POINTER(Version)
        v = self.dll.dnnl_version().contents
        return v.major, v.minor, v.patch

    def call(self, name: str, *args: Any) -> None:
        status = self.functions[name](*args)
        if status == 3:
            raise Unsupported(f"oneDNN: {name} is unimplemented for these arguments")
        if status:
            raise RuntimeError(f"oneDNN: {name} failed: {_STATUS.get(status, status)}")

    @property
    def stream(self) -> Any:
        """This thread's stream."""
        try:
            return self._streams.stream
        except AttributeError:
            stream = P()
            self.call("stream_create", byref(stream), self.engine, IN_ORDER)
            self._streams.stream = stream
            return stream


def dims(values: Any) -> Any:
    """A dnnl_dims_t."""
    return (c_int64 * 12)(*values)


generation = 0  # counts changes of the number of threads, to which primitives are bound


def forget() -> None:
    """Let all threads make their primitives anew."""
    global generation
    generation += 1


_loaded: Library | None = None
_looked = False  # whether that has been decided
_lock = threading.Lock()


def _candidates() -> list[str]:
    wanted = env.ONEDNN.get()
    if wanted not in ("on", "off"):
        return [wanted]
    return [os.path.join(sys.prefix, "lib", "libdnnl.so.3"), "libdnnl.so.3"]


def load() -> Library | None:
    """The library, loaded on first use; None where it is switched off or not installed."""
    global _loaded, _looked
    if not _looked:
        with _lock:
            if not _looked:
                _loaded = _load()
                _looked = True
                if _loaded is not None:
                    threads.prefer_openmp(forget)
                    os.register_at_fork(after_in_child=threads.after_fork)
    return _loaded


def _load() -> Library | None:
    wanted = env.ONEDNN.get()
    if wanted == "off":
        return None
    for path in _candidates():
        try:
            return Library(path)
        except OSError as error:
            if wanted != "on":
                raise OSError(f"DTORCH_ONEDNN={wanted!r} can't be loaded: {error}") from error
    return None
