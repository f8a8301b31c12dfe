"""Sequences of different lengths in one batch: padded, or packed without their padding."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Iterable

from ...core import dtype as dtypes
from ...core.ops import create
from ...core.ops.join import cat
from ...core.tensor import Tensor


class PackedSequence(
    namedtuple("PackedSequence", ("data", "batch_sizes", "sorted_indices", "unsorted_indices"))
):
    """The steps of several sequences, the longest first, one after another without padding.

    data: (sum of lengths, ...), batch_sizes: (L,) how many sequences reach each step;
    sorted_indices, unsorted_indices: (N,) the order by length and back, None if it was so already
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs):
        """The data in another dtype or on another device; batch_sizes stay on the CPU."""
        return type(self)(self.data.to(*args, **kwargs), *self[1:])

    def cpu(self):
        return self.to("cpu")

    def cuda(self, device=None):
        return type(self)(self.data.cuda(device), *self[1:])

    def pin_memory(self):
        return type(self)(self.data.pin_memory(), *self[1:])

    def is_pinned(self):
        return self.data.is_pinned()

    @property
    def is_cuda(self):
        return self.data.device.type == "cuda"


_CONVERSIONS = {
    "double": dtypes.float64, "float": dtypes.float32, "half": dtypes.float16,
    "long": dtypes.int64, "int": dtypes.int32, "short": dtypes.int16, "char": dtypes.int8,
    "byte": dtypes.uint8,
}  # fmt: skip
for _name, _dtype in _CONVERSIONS.items():
    setattr(PackedSequence, _name, functools.partialmethod(PackedSequence.to, _dtype))


def invert_permutation(permutation):
    """The permutation that undoes this one, or None for None."""
    if permutation is None:
        return None
    order = permutation.tolist()
    back = [0] * len(order)
    for i, j in enumerate(order):
        back[j] = i
    return create.tensor(back, dtype=dtypes.int64, device=permutation.device)


def _positions(batch_sizes):
    """Step and sequence of each element of packed data, two index tensors."""
    sizes = batch_sizes.tolist()
    steps = [t for t, n in enumerate(sizes) for _ in range(n)]
    which = [i for n in sizes for i in range(n)]
    return (create.tensor(x, dtype=dtypes.int64) for x in (steps, which))


def pack_padded(padded, lengths, batch_sizes):
    """(L, N, ...), longest first -> (sum of lengths, ...)"""
    steps, which = _positions(batch_sizes)
    return padded[steps, which]


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Padded sequences as a PackedSequence.

    input: (L, N, ...), (N, L, ...) with batch_first; lengths: (N,), on the CPU, or a list
    enforce_sorted: they come longest first (RuntimeError if not), so no sorting is needed
    """
    lengths = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    if batch_first:
        input = input.transpose(0, 1)
    if len(lengths) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
            "(batch_size="
            f"{input.shape[1]})"
        )
    if min(lengths, default=0) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that "
            "is <= 0"
        )
    if max(lengths, default=0) > input.shape[0]:
        raise RuntimeError(
            f"Expected lengths of at most {input.shape[0]}, the steps of the input, but got "
            f"{max(lengths)}"
        )
    order = None
    if enforce_sorted:
        if lengths != sorted(lengths, reverse=True):
            raise RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
                "You can pass `enforce_sorted=False` to pack_padded_sequence."
            )
    else:
        ranked = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        order = create.tensor(ranked, dtype=dtypes.int64)
        input = input[:, order]
        lengths = [lengths[i] for i in ranked]
    sizes = [sum(n > t for n in lengths) for t in range(lengths[0])]
    batch_sizes = create.tensor(sizes, dtype=dtypes.int64)
    return PackedSequence(pack_padded(input, lengths, batch_sizes), batch_sizes, order)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """A PackedSequence as (L, N, ...) (with batch_first (N, L, ...)) and the lengths, (N,)."""
    sizes = sequence.batch_sizes.tolist()
    if total_length is not None and total_length < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but "
            f"got total_length={total_length} and max sequence length being {len(sizes)}"
        )
    data, steps = sequence.data, total_length or len(sizes)
    shape = (steps, sizes[0], *data.shape[1:])
    padded = create.full(shape, padding_value, dtype=data.dtype, device=data.device)
    padded[tuple(_positions(sequence.batch_sizes))] = data
    lengths = [sum(n > i for n in sizes) for i in range(sizes[0])]
    lengths = create.tensor(lengths, dtype=dtypes.int64)
    if sequence.unsorted_indices is not None:
        padded = padded[:, sequence.unsorted_indices]
        lengths = lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors (L_i, ...) as one (max L, N, ...), with batch_first (N, max L, ...)."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side should be one of 'right' or 'left', got {padding_side}")
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    length, rest = max(len(s) for s in sequences), sequences[0].shape[1:]
    rows = []
    for s in sequences:
        gap = create.full((length - len(s), *rest), padding_value, dtype=s.dtype, device=s.device)
        rows.append(cat([s, gap] if padding_side == "right" else [gap, s]).unsqueeze(0))
    padded = cat(rows)
    return padded if batch_first else padded.transpose(0, 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The list of tensors (L_i, ...) that pad_sequence has padded."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[:n] for s, n in zip(padded_sequences, lengths.tolist())]


def pack_sequence(sequences, enforce_sorted=True):
    """Tensors (L_i, ...) as a PackedSequence."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The list of tensors (L_i, ...) of a PackedSequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
