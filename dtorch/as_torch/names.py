"""Where dtorch has what torch has in a module of another name, and what to say of a missing one."""

from __future__ import annotations

import difflib
import pkgutil
from types import ModuleType

_SHAPES = "dtorch.nn.modules.shape"
# Modules of torch whose content is cut another way here.
_ELSEWHERE = {
    "torch._dynamo": "dtorch.compiler",
    "torch._tensor": "dtorch.core.tensor",
    "torch._utils": "dtorch.core.rebuild",
    "torch.autograd.grad_mode": "dtorch.autograd",
    "torch.distributed.distributed_c10d": "dtorch.distributed",
    "torch.functional": "dtorch",
    "torch.nn.modules.channelshuffle": _SHAPES,
    "torch.nn.modules.distance": _SHAPES,
    "torch.nn.modules.flatten": _SHAPES,
    "torch.nn.modules.fold": _SHAPES,
    "torch.nn.modules.instancenorm": "dtorch.nn.modules.batchnorm",
    "torch.nn.modules.padding": _SHAPES,
    "torch.nn.modules.pixelshuffle": _SHAPES,
    "torch.nn.modules.upsampling": _SHAPES,
    "torch.nn.parallel.comm": "dtorch.parallel.scatter_gather",
    "torch.nn.parallel.distributed": "dtorch.parallel.ddp",
    "torch.nn.parallel.scatter_gather": "dtorch.parallel.scatter_gather",
    "torch.torch_version": "dtorch.version",
    "torch.utils.data._utils": "dtorch.utils.data",
    "torch.utils.data._utils.collate": "dtorch.utils.data.collate",
    "torch.utils.data._utils.worker": "dtorch.utils.data.worker",
}


def place(name: str) -> str:
    """The module of dtorch that stands for one of torch's or torchvision's."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    root, dot, rest = name.partition(".")
    return {"torch": "dtorch", "torchvision": "dtorch.vision"}[root] + dot + rest


def torchs(name: str) -> str:
    """The name that scripts have for a module of dtorch, or for something in it."""
    if name == "dtorch.vision" or name.startswith("dtorch.vision."):
        return "torchvision" + name[len("dtorch.vision") :]
    return name.removeprefix("d")


def missing(module: ModuleType, name: str) -> str:
    """What an error says of a name that a module of dtorch does not have."""
    where = torchs(module.__name__)
    submodules = [found.name for found in pkgutil.iter_modules(module.__path__)]
    known = {n for n in [*dir(module), *submodules] if not n.startswith("_")}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"; the nearest name is {where}.{near[0]}" if near else ""
    return f"dtorch, which stands for {where.partition('.')[0]} here, has no {where}.{name}{hint}"
