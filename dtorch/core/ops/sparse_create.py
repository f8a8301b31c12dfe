"""Sparse tensors from their parts, and what is checked of the parts."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from contextvars import ContextVar

from .. import device as devices
from .. import dtype as dtypes
from ..backend import of
from ..backend.sparse import COMPRESSED, Compressed, Coo
from ..tensor import wrap
from .create import as_tensor
from .shape import sizes
from .sparse import assembled

_invariants = ContextVar("invariants", default=False)


class check_sparse_tensor_invariants:
    """Whether constructors check everything about the parts, not only that all indices lie within.

    A context manager and a decorator; enable(), disable() and is_enabled() for the whole program.
    """

    def __init__(self, enable=True):
        self.state, self.saved = enable, []

    @staticmethod
    def is_enabled():
        return _invariants.get()

    @staticmethod
    def enable():
        _invariants.set(True)

    @staticmethod
    def disable():
        _invariants.set(False)

    def __enter__(self):
        self.saved.append(_invariants.set(self.state))

    def __exit__(self, *error):
        _invariants.reset(self.saved.pop())

    def __call__(self, function):
        import functools

        @functools.wraps(function)
        def within(*args, **kwargs):
            with check_sparse_tensor_invariants(self.state):
                return function(*args, **kwargs)

        return within


def _require(condition, text):
    if not condition:
        raise RuntimeError(text)


# ---- the parts -----------------------------------------------------------------------------------


def _values(values, dtype, device):
    return as_tensor(values, dtype=dtype, device=device)


def _index(name, x, device, kinds="iub"):
    """An index array on the device of the values."""
    t = as_tensor(x, device=device)
    if t._a.dtype.kind not in kinds and t.numel():
        raise RuntimeError(f"{name} must be an int32 or int64 tensor, got {t.dtype}")
    return t._a


def _result(values, like, requires_grad):
    """The sparse tensor; values with a history hand it on, unless a leaf is asked for."""
    if requires_grad:
        return wrap(like).requires_grad_()
    return assembled(values, like=like)


# ---- coordinates ---------------------------------------------------------------------------------


def sparse_coo_tensor(indices=None, values=None, size=None, *, dtype=None, device=None,
                      pin_memory=False, requires_grad=False, check_invariants=None,
                      is_coalesced=None):  # fmt: skip
    """A tensor by coordinates: values[i] is at indices[:, i]; values at one place add up.

    indices: (sparse_dim, nnz), values: (nnz, *dense), size: by default just large enough
    sparse_coo_tensor(size) stores nothing.

    RuntimeError where shapes don't fit or an index is negative or too large.
    """
    if values is None:
        size = indices if size is None else size
        d = dtype or dtypes.get_default_dtype()
        return empty_sparse(sizes((size,)), dtypes.sparse_coo, d, device, requires_grad)
    values = _values(values, dtype, device)
    i = _index("indices", indices, values.device)
    xp = of(i)
    if i.ndim == 1 and not i.size:
        i = i.reshape(0 if size is None else len(size) - values.ndim + 1, 0)
    _require(i.ndim == 2, f"indices must be sparse_dim x nnz, but got: {list(i.shape)}")
    if not values.ndim:
        values = values.expand(i.shape[1])
    _require(
        i.shape[1] == values.shape[0],
        "indices and values must have same nnz, but got nnz from indices: "
        f"{i.shape[1]}, nnz from values: {values.shape[0]}",
    )
    i = i.astype("int64", copy=False)
    sparse, dense = i.shape[0], values.ndim - 1
    if size is None:
        least = (i.max(1) + 1).tolist() if i.shape[1] else [0] * sparse
        size = (*least, *values.shape[1:])
    size = sizes((size,))
    _require(
        len(size) == sparse + dense,
        f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
        f"sparse_dim = {sparse}, dense_dim = {dense}",
    )
    _require(
        tuple(values.shape[1:]) == size[sparse:],
        f"values has incorrect size, expected {[i.shape[1], *size[sparse:]]}, got "
        f"{list(values.shape)}",
    )
    if check_invariants is not False and i.size:
        low, high = i.min(1).tolist(), i.max(1).tolist()
        for d in range(sparse):
            _require(low[d] >= 0, f"found negative index {low[d]} for dim {d}")
            _require(
                high[d] < size[d],
                f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found index "
                f"{high[d]}",
            )
    a = Coo(i, values._a, size, bool(is_coalesced) or i.shape[1] < 2)
    if is_coalesced and (check_invariants or _invariants.get()):
        keys = a.keys()
        _require(
            bool((xp.diff(keys) > 0).all()),
            "cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor",
        )
    return _result(values, a, requires_grad)


# ---- compressed ----------------------------------------------------------------------------------


def sparse_compressed_tensor(compressed_indices, plain_indices, values, size=None, *, dtype=None,
                             layout=None, device=None, pin_memory=False, requires_grad=False,
                             check_invariants=None):  # fmt: skip
    """A matrix, or a batch of them, in a compressed layout.

    compressed_indices: (*batch, lines + 1), where each row (of csr and bsr; column of csc and bsc)
        begins among the values, plain_indices: (*batch, nnz), the other index of each value
    values: (*batch, nnz, *dense), or blocks (*batch, nnz, height, width, *dense) in bsr and bsc
    """
    if layout is None or layout.name not in COMPRESSED:
        raise RuntimeError(
            f"sparse_compressed_tensor expected layout to be one of {', '.join(COMPRESSED)}, got "
            f"{layout}"
        )
    kind = COMPRESSED[layout.name]
    values = _values(values, dtype, device)
    names = ("crow_indices", "col_indices") if kind.by_rows else ("ccol_indices", "row_indices")
    compressed = _index(names[0], compressed_indices, values.device)
    plain = _index(names[1], plain_indices, values.device)
    _check_shapes(names, compressed, plain, values, kind)
    batch = plain.shape[:-1]
    first = plain.ndim
    h, w = values.shape[first : first + 2] if kind.blocks else (1, 1)
    if size is None:
        lines = compressed.shape[-1] - 1
        places = int(plain.max()) + 1 if plain.size else 0
        rows, cols = (lines, places) if kind.by_rows else (places, lines)
        size = (*batch, rows * h, cols * w, *values.shape[first + 2 * kind.blocks :])
    size = sizes((size,))
    dense = tuple(values.shape[first + 2 * kind.blocks :])
    _require(
        len(size) == len(batch) + 2 + len(dense) and size[: len(batch)] == batch
        and size[len(batch) + 2 :] == dense,
        f"size {list(size)} doesn't match the parts: batch {list(batch)}, a matrix, dense dimensions "
        f"{list(dense)}",
    )  # fmt: skip
    rows, cols = size[len(batch) : len(batch) + 2]
    _require(
        rows % h == 0 and cols % w == 0,
        f"tensor sparse size ({rows}, {cols}) must be divisible by given blocksize ({h}, {w})",
    )
    lines, places = (rows // h, cols // w) if kind.by_rows else (cols // w, rows // h)
    if check_invariants is not False:
        strict = check_invariants or _invariants.get()
        _check_indices(names, compressed, plain, lines, places, strict)
    a = Compressed(layout.name, compressed, plain, values._a, size)
    return _result(values, a, requires_grad)


def _check_shapes(names, compressed, plain, values, kind):
    for name, a in zip(names, (compressed, plain)):
        _require(a.ndim >= 1, f"{name} must have dimensionality >= 1, got {a.ndim}")
    least = plain.ndim + 2 * kind.blocks
    _require(
        values.ndim >= least,
        f"values must have dimensionality >= {least} (batch, nnz{', block' * kind.blocks}), got "
        f"{values.ndim}",
    )
    _require(
        compressed.dtype == plain.dtype,
        f"{names[0]} and {names[1]} must have the same dtype, but got {compressed.dtype} and "
        f"{plain.dtype}",
    )
    batches = [list(compressed.shape[:-1]), list(plain.shape[:-1])]
    batches.append(list(values.shape[: plain.ndim - 1]))
    _require(
        batches[0] == batches[1] == batches[2],
        f"all batch dimensions of {names[0]}, {names[1]} and values must be equal, got {batches}",
    )
    _require(
        plain.shape[-1] == values.shape[plain.ndim - 1],
        f"{names[1]} and values must have the same number of specified elements, but got "
        f"{plain.shape[-1]} and {values.shape[plain.ndim - 1]}",
    )


def _check_indices(names, compressed, plain, lines, places, strict):
    """That indices lie within; where `strict`, also that those of a line are in order and unique."""
    line, place = ("rows", "ncols") if names[0] == "crow_indices" else ("cols", "nrows")
    nnz = plain.shape[-1]
    _require(
        compressed.shape[-1] == lines + 1,
        f"{names[0]}.shape[-1] must be equal to the number of {line} + 1, {lines + 1}, but got "
        f"{compressed.shape[-1]}",
    )
    _require(not compressed[..., 0].any(), f"`{names[0]}[..., 0] == 0` is not satisfied.")
    _require((compressed[..., -1] == nnz).all(), f"`{names[0]}[..., -1] == nnz` is not satisfied.")
    _require(
        (compressed[..., 1:] >= compressed[..., :-1]).all(),
        f"`0 <= {names[0]}[..., 1:] - {names[0]}[..., :-1] <= {place}` is not satisfied.",
    )
    _require(
        not plain.size or (plain.min() >= 0 and plain.max() < places),
        f"`0 <= {names[1]} < {place}` is not satisfied.",
    )
    if strict:
        xp = of(plain)
        flat = zip(compressed.reshape(-1, lines + 1), plain.reshape(-1, nnz))
        for starts, p in flat:
            of_line = xp.repeat(xp.arange(lines), xp.diff(starts).tolist())
            _require(
                (xp.diff(of_line * places + p) > 0).all(),
                f"`{names[1]}[..., {names[0]}[..., i - 1]:{names[0]}[..., i]] for all i = 1, ..., "
                f"n{line} are sorted and distinct along the last dimension values` is not satisfied.",
            )


def _of_layout(layout):
    def function(compressed_indices, plain_indices, values, size=None, **options):
        return sparse_compressed_tensor(compressed_indices, plain_indices, values, size,
                                        layout=layout, **options)  # fmt: skip

    function.__name__ = function.__qualname__ = f"{layout.name}_tensor"
    function.__doc__ = f"sparse_compressed_tensor with layout={layout!r}"
    return function


def empty_sparse(size, layout, dtype, device=None, requires_grad=False, sparse_dim=None):
    """A sparse tensor that stores nothing."""
    xp = devices.namespace(device)
    if layout is dtypes.sparse_coo:
        n = len(size) if sparse_dim is None else sparse_dim
        a = Coo(xp.zeros((n, 0), "int64"), xp.zeros((0, *size[n:]), dtype.np), size, True)
    else:
        kind = COMPRESSED[layout.name]
        _require(len(size) >= 2 and not kind.blocks, f"no empty tensor of layout {layout}: use "
                 f"{layout.name}_tensor")  # fmt: skip
        batch = size[:-2]
        lines = size[-2] if kind.by_rows else size[-1]
        starts, none = xp.zeros((*batch, lines + 1), "int64"), xp.zeros((*batch, 0), "int64")
        a = Compressed(layout.name, starts, none, none.astype(dtype.np), size)
    t = wrap(a if device is None else devices.move(a, device))
    return t.requires_grad_() if requires_grad else t


def spdiags(diagonals, offsets, shape, layout=None):
    """A matrix from rows of `diagonals`, each along the diagonal that `offsets` names.

    diagonals: (k, n) or (n,), offsets: (k,) integers, 0 the main diagonal, positive above it.
    Column j of a diagonal lands in column j of the result; what falls outside is left out.
    """
    if diagonals.ndim == 1:
        diagonals = diagonals.unsqueeze(0)
    offsets = as_tensor(offsets).reshape(-1)
    _require(diagonals.ndim == 2, "Diagonals must be vector or matrix")
    _require(len(shape) == 2, "Output shape must be 2d")
    _require(
        diagonals.shape[0] == offsets.shape[0],
        f"Number of diagonals ({diagonals.shape[0]}) does not match the number of offsets "
        f"({offsets.shape[0]})",
    )
    _require(
        offsets._a.dtype == "int64", f"Offset Tensor must have dtype Long but got {offsets.dtype}"
    )
    _require(len(set(offsets.tolist())) == len(offsets), "Offset tensor contains duplicate values")
    if layout not in (None, dtypes.sparse_coo, dtypes.sparse_csr, dtypes.sparse_csc):
        raise RuntimeError(
            f"Only output layouts (Sparse, SparseCsc, SparseCsr) are supported, got {layout}"
        )
    xp = of(diagonals._a)
    rows, cols = xp.broadcast_arrays(
        xp.arange(diagonals.shape[1]) - offsets._a[:, None], xp.arange(diagonals.shape[1])
    )
    within = (rows >= 0) & (rows < shape[0]) & (cols < shape[1])
    at = xp.stack([rows[within], cols[within]])
    result = sparse_coo_tensor(wrap(at), diagonals[wrap(within)], shape)
    return result if layout in (None, dtypes.sparse_coo) else result.to_sparse(layout=layout)


FUNCTIONS = {
    "sparse_coo_tensor": sparse_coo_tensor, "sparse_compressed_tensor": sparse_compressed_tensor,
    **{f"{name}_tensor": _of_layout(dtypes.LAYOUTS[name]) for name in COMPRESSED},
}  # fmt: skip
