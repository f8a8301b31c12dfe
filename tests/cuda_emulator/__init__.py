"""Our CUDA kernels on the CPU: the source, compiled by g++ with a header that plays the GPU."""

import ctypes
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dtorch.core.backend import cuda_kernels

_HERE = Path(__file__).parent
_SCALARS = {int: ctypes.c_longlong, float: ctypes.c_float, np.uint64: ctypes.c_ulonglong}


def backend(folder: Path) -> Any:
    """NumPy as a backend whose `launch` runs our kernels.  folder: where the library is built"""
    launch = _library(folder)
    bad = np.zeros(1, "int32")

    def run(name: str, blocks: Any, threads: int, *arguments: Any) -> None:
        held = [_argument(a) for a in arguments]
        places = (ctypes.c_void_p * len(held))(*[ctypes.addressof(a) for a in held])
        grid = (ctypes.c_uint * 2)(*(blocks if isinstance(blocks, tuple) else (blocks, 1)))
        assert launch(name.encode(), grid, threads, places), f"no kernel {name}"

    class Backend(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        @staticmethod
        def empty(shape: Any, dtype: Any) -> Any:
            """Nothing is what a kernel may rely on: NaN in every dtype."""
            a = np.empty(shape, dtype)
            a.reshape(-1).view("uint8").fill(255)
            return a

        @staticmethod
        def matmul(a: Any, b: Any) -> Any:
            return np.matmul(a.astype("float32"), b.astype("float32")).astype(a.dtype)

    return Backend(name="cuda", launch=run, bad=lambda: bad, capturing=lambda: False)


def _argument(a: Any) -> Any:
    if a is None:
        return ctypes.c_void_p(0)
    if isinstance(a, np.ndarray):
        assert a.flags.c_contiguous
        return ctypes.c_void_p(a.ctypes.data)
    return _SCALARS[type(a)](a)


def _library(folder: Path) -> Any:
    """launch(name, blocks, threads, arguments) -> whether there is that kernel"""
    cases = "\n".join(
        f'if (!strcmp(name, "{name}")) return emulator::launch({name}, blocks, threads, a), 1;'
        for name in cuda_kernels.names()
    )
    text = f"""
#include "emulator.h"
#include "cuda_kernels.cu"
extern "C" int launch(const char *name, unsigned *blocks, unsigned threads, void **a) {{
{cases}
return 0; }}
"""
    (folder / "kernels.cpp").write_text(text)
    source = Path(cuda_kernels.__file__).parent
    flags = [
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-U_FORTIFY_SOURCE",
        "-w",
        "-shared",
        "-fPIC",
    ]
    files = ["-o", folder / "kernels.so", folder / "kernels.cpp"]
    subprocess.run(["g++", *flags, f"-I{_HERE}", f"-I{source}", *files], check=True, timeout=100)
    return ctypes.CDLL(str(folder / "kernels.so")).launch
