"""Tensors as pickle, deepcopy and save() see them: a storage, and where in it they lie.

The functions with a leading underscore have the names and arguments of torch's: pickles, and files
of save(), call them.
"""

from __future__ import annotations

import copy
import importlib
from collections import OrderedDict
from typing import Any

from . import dtype as dtypes
from .geometry import geometry, storable, strided
from .storage import CLASSES, storage, untyped_storage
from .tensor import Tensor, _init, as_subclass, new, settled, wrap


def reduce_tensor(t: Tensor) -> Any:
    """What Tensor.__reduce_ex__ returns: the call that makes the tensor again.

    The whole storage goes along: tensors of one pickle that share memory share it again.
    """
    state = state_of(t)
    make, args = reduce_plain(t)
    if type(t) is Tensor and not state:
        return make, args
    return _rebuild_from_type_v2, (make, type(t), args, state)


def reduce_plain(t: Tensor) -> Any:
    """reduce_tensor without the tensor's class and attributes."""
    if t.layout is not dtypes.strided:
        return _rebuild_sparse_tensor, (t.layout, _sparse_parts(t))
    a = storable(settled(t))
    shape, strides, offset = geometry(a)
    where: Any = (offset, shape, strides, t._rg, OrderedDict())
    typed = storage(wrap(a))
    if type(typed) in CLASSES.values():
        return _rebuild_tensor_v2, (typed, *where)
    return _rebuild_tensor_v3, (typed.untyped(), *where, t.dtype)


def state_of(t: Tensor) -> dict[str, Any]:
    """The attributes that a user has given a tensor."""
    return {k: v for k, v in t.__dict__.items() if k != "_retains"}


def set_state(t: Any, state: Any) -> Any:
    """Give a tensor its attributes again: a dict, or a pair of that and one of its slots."""
    if hasattr(type(t), "__setstate__"):
        t.__setstate__(state)
        return t
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    t.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        if name in Tensor.__slots__:
            raise ValueError(f"a tensor's {name} is not for files to set")
        setattr(t, name, value)
    return t


def deepcopy_tensor(t: Tensor, memo: dict[Any, Any], grad: bool = True) -> Tensor:
    """A leaf with memory of its own; tensors that shared memory share the copy, in one deepcopy().

    grad: whether its gradient is copied too
    """
    if t._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment. Use clone() or detach()."
        )
    if id(t) in memo:
        return memo[id(t)]
    result = memo[id(t)] = new(type(t))
    if t.layout is dtypes.strided:
        a = storable(settled(t))
        memory = copy.deepcopy(untyped_storage(wrap(a)), memo)._a
        _init(result, strided(memory, a.dtype, *geometry(a)))
    else:
        _init(result, t._a.copy())
    result._rg = t._rg
    if grad and t._grad is not None:
        result._grad = copy.deepcopy(t._grad, memo)
    result.__dict__.update(copy.deepcopy(state_of(t), memo))
    return result


# ---- what files and pickles call -------------------------------------------------------------


def _rebuild_tensor_v3(
    storage: Any, storage_offset: int, size: Any, stride: Any, requires_grad: bool,
    backward_hooks: Any, dtype: dtypes.dtype, metadata: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor at a place in a storage.  metadata: {"conj": True} and {"neg": True} were lazy."""
    memory = storage.untyped()._a
    t: Any = wrap(strided(memory, dtype.np, size, stride, storage_offset))
    for lazy in metadata or ():
        if lazy not in ("conj", "neg"):
            raise RuntimeError(f"the tensor has {lazy!r} noted on it, which dtorch doesn't know")
        t = getattr(t, lazy)()
    t.requires_grad_(requires_grad)
    for hook in (backward_hooks or {}).values():
        t.register_hook(hook)
    return t


def _rebuild_tensor_v2(
    storage: Any, storage_offset: int, size: Any, stride: Any, requires_grad: bool,
    backward_hooks: Any, metadata: Any = None,
) -> Tensor:  # fmt: skip
    return _rebuild_tensor_v3(
        storage, storage_offset, size, stride, requires_grad, backward_hooks, storage.dtype,
        metadata,
    )  # fmt: skip


def _rebuild_tensor(storage: Any, storage_offset: int, size: Any, stride: Any) -> Tensor:
    return _rebuild_tensor_v2(storage, storage_offset, size, stride, False, None)


def _rebuild_from_type_v2(func: Any, new_type: Any, args: Any, state: Any) -> Any:
    """A tensor of a subclass, or with attributes of its own."""
    if func not in (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3):
        raise TypeError(f"a tensor can't be made by {func}")
    if not (isinstance(new_type, type) and issubclass(new_type, Tensor)):
        raise TypeError(f"expected a subclass of Tensor, got {new_type}")
    if isinstance(state, dict) and state.pop("_is_buffer", False):  # torch's mark; ours is a class
        new_type = importlib.import_module("dtorch.nn.parameter").Buffer
    t = func(*args)
    return set_state(t if type(t) is new_type else as_subclass(t, new_type), state)


def _get_layout(name: str) -> dtypes.layout:
    found = dtypes.LAYOUTS.get(name.removeprefix("torch."))
    if found is None:
        raise RuntimeError(f"the file has a tensor of layout {name}, which dtorch does not have")
    return found


def _sparse_parts(t: Tensor) -> tuple[Any, ...]:
    """What makes a sparse tensor: its arrays, its size, and of COO ones whether coalesced."""
    coalesced = (t.is_coalesced(),) if t.is_sparse else ()
    return (*map(wrap, t._a.parts().values()), t.shape, *coalesced)


def _rebuild_sparse_tensor(layout: dtypes.layout, data: Any) -> Tensor:
    """A sparse tensor of its parts, whose indices are checked: a file may have any."""
    from .ops import sparse_create

    if layout is dtypes.sparse_coo:
        indices, values, size, *coalesced = data
        return sparse_create.sparse_coo_tensor(
            indices, values, size, check_invariants=True, is_coalesced=bool(*coalesced)
        )
    compressed, plain, values, size = data
    return sparse_create.sparse_compressed_tensor(
        compressed, plain, values, size, layout=layout, check_invariants=True
    )
