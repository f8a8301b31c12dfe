"""The import hook: torch's modules are dtorch's."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ..version import TORCH, TORCHVISION
from . import names

_VERSIONS = {"torch": TORCH, "torchvision": TORCHVISION}


class Module(ModuleType):
    """A module of dtorch that says what it lacks.

    `from module import name` with a name that is not there ends in CPython's own words, unless the
    module is a package: then its submodules are looked for, and the finder can say more. So all are.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            return []
        if self.__name__.startswith("dtorch.nn.modules."):  # torch has its layers in other files
            with suppress(AttributeError):
                return getattr(sys.modules["dtorch.nn"], name)
        raise AttributeError(names.missing(self, name), name=name, obj=self)


class Finder(DistributionFinder):
    """Finds torch and torchvision, and what installers would have noted of them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        root = fullname.partition(".")[0]
        if root in _VERSIONS:
            return ModuleSpec(fullname, _Same(import_module(names.place(fullname))))
        if root == "dtorch":
            return _spec_of_ours(fullname, path)
        return None

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        wanted = None if context is None else context.name
        return iter([_Installed(name) for name in _VERSIONS if wanted in (None, name)])


class _Same(Loader):
    """Loads a module that there is already, under another name."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # which the import system has just replaced


def _spec_of_ours(fullname: str, path: Sequence[str] | None) -> ModuleSpec:
    """A submodule of dtorch, to be made a Module; ModuleNotFoundError where there is none."""
    spec = PathFinder.find_spec(fullname, path)
    if spec is None:
        parent, _, name = fullname.rpartition(".")
        # Under its own name `from dtorch import name` would drop the error, and its text.
        raise ModuleNotFoundError(
            names.missing(sys.modules[parent], name), name=names.torchs(fullname)
        )
    if isinstance(spec.loader, SourceFileLoader):
        spec.loader.create_module = _new_module  # type: ignore[method-assign]
    return spec


def _new_module(spec: ModuleSpec) -> Module:
    module = Module(spec.name)
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    return module


class _Installed(Distribution):
    """torch as a package that is installed: `importlib.metadata.version("torch")`."""

    def __init__(self, name: str) -> None:
        self._metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {_VERSIONS[name]}\n"

    def read_text(self, filename: str) -> str | None:
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parents[2] / path
