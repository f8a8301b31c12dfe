"""Array namespaces.  The only package that imports numpy, scipy or cupy for kernels.

A backend is a module that offers NumPy's names plus the few functions that NumPy lacks and training
needs (`erf`, `scatter_add` ...).  `of(array)` picks it by the array's type, never by protocol.
"""

from types import ModuleType
from typing import Any

from . import cpu
from .cpu import ndarray


def of(*arrays: object) -> ModuleType:
    """The backend whose arrays these are; the CPU's when there is none among them."""
    for a in arrays:
        if type(a) is ndarray:
            return cpu
        if type(a).__module__.partition(".")[0] == "cupy":
            from . import cuda

            return cuda
        values = getattr(a, "values", None)  # a sparse array is where these are
        if values is not None:
            return of(values)
    return cpu


def store(target: Any, values: Any, index: Any = ...) -> None:
    """target[index] = values, on the target's device."""
    if type(target) is ndarray:
        target[index] = values
        return
    with of(target).on(target):
        target[index] = values
