"""Reductions of neighbouring elements, segment by segment."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import inf, nan

from ..backend import of
from ..tensor import wrap
from .pointwise import where
from .scatter import scatter_reduce
from .shape import expand, raw

_START = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -inf, "min": inf}


def segment_reduce(data, reduce, *, lengths=None, indices=None, offsets=None, axis=0, unsafe=False,
                   initial=None):  # fmt: skip
    """The sum, mean, max, min or prod of each segment of `data` along a dimension.

    data: (*, N, ...), N at `axis`; lengths: (*, S) of the segments, or offsets: (*, S + 1) of their
    bounds -> (*, S, ...).  An empty segment gives `initial`, by default what the reduction begins
    with (a mean: NaN).  Lengths that do not add up to N are refused, with unsafe too.
    """
    if reduce not in _START:
        raise RuntimeError(f"reduce argument must be either {', '.join(_START)}, got {reduce}")
    if data.dtype.category < 2:
        raise NotImplementedError(f"\"segment_reduce\" not implemented for '{data.dtype.name}'")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    xp = of(raw(data))
    counts = raw(lengths) if lengths is not None else xp.diff(raw(offsets), axis=-1)
    if counts.ndim != axis + 1 or counts.shape[:-1] != data.shape[:axis]:
        raise RuntimeError(
            f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}, "
            f"with data of size {list(data.shape)} and lengths of size {list(counts.shape)}"
        )
    if counts.size and counts.min() < 0:
        raise RuntimeError("lengths contains negative value!")
    if (counts.sum(-1) != data.shape[axis]).any():
        raise RuntimeError(
            "segment_reduce(): Expected all rows of lengths along axis to sum to "
            f"data.size(lengths.dim()-1) = {data.shape[axis]}"
        )
    # the number of the segment that each element belongs to
    ids = xp.broadcast_to(xp.arange(counts.shape[-1]), counts.shape)
    ids = xp.repeat(ids.reshape(-1), counts.reshape(-1)).reshape(data.shape[: axis + 1])
    trail = (1,) * (data.ndim - axis - 1)
    shape = (*counts.shape, *data.shape[axis + 1 :])
    start = data.new_full(shape, _START[reduce] if initial is None else initial)
    how = {"mean": "sum", "max": "amax", "min": "amin"}.get(reduce, reduce)
    index = expand(wrap(ids.reshape(*ids.shape, *trail)), data.shape)
    y = scatter_reduce(start, axis, index, data, how)
    if reduce != "mean":
        return y
    n = wrap(counts.reshape(*counts.shape, *trail))
    return where(n > 0, y / n.clamp(min=1), nan if initial is None else initial).to(data.dtype)


FUNCTIONS = {"segment_reduce": segment_reduce}
