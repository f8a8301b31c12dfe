"""Weight normalization by a hook before forward: the older form of parametrizations.weight_norm.

Salimans and Kingma, "Weight normalization: a simple reparameterization to accelerate training of
deep neural networks" (2016).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings

from ...core.ops.norms import vector_norm
from ..parameter import Parameter


def norm_except_dim(v, pow=2, dim=0):
    """The norm of v over all dimensions but `dim`, which are kept as 1; dim=-1: over all, 0-d."""
    if dim == -1:
        return vector_norm(v, pow)
    others = tuple(d for d in range(v.ndim) if d != dim % v.ndim)
    return vector_norm(v, pow, others, keepdim=True) if others else v.abs()


def scaled(v, g, dim):
    """g v / |v|, with the norm over all dimensions but `dim`"""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The hook: computes module.name from module.name_g and module.name_v."""

    def __init__(self, name, dim):
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module):
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return scaled(v, g, self.dim)

    @staticmethod
    def apply(module, name, dim):
        if _hook(module, name) is not None:
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}"
            )
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        del module._parameters[name]
        g = norm_except_dim(weight, 2, hook.dim).detach()
        module.register_parameter(name + "_g", Parameter(g))
        module.register_parameter(name + "_v", Parameter(weight.detach()))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module):
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"], module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.detach()))

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module))


def _hook(module, name):
    """The key of the hook that makes module.name, or None."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            return key
    return None


def weight_norm(module, name="weight", dim=0):
    """Split module.name into its length name_g and its direction name_v; returns the module.

    Deprecated, as in torch, in favour of nn.utils.parametrizations.weight_norm.

    dim: the dimension along which lengths differ; None for one length of the whole
    """
    warnings.warn(
        "`nn.utils.weight_norm` is deprecated in favor of `nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module, name="weight"):
    """Make module.name a plain parameter again, with the value that it has; returns the module."""
    key = _hook(module, name)
    if key is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(key).remove(module)
    return module
