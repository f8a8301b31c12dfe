"""skip_init: a module whose parameters are left uninitialized."""

from __future__ import annotations

import inspect
from typing import Any

from ..modules.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Module:
    """module_cls(*args, **kwargs) with uninitialized parameters and buffers.

    TypeError for what is no Module class; RuntimeError for a class without device=.
    """
    if not isinstance(module_cls, type) or not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.get("device", "cpu")
    return module_cls(*args, **kwargs).to_empty(device=device)
