"""torch.jit's names: functions and modules run as they are, in Python.

`script` and `trace` give back what they are given, so that code which was prepared for TorchScript
runs. There is no TorchScript: its files are neither written nor read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from .nn import Module

__all__ = [
    "Attribute", "Final", "ScriptFunction", "ScriptModule", "annotate", "export", "fork", "freeze",
    "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "load", "onednn_fusion_enabled",
    "optimize_for_inference", "optimized_execution", "save", "script", "script_if_tracing",
    "script_method", "set_fusion_strategy", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

_isinstance = isinstance


class ScriptModule(Module):
    """A module.  No other is one: script() makes none."""


class ScriptFunction:
    """The class of compiled functions, of which there are none."""


# ---- what would compile ------------------------------------------------------------------------


def script(obj: Any, *args: Any, **options: Any) -> Any:
    """The function, class or module itself; the options are torch's, and change nothing."""
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, example_kwarg_inputs: Any = None,
          **options: Any) -> Any:  # fmt: skip
    """The function or module itself, after one call on the example inputs.

    As it isn't recorded, it goes on deciding by what it is given, where torch's trace would repeat
    what it did on the examples.
    """
    kwargs = example_kwarg_inputs or {}
    given = () if example_inputs is None else example_inputs
    func(*(given if _isinstance(given, (tuple, list)) else (given,)), **kwargs)
    return func


def trace_module(mod: Module, inputs: dict[str, Any], *args: Any, **options: Any) -> Module:
    """The module itself, after one call of each method that `inputs` names."""
    for name, given in inputs.items():
        trace(getattr(mod, name), given)
    return mod


def _itself(obj: Any) -> Any:
    return obj


export = unused = interface = script_method = script_if_tracing = _itself


def ignore(drop: Any = False, **options: Any) -> Any:
    """The function itself; with options, a decorator."""
    return drop if callable(drop) else _itself


def freeze(mod: Module, *args: Any, **options: Any) -> Module:
    """The module itself, which has to be in evaluation mode."""
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() on "
            "your module before freezing."
        )
    return mod


def optimize_for_inference(mod: Module, other_methods: Any = None) -> Module:
    """The module itself."""
    return mod


# ---- what scripted code says -------------------------------------------------------------------


def is_scripting() -> bool:
    return False


def is_tracing() -> bool:
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


class Attribute:
    """A value with a type for the compiler: the value."""

    def __new__(cls, value: Any, type: Any) -> Any:
        return value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's own; the arguments of generic types, as in List[int], are not looked at."""
    kinds = target_type if _isinstance(target_type, tuple) else (target_type,)
    return _isinstance(obj, tuple(getattr(kind, "__origin__", kind) for kind in kinds))


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A Future of func(*args, **kwargs), which has been called when this returns."""
    from .futures import Future

    future: Any = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Any) -> Any:
    """The result of a Future."""
    return future.wait()


# ---- settings, which change nothing ------------------------------------------------------------


@contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    yield


def onednn_fusion_enabled() -> bool:
    return False


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted: there is nothing to fuse."""


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """What it is given: there is nothing to fuse."""
    return strategy


# ---- files -------------------------------------------------------------------------------------


def save(m: Any, f: Any, _extra_files: Any = None) -> NoReturn:
    """RuntimeError: only torch writes TorchScript."""
    raise RuntimeError(
        "dtorch has no TorchScript, so jit.save() can't write it. Use dtorch.save(module.state_dict(), "
        "f), or dtorch.save(module, f) for a module with its class."
    )


def load(f: Any, map_location: Any = None, _extra_files: Any = None) -> NoReturn:
    """RuntimeError: only torch reads TorchScript."""
    raise RuntimeError(
        "dtorch has no TorchScript, so jit.load() can't run its files. Have torch write the state_dict "
        "of the module, and load that into a module made here."
    )
