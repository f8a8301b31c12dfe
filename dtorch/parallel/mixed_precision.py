"""DDP's own mixed precision: forward and backward in a lower one, parameters and steps in theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dtorch
from dtorch.core.tensor import Tensor
from dtorch.nn.modules.module import Module
from dtorch.nn.utils.stateless import functional_call

from .scatter_gather import map_tensors


@dataclass
class _MixedPrecision:
    """What DistributedDataParallel(mixed_precision=...) takes.  Only floating tensors are cast.

    The module has its cast parameters during forward only: what backward calls again, as
    utils.checkpoint does, raises for the dtypes that don't meet (use dtorch.autocast there).

    param_dtype: of the parameters, and of the inputs, in forward and backward.  The module keeps its
        own, which optimizers step and state_dict has; gradients are of that dtype, too
    reduce_dtype: what gradients are rounded to while they are averaged; param_dtype if None
    buffer_dtype: what the module's buffers become
    """

    param_dtype: dtorch.dtype | None = None
    reduce_dtype: dtorch.dtype | None = None
    buffer_dtype: dtorch.dtype | None = None

    @property
    def communicated(self) -> dtorch.dtype | None:
        """The dtype to average in; None: the gradients' own."""
        return self.reduce_dtype or self.param_dtype

    def cast_buffers(self, module: Module, ignored: set[str]) -> None:
        for name, b in module.named_buffers():
            if name not in ignored:
                b.data = _cast(b.data, self.buffer_dtype)

    def call(self, module: Module, inputs: Any, kwargs: Any, ignored: set[str]) -> Any:
        """module(*inputs, **kwargs) in param_dtype; gradients come back through the casts."""
        if self.param_dtype is None:
            return module(*inputs, **kwargs)
        params = {
            name: _cast(p, self.param_dtype)
            for name, p in module.named_parameters()
            if name not in ignored
        }
        inputs, kwargs = map_tensors(lambda t: _cast(t, self.param_dtype), (inputs, kwargs))
        return functional_call(module, params, inputs, kwargs)


def _cast(t: Tensor, dtype: dtorch.dtype | None) -> Tensor:
    return t if dtype is None or not t.is_floating_point() else t.to(dtype)
