"""What view functions are without shared memory.

select_copy: the view, as a copy.  select_scatter: a copy of the input with the view replaced.  The
others likewise.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..dtype import dtype
from .index import _slice, narrow, select, unbind
from .join import split, split_with_sizes
from .layout import as_strided, diagonal, unfold
from .shape import (
    _contiguous,
    axis,
    expand,
    permute,
    reshape,
    squeeze,
    t,
    transpose,
    unsqueeze,
    view,
)


def slice_(input, dim=0, start=None, end=None, step=1):
    """input[start:end:step] along `dim`; bounds beyond the ends are the ends."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    d = axis(dim, input.ndim)
    return _slice(input, index=(slice(None),) * d + (slice(start, end, step), ...))


def alias(input):
    """A view of everything."""
    return _slice(input, index=(...,))


def reshaped(input, size):
    """view(size or dtype), or reshape: for a copy the memory's layout is no obstacle."""
    return view(input, size) if isinstance(size, dtype) else reshape(input, size)


def _copy(name, function):
    def copy(input, *args, **kwargs):
        result = function(input, *args, **kwargs)
        return tuple(map(_contiguous, result)) if type(result) is tuple else _contiguous(result)

    copy.__name__ = copy.__qualname__ = f"{name}_copy"
    copy.__doc__ = f"What {name} gives, as a copy."
    return copy


COPIES = {
    f"{name}_copy": _copy(name, function)
    for name, function in {
        "alias": alias, "as_strided": as_strided, "detach": alias,
        "diagonal": diagonal, "expand": lambda input, size, implicit=False: expand(input, size),
        "narrow": narrow, "permute": permute, "select": select, "slice": slice_, "split": split,
        "split_with_sizes": split_with_sizes, "squeeze": squeeze, "t": t, "transpose": transpose,
        "unbind": unbind, "unfold": unfold, "unsqueeze": unsqueeze, "view": reshaped,
    }.items()
}  # fmt: skip


# ---- a view replaced -------------------------------------------------------------------------


def _scatter(name, function):
    def scatter(input, src, *args, **kwargs):
        out = input.clone()
        _replace(function(out, *args, **kwargs), src)
        return out

    scatter.__name__ = scatter.__qualname__ = f"{name}_scatter"
    scatter.__doc__ = f"A copy of the input with `src` in the place of what {name} gives."
    return scatter


def _replace(part, src):
    if src.shape != part.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(part.shape)}"
        )
    part.copy_(src)


def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """A copy of the input, in memory laid out as its own, with `src` at as_strided(size, stride)."""
    whole = input.new_empty(input.untyped_storage().nbytes() // input.element_size())
    out = as_strided(whole, input.shape, input.stride(), input.storage_offset())
    out.copy_(input)
    _replace(as_strided(out, size, stride, storage_offset), src)
    return out


SCATTERS = {
    f"{name}_scatter": _scatter(name, function)
    for name, function in {"select": select, "slice": slice_, "diagonal": diagonal}.items()
} | {"as_strided_scatter": as_strided_scatter}


def detach(input):
    """The tensor without its history, on the same memory."""
    return input.detach()


METHODS = SCATTERS | {"narrow_copy": COPIES["narrow_copy"]}
FUNCTIONS = SCATTERS | COPIES | {"detach": detach}
