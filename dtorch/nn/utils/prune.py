"""Pruning: masks that set part of a parameter to zero before each forward.

module.name becomes name_orig (the parameter) times name_mask (a buffer); several prunings of one
parameter combine in a PruningContainer, where each works on what the ones before have left.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numbers
from abc import ABC, abstractmethod

from ...core.ops.create import ones_like, zeros_like
from ...core.ops.join import cat
from ...core.ops.norms import norm
from ...core.ops.random import rand_like
from ...core.ops.sort import topk


class BasePruningMethod(ABC):
    """The hook that computes module.name, and what a method of pruning has to define.

    PRUNING_TYPE: "unstructured", "structured" or "global"; compute_mask(t, default_mask) returns
    the mask of tensor t, where default_mask is what earlier prunings have left.
    """

    _tensor_name: str
    PRUNING_TYPE = "unstructured"

    def __call__(self, module, inputs):
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t, default_mask):
        """The mask of `t`, of its shape: 1 to keep, 0 to prune."""

    def apply_mask(self, module):
        """The masked tensor."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        original = getattr(module, name + "_orig")
        return getattr(module, name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        """Prune module.name; the method is cls(*args, **kwargs).  Returns the hook."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = _hook(module, name)
        original = getattr(module, name)
        if importance_scores is None:
            scores = original
        else:
            scores = importance_scores
            if scores.shape != original.shape:
                raise ValueError(
                    f"importance_scores should have the same shape as parameter {name} of "
                    f"{module}: expected {tuple(original.shape)}, got {tuple(scores.shape)}"
                )
        hook, mask = method, None
        if earlier is not None:
            mask = getattr(module, name + "_mask")
            first = module._forward_pre_hooks[earlier]
            hook = PruningContainer()
            hook._tensor_name = name
            for m in first if isinstance(first, PruningContainer) else [first]:
                hook.add_pruning_method(m)
            hook.add_pruning_method(method)
        else:
            mask = ones_like(scores)
        mask = hook.compute_mask(scores, mask).to(original.dtype)
        if earlier is None:
            param = module._parameters.pop(name)
            module.register_parameter(name + "_orig", param)
            module.register_buffer(name + "_mask", mask)
        else:
            del module._forward_pre_hooks[earlier]
            setattr(module, name + "_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def prune(self, t, default_mask=None, importance_scores=None):
        """The pruned version of a tensor by this method, without a module."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise ValueError(
                f"importance_scores should have the same shape as tensor t: expected "
                f"{tuple(t.shape)}, got {tuple(scores.shape)}"
            )
        mask = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default_mask=mask)

    def remove(self, module):
        """Make the pruned values those of the parameter itself."""
        name = self._tensor_name
        pruned = self.apply_mask(module)
        delattr(module, name)
        original = module._parameters.pop(name + "_orig")
        original.data = pruned.detach()
        del module._buffers[name + "_mask"]
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several prunings of one parameter, in turn."""

    def __init__(self, *args):
        self._pruning_methods = ()
        if args:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method):
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method._tensor_name != self._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self):
        return len(self._pruning_methods)

    def __iter__(self):
        return iter(self._pruning_methods)

    def __getitem__(self, i):
        return self._pruning_methods[i]

    def compute_mask(self, t, default_mask):
        """The newest method's mask over what is left."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            left = mask == 1
        elif method.PRUNING_TYPE == "structured":
            d = method.dim % t.ndim
            others = tuple(i for i in range(t.ndim) if i != d)
            kept = mask.sum(others) != 0
            left = (slice(None),) * d + (kept,)
        elif method.PRUNING_TYPE == "global":
            left = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask = mask.clone()
        mask[left] = method.compute_mask(t[left], default_mask=mask[left]).to(mask.dtype)
        return mask


def _hook(module, name):
    """The key of the hook that prunes module.name, or None."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key
    return None


# ---- how much ------------------------------------------------------------------------------------


def _check_amount(amount):
    """ValueError or TypeError unless `amount` is a fraction in [0, 1] or a count."""
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if amount < 0 or (not whole and amount > 1):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer"
        )


def _to_prune(amount, of):
    """How many of `of` to prune; ValueError if there are not as many."""
    if not isinstance(amount, numbers.Integral):
        return round(amount * of)
    if amount > of:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={of}"
        )
    return amount


# ---- methods -------------------------------------------------------------------------------------


class Identity(BasePruningMethod):
    """Prunes nothing: it only makes the mask."""

    def compute_mask(self, t, default_mask):
        return default_mask


class _Unstructured(BasePruningMethod):
    """The elements whose score is lowest."""

    def __init__(self, amount):
        _check_amount(amount)
        self.amount = amount

    def score(self, t):
        raise NotImplementedError

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        n = _to_prune(self.amount, t.numel())
        if n:
            lowest = topk(self.score(t).reshape(-1), n, largest=False).indices
            mask.view(-1)[lowest] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Elements at random."""

    def score(self, t):
        return rand_like(t)


class L1Unstructured(_Unstructured):
    """The elements that are smallest in magnitude."""

    def score(self, t):
        return t.abs()


class _Structured(BasePruningMethod):
    """The slices along `dim` whose score is lowest."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim=-1):
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def score(self, t):
        """A number for each slice.  (size of dim,)"""
        raise NotImplementedError

    def compute_mask(self, t, default_mask):
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of "
                f"shape {tuple(t.shape)} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {tuple(t.shape)}")
        size = t.shape[self.dim]
        n = _to_prune(self.amount, size)
        if not n:
            return default_mask
        highest = topk(self.score(t), size - n, largest=True).indices
        mask = zeros_like(t)
        mask[(slice(None),) * (self.dim % t.ndim) + (highest,)] = 1
        return mask * default_mask.to(mask.dtype)


class RandomStructured(_Structured):
    """Slices at random."""

    def score(self, t):
        return t.new_empty(t.shape[self.dim]).uniform_()


class LnStructured(_Structured):
    """The slices whose norm of order n is smallest."""

    def __init__(self, amount, n, dim=-1):
        super().__init__(amount, dim)
        self.n = n

    def score(self, t):
        others = tuple(d for d in range(t.ndim) if d != self.dim % t.ndim)
        return norm(t, self.n, others)


class CustomFromMask(BasePruningMethod):
    """What a given mask has as 0."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"expected a mask of shape {tuple(default_mask.shape)}, got "
                f"{tuple(self.mask.shape)}"
            )
        return default_mask * self.mask.to(default_mask.dtype)


# ---- functions -----------------------------------------------------------------------------------


def identity(module, name):
    """Make mask and original of module.name without pruning; returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name, amount):
    """Prune `amount` (a fraction or a count) elements at random; returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name, amount, importance_scores=None):
    """Prune the elements that are smallest in magnitude (or score); returns the module."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module, name, amount, dim):
    """Prune slices along `dim` at random; returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prune the slices along `dim` whose norm of order n is smallest; returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name, mask):
    """Prune what the mask has as 0; returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prune several parameters as if they were one.

    parameters: an iterable of (module, name); importance_scores: {(module, name): scores}
    """
    parameters = list(parameters)
    scores = importance_scores or {}
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores should be a dict")
    if not parameters:
        raise TypeError("global_unstructured(): parameters should be a list of (module, name)")
    named = [scores.get((m, name), getattr(m, name)) for m, name in parameters]
    masks = [getattr(m, name + "_mask", ones_like(getattr(m, name))) for m, name in parameters]
    method = PruningContainer()
    method._tensor_name = "temp"
    new = pruning_method(**kwargs)
    new._tensor_name = "temp"
    if new.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
            f"{pruning_method} of type {new.PRUNING_TYPE}"
        )
    method.add_pruning_method(new)
    flat = cat([t.detach().reshape(-1) for t in named])
    mask = method.compute_mask(flat, cat([m.reshape(-1) for m in masks]))
    sizes = [t.numel() for t in named]
    for (module, name), part in zip(parameters, mask.split(sizes)):
        custom_from_mask(module, name, part.reshape(getattr(module, name).shape))


def remove(module, name):
    """Make the pruning permanent: module.name is a plain parameter again.  Returns the module."""
    key = _hook(module, name)
    if key is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    module._forward_pre_hooks.pop(key).remove(module)
    return module


def is_pruned(module):
    """Whether a parameter of the module, or of one below it, is pruned."""
    return any(
        isinstance(hook, BasePruningMethod)
        for m in module.modules()
        for hook in m._forward_pre_hooks.values()
    )
