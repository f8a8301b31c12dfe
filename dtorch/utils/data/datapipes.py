"""Base classes of datapipes: datasets that wrap one another by calls of methods.

These are the bases, and the decorator that makes a user's pipe a method of them.  torch's ready-made
pipes, which it develops no further, are not here.

    @functional_datapipe("doubled")
    class Doubler(IterDataPipe):
        def __init__(self, source): self.source = source
        def __iter__(self): return (2 * x for x in self.source)

    pipe.doubled()  # Doubler(pipe)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from .dataset import Dataset, IterableDataset

T_co = TypeVar("T_co", covariant=True)


class _Chained:
    """Registered functions as methods, whose first argument is the pipe."""

    functions: ClassVar[dict[str, Callable[..., Any]]]

    @classmethod
    def register_function(cls, function_name: str, function: Callable[..., Any]) -> None:
        """Make function(pipe, ...) a method of all pipes of this kind."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(
        cls, function_name: str, cls_to_register: type, enable_df_api_tracing: bool = False
    ) -> None:
        """register_function for a class of pipes; an Exception if the name is taken.

        enable_df_api_tracing: torch's, changes nothing
        """
        if function_name in cls.functions:
            raise Exception(  # noqa: TRY002 (torch's type)
                f"Unable to add DataPipe function name {function_name} as it is already taken"
            )
        cls.functions[function_name] = cls_to_register

    def __getattr__(self, name: str) -> Any:
        if name in type(self).functions:
            return functools.partial(type(self).functions[name], self)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


class IterDataPipe(_Chained, IterableDataset[T_co]):
    """An iterable dataset with registered pipes as methods: a subclass defines ``__iter__``."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}


class MapDataPipe(_Chained, Dataset[T_co]):
    """A dataset with registered pipes as methods: a subclass defines ``__getitem__``."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}


def functional_datapipe(name: str, enable_df_api_tracing: bool = False) -> Callable[[type], type]:
    """Decorates a class of pipes: registers it under `name` with the base that it derives from.

    TypeError for a class that derives from neither
    """

    def register(cls: type) -> type:
        for base in (IterDataPipe, MapDataPipe):
            if isinstance(cls, type) and issubclass(cls, base):
                base.register_datapipe_as_function(name, cls)
                return cls
        raise TypeError("`functional_datapipe` can only decorate IterDataPipe or MapDataPipe")

    return register
