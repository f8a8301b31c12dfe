"""From a list of samples to a batch, and from foreign values to tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from dtorch.core.dtype import float64
from dtorch.core.ops.create import as_tensor, tensor
from dtorch.core.ops.join import stack
from dtorch.core.tensor import Tensor

# NumPy's strings and objects have no tensor form.
_NOT_NUMERIC = "SUaO"


def default_collate(batch: Sequence[Any]) -> Any:
    """Joins samples into one batch, adding a first dimension of ``len(batch)``.

    Tensors and NumPy arrays of shape S become a tensor of shape (N, *S); Python and NumPy numbers
    a tensor of shape (N,) (floats float64, integers int64, as in torch); strings and bytes stay as
    they are. Dicts, tuples, named tuples and lists are joined member by member, keeping their type
    (plain tuples become lists, as in torch).

    Raises:
        RuntimeError: sequences of unequal length, or tensors of unequal shape.
        TypeError: a sample of any other type.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray) and first.dtype.kind not in _NOT_NUMERIC:
        return stack([as_tensor(x) for x in batch], 0)
    if isinstance(first, (np.bool_, np.number)):
        return as_tensor(np.array(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _same_mapping(first, {k: default_collate([s[k] for s in batch]) for k in first})
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError(
                "each element in list of batch should be of equal size; got lengths "
                f"{sorted({len(sample) for sample in batch})}"
            )
        members = [default_collate(samples) for samples in zip(*batch, strict=True)]
        return members if type(first) is tuple else _same_sequence(first, members)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {_describe(first)}. Return one of these from the dataset, or pass the DataLoader "
        "a collate_fn"
    )


def default_convert(data: Any) -> Any:
    """Turns NumPy arrays and numbers inside ``data`` into tensors; leaves everything else.

    What a DataLoader does to each sample when automatic batching is off (``batch_size=None``).
    """
    if isinstance(data, np.ndarray) and data.dtype.kind not in _NOT_NUMERIC:
        return as_tensor(data)
    if isinstance(data, (np.bool_, np.number)):
        return as_tensor(np.array(data))
    if isinstance(data, Mapping):
        return _same_mapping(data, {k: default_convert(v) for k, v in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        members = [default_convert(v) for v in data]
        return members if type(data) is tuple else _same_sequence(data, members)
    return data


def _same_mapping(like: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """``values`` as a mapping of ``like``'s type, with what else ``like`` carries."""
    if isinstance(like, MutableMapping):
        # Not type(like)(values): a defaultdict or a user's class may want other arguments.
        clone = copy.copy(like)
        clone.update(values)
        return clone
    return _or_plain(type(like), values)


def _same_sequence(like: Sequence[Any], members: list[Any]) -> Any:
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*members)
    if isinstance(like, MutableSequence):
        clone = copy.copy(like)
        clone[:] = members
        return clone
    return _or_plain(type(like), members)


def _or_plain(make: Callable[[Any], Any], values: Any) -> Any:
    try:
        return make(values)
    except TypeError:  # such as `range`, whose constructor takes no sequence of values
        return values


def _describe(value: Any) -> str:
    dtype = f" of dtype {value.dtype}" if isinstance(value, np.ndarray) else ""
    return f"{type(value)}{dtype}"
