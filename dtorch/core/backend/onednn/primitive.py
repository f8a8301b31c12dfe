"""Primitives: oneDNN's compiled kernels for fixed shapes, kept by thread, fed with NumPy arrays."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import byref, c_char, c_char_p
from functools import wraps
from typing import Any

import numpy as np

from . import library as binding
from .library import ANY, FLOAT32, Int, Library, P, Unsupported, dims, load

# What an array is to a primitive: DNNL_ARG_*.
SRC, WEIGHTS, BIAS, DST, WORKSPACE = 1, 33, 41, 17, 64
MEAN, VARIANCE, SCALE, SHIFT = 49, 50, 51, 52
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 255, 256
# The number to ask a description by for the layout that oneDNN chose: dnnl_query_*_md.
_QUERY = {WEIGHTS: 131, DIFF_WEIGHTS: 132, WORKSPACE: 135}
_IMPLEMENTATION = 8  # dnnl_query_impl_info_str

KEPT = 1024  # primitives a thread keeps; an old one is made anew when it is needed again


class _Argument(ctypes.Structure):
    _fields_ = [("what", Int), ("memory", P)]


class _Owned(ctypes.c_void_p):
    """A handle of the library's, destroyed along with it."""

    kind: str

    def __del__(self) -> None:
        if self.value:
            library().functions[self.kind + "_destroy"](self)


class _Layout(_Owned):
    kind = "memory_desc"


class _Memory(_Owned):
    kind = "memory"


class _Compiled(_Owned):
    kind = "primitive"


class _Described(_Owned):
    kind = "primitive_desc"


def library() -> Library:
    """The library, which is there if anything of this module is used."""
    lib = load()
    assert lib is not None
    return lib


def described(shape: Any, strides: Any = None) -> Any:
    """The descriptor of a float32 array: shape, and strides in elements (default: C order)."""
    if strides is None:
        strides, step = [], 1
        for n in reversed(shape):
            strides.insert(0, step)
            step *= n
    out = _Layout()
    library().call("memory_desc_create_with_strides", byref(out), len(shape), dims(shape), FLOAT32,
                   dims(strides))  # fmt: skip
    return out


def described_any(shape: Any) -> Any:
    """A descriptor that leaves the layout to oneDNN."""
    out = _Layout()
    library().call("memory_desc_create_with_tag", byref(out), len(shape), dims(shape), FLOAT32, ANY)
    return out


def address(a: Any) -> int:
    """The address of an array's first element."""
    try:
        return ctypes.addressof(c_char.from_buffer(a))  # a quarter of the time of a.ctypes
    except (TypeError, ValueError, BufferError):  # not in C order, or read-only
        return a.__array_interface__["data"][0]


class Description:
    """A primitive's descriptor: Description("matmul", args).  `reference` ones are refused."""

    def __init__(self, name: str, *args: Any) -> None:
        self.handle = _Described()
        self._args = args  # what the library points to
        lib = library()
        lib.call(name + "_primitive_desc_create", byref(self.handle), lib.engine, *args)
        if self.implementation.startswith("ref"):
            raise Unsupported(f"oneDNN: {name} has only {self.implementation} for these arguments")

    @property
    def implementation(self) -> str:
        text = c_char_p()
        library().call("primitive_desc_query", self.handle, _IMPLEMENTATION, 0, byref(text))
        return (text.value or b"").decode()

    def layout(self, what: int) -> Any:
        """The memory descriptor that oneDNN chose for an argument."""
        return P(library().query_md(self.handle, _QUERY[what], 0))


class Primitive:
    """Primitive(description, (SRC, descriptor), ...); called with the arrays in that order."""

    def __init__(self, description: Any, *arguments: tuple[int, Any]) -> None:
        lib = library()
        self._description = description
        self._handle = _Compiled()
        lib.call("primitive_create", byref(self._handle), description.handle)
        self._memories = []
        for _, descriptor in arguments:
            memory = _Memory()
            lib.call("memory_create", byref(memory), descriptor, lib.engine, None)
            self._memories.append(memory)
        self._n = len(arguments)
        self._arguments = (_Argument * self._n)(
            *[_Argument(what, m) for (what, _), m in zip(arguments, self._memories)]
        )
        self._set, self._execute, self._stream = lib.set_pointer, lib.execute, lib.stream

    def __call__(self, *arrays: Any) -> None:
        for memory, a in zip(self._memories, arrays):
            self._set(memory, address(a))
        status = self._execute(self._handle, self._stream, self._n, self._arguments)
        if status:
            raise RuntimeError(f"oneDNN: a primitive failed with status {status}")


class _Reorder:
    """The description of a copy from one layout to another."""

    def __init__(self, source: Any, target: Any) -> None:
        self.handle = _Described()
        lib = library()
        lib.call("reorder_primitive_desc_create", byref(self.handle), source, lib.engine, target,
                 lib.engine, None)  # fmt: skip


def reorder(source: Any, target: Any) -> Primitive | None:
    """A copy from one layout to another; None where they are the same."""
    if library().functions["memory_desc_equal"](source, target):
        return None
    return Primitive(_Reorder(source, target), (SRC, source), (DST, target))


def buffer(descriptor: Any) -> Any:
    """Bytes that hold what has this (perhaps blocked) layout."""
    return np.empty(library().size_of(descriptor), np.uint8)


_kept = threading.local()


def kept(make: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what `make` gives for its (hashable) arguments, by thread; None where Unsupported.

    Memory objects hold the pointers of a call, so threads can't share them.
    """

    @wraps(make)
    def get(*key: Any) -> Any:
        mine = _kept.__dict__
        if mine.get("generation") != binding.generation:
            mine["generation"], mine["primitives"] = binding.generation, {}
        primitives = mine["primitives"]
        key = (make, *key)
        try:
            return primitives[key]
        except KeyError:
            try:
                made = make(*key[1:])
            except Unsupported:
                made = None
            if len(primitives) >= KEPT:
                primitives.clear()
            primitives[key] = made
            return made

    return get
