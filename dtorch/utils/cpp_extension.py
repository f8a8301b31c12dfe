"""torch.utils.cpp_extension's names.  Extensions are compiled against torch: each function refuses."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "BuildExtension", "CUDAExtension", "CUDA_HOME", "CppExtension", "include_paths", "load",
    "load_inline",
]  # fmt: skip

CUDA_HOME = None


def _refuse(*args: Any, **options: Any) -> NoReturn:
    raise RuntimeError(
        "C++ and CUDA extensions of PyTorch call its C++ library, which dtorch does not have. Use the "
        "extension's fallback in Python if it has one; new ops are dtorch.autograd.Function's."
    )


class BuildExtension:
    """The command of setup.py that compiles extensions."""

    __init__ = with_options = _refuse


load = load_inline = CppExtension = CUDAExtension = include_paths = _refuse
