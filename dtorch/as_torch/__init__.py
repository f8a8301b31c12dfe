"""Run programs that were written for PyTorch, as they are, on dtorch.

    python -m dtorch.as_torch train.py --epochs 3     # a script, with its arguments
    python -m dtorch.as_torch -m package.train        # a module
    dtorch-run --as-torch --nproc-per-node 2 train.py # on several ranks

As a library, before anything imports torch:

    import dtorch.as_torch
    dtorch.as_torch.install()

From then on `import torch`, `import torch.nn.functional as F`, `from torchvision import datasets` and
the like get dtorch's own modules, in this process and in those that multiprocessing starts. A name
that dtorch does not have raises AttributeError or ImportError, which names the nearest one.

finder.py  the import hook
names.py   where dtorch has what torch has under another name, and what to say of a missing one
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.spawn
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..core import dtype as dtypes
from ..version import TORCH, TorchVersion
from .finder import Finder, Module

__all__ = ["install"]


def install() -> None:
    """Let `torch` and `torchvision` be dtorch's modules from now on; a second call does nothing.

    `torch.__version__`, which is `dtorch.__version__`, tells the version of torch whose interface
    dtorch follows.  ImportError if torch itself has been imported already.
    """
    dtorch: Any = sys.modules["dtorch"]
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    for name in ("torch", "torchvision"):
        if name in sys.modules:
            raise ImportError(
                f"{name} has been imported already, from {sys.modules[name].__file__}: call "
                "dtorch.as_torch.install() before whatever imports it"
            )
    sys.meta_path.insert(0, Finder())
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "dtorch" and type(module) is type(sys):
            module.__class__ = Module
    dtorch.__version__ = TorchVersion(f"{TORCH}+dtorch.{dtorch.__version__}")
    dtypes.package = "torch"
    _reach_started_processes()


class _Call:
    """What becomes the result of a call where it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def _reach_started_processes() -> None:
    """Let what multiprocessing starts install the hook before it imports the main script.

    A new process first unpickles what this function returns.  It has not got its sys.path then, so
    that comes first.  A fork server would import the script by itself, without the hook: it must not.
    """
    prepare = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        path = _Call(setattr, _Call(import_module, "sys"), "path", list(sys.path))
        return {"dtorch's path": path, "dtorch as torch": _Call(install), **prepare(name)}

    multiprocessing.spawn.get_preparation_data = get_preparation_data
    multiprocessing.set_forkserver_preload([])
