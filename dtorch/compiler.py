"""torch.compile and torch.compiler's names: there is no compiler, and functions run as they are.

What a script asks for is accepted, so that it runs; what it asks about is answered truly.
`dtorch.as_torch` has it as torch._dynamo, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
]  # fmt: skip

config = SimpleNamespace()  # takes whatever a script sets


def compile(model: Any = None, **options: Any) -> Any:
    """The function or module itself: nothing is compiled.  Without one, a decorator.

    options: torch's (fullgraph, dynamic, backend, mode, options, disable), and change nothing

    A module's state_dict keeps its keys; torch's gets the prefix `_orig_mod.`.
    """
    unknown = options.keys() - {"fullgraph", "dynamic", "backend", "mode", "options", "disable"}
    if unknown:
        raise TypeError(f"compile() got an unexpected keyword argument {min(unknown)!r}")
    return _itself if model is None else _itself(model)


def _itself(model: Any) -> Any:
    if not callable(model):
        raise RuntimeError(f"compile() expects a function or a module, got {type(model).__name__}")
    return model


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself, which is not compiled.  Without one, a decorator."""
    return _itself if fn is None else _itself(fn)


def allow_in_graph(fn: Any) -> Any:
    """What it is given: there are no graphs."""
    return fn


def assume_constant_result(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn


def reset() -> None:
    """Forget what has been compiled, which is nothing."""


def cudagraph_mark_step_begin() -> None:
    """A mark for CUDA graphs, which are not made."""


@contextmanager
def set_stance(stance: str = "default", **options: Any) -> Any:
    """How compiled functions are run in the block: as they are, whatever the stance."""
    yield


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The compilers that there are: none."""
    return []


def is_compiling() -> bool:
    return False


def is_dynamo_compiling() -> bool:
    return False


def is_exporting() -> bool:
    return False
