"""The names in files: torch's own, so that torch reads what is written here, and the reverse."""

from __future__ import annotations

import importlib
import operator
from collections import Counter, OrderedDict
from functools import cache
from typing import Any

from .. import device as devices
from .. import dtype as dtypes
from .. import rebuild
from ..storage import CLASSES, UntypedStorage
from ..tensor import Size, Tensor


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, as a pickle of protocol 2 holds them."""
    if encoding != "latin1":
        raise ValueError(f"bytes are encoded as latin1 in pickles, got {encoding!r}")
    return text.encode("latin1")


@cache
def harmless() -> dict[str, Any]:
    """What any file may name: making these, and calling them, can do no harm."""
    parameter = importlib.import_module("dtorch.nn.parameter")  # a floor up, so by name
    table: dict[str, Any] = {
        "collections.OrderedDict": OrderedDict,
        "collections.Counter": Counter,
        "_codecs.encode": _encode,
        "builtins.bytearray": bytearray,
        "builtins.bytes": bytes,
        "builtins.set": set,
        "builtins.complex": complex,
        "torch.Size": Size,
        "torch.Tensor": Tensor,
        "torch.device": devices.device,
        "torch.nn.parameter.Parameter": parameter.Parameter,
        "torch.serialization._get_layout": rebuild._get_layout,
        "torch._tensor._rebuild_from_type_v2": rebuild._rebuild_from_type_v2,
        "torch._utils._rebuild_parameter": parameter._rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": parameter._rebuild_parameter_with_state,
        "torch.storage.UntypedStorage": UntypedStorage,
    }
    for function in (
        rebuild._rebuild_tensor, rebuild._rebuild_tensor_v2, rebuild._rebuild_tensor_v3,
        rebuild._rebuild_sparse_tensor,
    ):  # fmt: skip
        table[f"torch._utils.{function.__name__}"] = function
    table |= {f"torch.{name}": cls for name, cls in CLASSES.items()}
    return table | {f"torch.{d.name}": d for d in dtypes.ALL.values()}


@cache
def _written() -> dict[int, tuple[str, str]]:
    split = {id(x): path.rpartition(".") for path, x in harmless().items()}
    return {key: (module, name) for key, (module, _, name) in split.items() if "torch" in module}


# torch's files for layers that are in other ones here.
_FILES = {
    name: file
    for file, names in {
        "activation": "MultiheadAttention",
        "channelshuffle": "ChannelShuffle",
        "distance": "CosineSimilarity PairwiseDistance",
        "flatten": "Flatten Unflatten",
        "fold": "Fold Unfold",
        "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
        "linear": "NonDynamicallyQuantizableLinear",
        "pixelshuffle": "PixelShuffle PixelUnshuffle",
        "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    }.items()
    for name in names.split()
}


_ROOTS = {"torch": "dtorch", "torchvision": "dtorch.vision"}


def torchs_name(x: Any) -> tuple[str, str] | None:
    """The module and name under which torch knows this object, if it does."""
    if id(x) in _written():
        return _written()[id(x)]
    module, name = getattr(x, "__module__", None) or "", getattr(x, "__qualname__", "")
    if not module.startswith("dtorch."):
        return None
    if module.startswith("dtorch.nn.modules.") and not name.startswith("_"):
        file = _FILES.get(name, module.rpartition(".")[2])
        return f"torch.nn.modules.{'padding' if name[:-2].endswith('Pad') else file}", name
    if module.startswith(("dtorch.vision.models.", "dtorch.vision.ops.")):
        return "torchvision" + module[len("dtorch.vision") :], name
    if getattr(importlib.import_module("dtorch.nn.functional"), name, None) is x:
        return "torch.nn.functional", name
    return None


def here(module: str, name: str) -> tuple[str, str]:
    """The module that holds here what torch has in `module` under `name`: torch.nn -> dtorch.nn.

    Files of ours are not cut in the same places, so its parents are looked through too.
    AttributeError where none has it.
    """
    root = module.partition(".")[0]
    if root not in _ROOTS:
        return module, name
    path = _ROOTS[root] + module[len(root) :]
    places = [path.rsplit(".", n)[0] for n in range(path.count(".") + 1)]
    for place in (*places, "dtorch.nn.functional"):  # torch's own has some functions in torch._C
        try:
            operator.attrgetter(name)(importlib.import_module(place))
        except (ModuleNotFoundError, AttributeError):
            continue
        return place, name
    raise AttributeError(f"the file needs {module}.{name}, which dtorch does not have")
