"""NVIDIA's compiler as a library, which needs neither a GPU nor a driver."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _found() -> tuple[Path, Path] | None:
    """The library and the folder of CUDA's headers, of NVIDIA's wheels."""
    spec = importlib.util.find_spec("nvidia")
    for base in (spec.submodule_search_locations or ()) if spec else ():
        libraries = [p for p in Path(base).rglob("libnvrtc.so.*") if "alt" not in p.name]
        headers = list(Path(base).rglob("cuda_fp16.h"))
        if libraries and headers:
            return libraries[0], headers[0].parent
    return None


def why_not() -> str | None:
    if _found() is None:
        return "NVRTC is not installed: make test-gpu-build"
    return None


def compiled(source: str, names: list[str], arch: int) -> tuple[bytes, list[str]]:
    """The binary for sm_<arch>, and what the instances of kernels are called in it."""
    library, headers = _found() or (Path(), Path())
    for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))  # NVRTC asks for it by name, and finds it where it is loaded
    nvrtc = ctypes.CDLL(str(library))
    program = ctypes.c_void_p()

    def call(name: str, *arguments: Any) -> int:
        return getattr(nvrtc, "nvrtc" + name)(*arguments)

    assert not call(
        "CreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None
    )
    for name in names:
        assert not call("AddNameExpression", program, name.encode())
    options = [f"-arch=sm_{arch}".encode(), b"-std=c++17", f"-I{headers}".encode()]
    given = (ctypes.c_char_p * len(options))(*options)
    failed = call("CompileProgram", program, len(options), given)
    assert not failed, _text(call, program, "ProgramLog").decode()
    found = []
    for name in names:
        lowered = ctypes.c_char_p()
        assert not call("GetLoweredName", program, name.encode(), ctypes.byref(lowered)), name
        found.append(str(lowered.value))
    return _text(call, program, "CUBIN"), found


def _text(call: Any, program: Any, what: str) -> bytes:
    size = ctypes.c_size_t()
    call(f"Get{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    call(f"Get{what}", program, buffer)
    return buffer.raw
