"""torch.types' names, for annotations."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from .core.device import device
from .core.dtype import dtype, layout
from .core.storage import TypedStorage, UntypedStorage
from .core.tensor import Size, Tensor

Number: TypeAlias = builtins.int | builtins.float | builtins.bool
Device: TypeAlias = device | str | builtins.int | None
FileLike: TypeAlias = str | os.PathLike[str] | Any
Storage: TypeAlias = TypedStorage | UntypedStorage
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_dtype, _device, _layout = dtype, device, layout
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_size: TypeAlias = Size | list[builtins.int] | tuple[builtins.int, ...]
