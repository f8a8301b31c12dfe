"""From torch to dtorch: functions by name, tensors by value, modules by how they were made."""

from __future__ import annotations

import dataclasses
import functools
import types

import torch
from torch.nn.utils.rnn import PackedSequence

import dtorch

from .databases import MADE

DEVICE = "cpu"  # where dtorch's tensors go


def lookup(root, dotted):
    for part in dotted.split("."):
        root = getattr(root, part, None)
    return root


def home(*paths):
    """The first of the dotted names that torch has, other than as a dtype."""
    return next(p for p in paths if not isinstance(lookup(torch, p), (type(None), torch.dtype)))


def bind(fn, *paths):
    """dtorch's counterpart of a function or class of torch's, or None.

    A helper of the test databases (most are lambdas) is rebuilt so that `torch` in it means the
    candidate; anything else is looked up by its name, where torch has it."""
    if isinstance(fn, functools.partial):
        return bind(fn.func) and functools.partial(bind(fn.func), *fn.args, **fn.keywords)
    if getattr(fn, "__module__", None) == "_operator" or rebuild(fn, dtorch) is not fn:
        return rebuild(fn, dtorch)
    roots = "", "nn.functional.", "nn.", "nn.utils.rnn.", "Tensor."
    return lookup(dtorch, home(*(paths or (root + fn.__name__ for root in roots))))


def rebuild(fn, lib):
    """A test helper with `lib` for torch, and without the seed that some set before each call."""
    if not isinstance(fn, types.FunctionType) or not fn.__module__.startswith("torch.testing"):
        return fn
    if fn.__name__ == "wrapper_set_seed":
        return call
    names = {"torch": lib, "F": lookup(lib, "nn.functional"), "wrapper_set_seed": call}
    new = types.FunctionType(
        fn.__code__, fn.__globals__ | names, fn.__name__, fn.__defaults__, fn.__closure__
    )
    new.__kwdefaults__ = fn.__kwdefaults__
    return new


def call(fn, *args, **kwargs):
    return fn(*args, **kwargs)


def last_name(x):
    """The name of a dtype, layout ... of either library."""
    return str(x).split(".")[-1]


def numpy_copy(t):
    """A numpy copy of a tensor that keeps its strides, and its overlaps."""
    t = t.detach().resolve_conj().resolve_neg()
    if t.dtype == torch.bfloat16:
        t = t.float()
    storage = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage()).clone()
    return storage.as_strided(t.size(), t.stride(), t.storage_offset()).numpy()


def convert_tensor(t):
    if t.layout == torch.sparse_coo:
        t = t.coalesce()
        new = dtorch.sparse_coo_tensor(convert(t.indices()), convert(t.values()), tuple(t.shape))
    elif t.layout == torch.sparse_csr:
        new = dtorch.sparse_csr_tensor(
            convert(t.crow_indices()),
            convert(t.col_indices()),
            convert(t.values().detach()),
            tuple(t.shape),
        )
    else:
        new = dtorch.from_numpy(numpy_copy(t))
    if t.dtype == torch.bfloat16:
        new = new.to(dtorch.bfloat16)
    if DEVICE != "cpu":
        new = new.to(DEVICE)
    if isinstance(t, torch.nn.Parameter):
        return dtorch.nn.Parameter(new, t.requires_grad)
    return new.requires_grad_() if t.requires_grad else new


def convert(x, memo=None):
    """`x` with everything of torch's in it exchanged for dtorch's; the same tensor twice
    stays the same tensor twice."""
    memo = {} if memo is None else memo
    if isinstance(x, torch.Tensor):
        if id(x) not in memo:
            memo[id(x)] = convert_tensor(x)
        return memo[id(x)]
    if isinstance(x, torch.nn.Module):
        args, kwargs = convert(MADE[x], memo)
        new = bind(type(x))(*args, **kwargs)
        new.load_state_dict(convert(x.state_dict()))
        return new.to(DEVICE) if DEVICE != "cpu" else new
    if isinstance(x, (torch.dtype, torch.layout, torch.memory_format)):
        return getattr(dtorch, last_name(x))
    if isinstance(x, torch.device):
        return dtorch.device(convert(str(x)))
    if isinstance(x, str) and x == "cpu":
        return DEVICE
    if isinstance(x, torch.Size):
        return getattr(dtorch, "Size", tuple)(tuple(x))
    if isinstance(x, PackedSequence):  # its batch sizes stay on the CPU
        rest = convert([x.data, x.sorted_indices, x.unsorted_indices], memo)
        rest.insert(1, dtorch.from_numpy(x.batch_sizes.numpy()))
        return dtorch.nn.utils.rnn.PackedSequence(*rest)
    if isinstance(x, dict):
        return type(x)((k, convert(v, memo)) for k, v in x.items())
    if isinstance(x, (list, tuple)):
        return type(x)(convert(y, memo) for y in x)
    if isinstance(x, slice):
        return slice(*convert([x.start, x.stop, x.step], memo))
    if (getattr(x, "__module__", None) or "").startswith("torch."):
        if dataclasses.is_dataclass(x):
            given = {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
            return bind(type(x))(**convert(given, memo))
        return bind(x)
    return x


def leaves(tree, kind):
    """The tensors (of class `kind`) of a tree of lists, tuples and dicts, in order."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, (list, tuple, dict)):
        for x in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(x, kind)
