"""Several tensors as one: grids, products, combinations, and matrices of blocks."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from itertools import combinations as _combinations
from itertools import combinations_with_replacement

from ..backend import of
from .create import empty
from .index import take_rows
from .join import cat, stack
from .resample import pad
from .shape import atleast_2d, expand, raw, reshape


def meshgrid(*tensors, indexing="ij"):
    """Vectors as views of the grid that they span; "xy" swaps the first two dimensions."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for t in tensors:
        if t.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t!r}"
            )
        if t.dtype != tensors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) > 1
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    shape = tuple(t.numel() for t in tensors)
    grids = [
        expand(reshape(t, (1,) * i + (-1,) + (1,) * (len(shape) - 1 - i)), shape)
        for i, t in enumerate(tensors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def cartesian_prod(*tensors):
    """(N, len(tensors)): each combination of one element of each vector, the last fastest."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(grid, (-1,)) for grid in meshgrid(*tensors)], -1)


def combinations(input, r=2, with_replacement=False):
    """(N, r): the choices of r elements of a vector, in order, as itertools makes them."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if not r:
        return input.detach()[:0]
    choose = combinations_with_replacement if with_replacement else _combinations
    index = of(raw(input)).asarray(list(choose(range(len(input)), r)), dtype="int64")
    return take_rows(input, index=index.reshape(-1, r), dim=0)


def block_diag(*tensors):
    """The matrix with these matrices along its diagonal; vectors count as rows."""
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {t.ndim} dimensions"
            )
    blocks = atleast_2d(tensors or [empty(0)])
    width, left, rows = sum(b.shape[1] for b in blocks), 0, []
    for block in blocks:
        rows.append(pad(block, (left, width - left - block.shape[1])))
        left += block.shape[1]
    return cat(rows)


FUNCTIONS = {
    "meshgrid": meshgrid, "cartesian_prod": cartesian_prod, "combinations": combinations,
    "block_diag": block_diag,
}  # fmt: skip
