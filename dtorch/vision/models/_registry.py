"""The functions that build models: by name, and with published weights."""

from __future__ import annotations

import fnmatch
import functools
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from dtorch import nn

from ._weights import CLASSES, Weights

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])
BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register(**with_weights: Any) -> Callable[[Builder], Builder]:
    """Makes a function one of the models, and gives it `weights=` (also as `pretrained=`).

    with_weights: arguments that go with published weights, unless the caller says otherwise
    """

    def decorate(function: Builder) -> Builder:
        name = function.__name__
        weights_class = CLASSES[name]

        @functools.wraps(function)
        def build(
            weights: Any = None, *, pretrained: Any = None, progress: bool = True, **options: Any
        ) -> nn.Module:
            chosen = weights_class.verify(pretrained if weights is None else weights)
            if chosen is None:
                return function(**options)
            if options.setdefault("num_classes", chosen.classes) != chosen.classes:
                raise ValueError(
                    f"the weights {chosen} have {chosen.classes} classes, got num_classes="
                    f"{options['num_classes']}: load them first, then replace the last layer"
                )
            state = chosen.get_state_dict()  # before a model that may be large is made
            model = function(**(with_weights | chosen.options | options))
            if getattr(model, "aux_logits", True) is False:
                state = {k: v for k, v in state.items() if not k.lower().startswith("aux")}
            model.load_state_dict(state)
            return model

        BUILDERS[name] = build
        return build  # type: ignore[return-value]

    return decorate


def list_models(
    module: ModuleType | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> list[str]:
    """The models' names, sorted.

    module: only those of this module
    include, exclude: patterns with * and ?
    """
    names = set(BUILDERS)
    if module is not None:
        names = {n for n in names if getattr(module, n, None) is BUILDERS[n]}
    if include:
        names = _matching(names, include)
    if exclude:
        names -= _matching(names, exclude)
    return sorted(names)


def _matching(names: set[str], patterns: str | Iterable[str]) -> set[str]:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern)}


def get_model_builder(name: str) -> Callable[..., nn.Module]:
    """The function of a model; ValueError for an unknown name."""
    if name.lower() not in BUILDERS:
        raise ValueError(f"Unknown model {name}; list_models() has those that there are")
    return BUILDERS[name.lower()]


def get_model(name: str, **config: Any) -> nn.Module:
    """A model by name, with the arguments of its function."""
    return get_model_builder(name)(**config)


def get_model_weights(name: str | Callable[..., nn.Module]) -> type[Weights]:
    """The published weights of a model, given as a name or as its function."""
    return CLASSES[get_model_builder(name if isinstance(name, str) else name.__name__).__name__]


def get_weight(name: str) -> Weights:
    """Weights by their full name, as "ResNet50_Weights.IMAGENET1K_V2"."""
    class_name, _, member = name.partition(".")
    found = getattr(sys.modules[__package__], class_name, None)
    if not (isinstance(found, type) and issubclass(found, Weights)):
        raise ValueError(f"Unknown weights {name}; expected, say, ResNet50_Weights.IMAGENET1K_V2")
    return found[member]
