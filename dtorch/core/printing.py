"""How tensors print: torch's text, character for character (but for the package's name in dtypes)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import backend
from . import dtype as dtypes

if TYPE_CHECKING:
    from .tensor import Tensor

_DEFAULT: dict[str, Any] = {
    "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
}  # fmt: skip
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {}, "short": {"precision": 2, "edgeitems": 2}, "full": {"threshold": math.inf},
}  # fmt: skip
_options = dict(_DEFAULT)


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print; what is not given stays, but for sci_mode, where None means automatic.

    precision: digits after the point
    threshold: the number of elements from which on a tensor is summarized
    edgeitems: how many elements a summary shows at each end of a dimension
    linewidth: characters a line
    profile: "default", "short" or "full": all of the above at once
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)}, got {profile!r}")
        _options.update(_DEFAULT | _PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    _options.update({name: value for name, value in given.items() if value is not None})
    _options["sci_mode"] = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as keywords of set_printoptions."""
    return dict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """set_printoptions for the length of a with block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        _options.update(before)


# ---- one element -----------------------------------------------------------------------------


class _Format:
    """One width and one notation for all elements of an array."""

    def __init__(self, a: Any) -> None:
        values = a.reshape(-1).tolist()
        self.floating = a.dtype.kind == "f"
        self.whole, self.scientific, self.width = True, False, 1
        if not self.floating:
            self.width = max(map(len, map(str, values)), default=1)
            return
        shown = [v for v in values if math.isfinite(v) and v != 0]
        if not shown:
            return
        small, large = min(map(abs, shown)), max(map(abs, shown))
        self.whole = all(v == math.ceil(v) for v in shown)
        self.scientific = _options["sci_mode"]
        if self.scientific is None:
            self.scientific = large / small > 1000 or large > 1e8 or small < 1e-4
        self.width = max(len(self.number(v)) for v in shown)

    def number(self, v: float) -> str:
        if not self.floating:
            return str(v)
        if self.scientific:
            return f"{v:.{_options['precision']}e}"
        if self.whole:
            return f"{v:.0f}" + ("." if math.isfinite(v) else "")
        return f"{v:.{_options['precision']}f}"

    def __call__(self, v: Any) -> str:
        return self.number(v).rjust(self.width)


class _ComplexFormat:
    """The formats of the real and of the imaginary parts."""

    def __init__(self, a: Any) -> None:
        self.real, self.imag = _Format(a.real), _Format(a.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, v: complex) -> str:
        imag = self.imag(v.imag).lstrip() + "j"
        return self.real(v.real) + ("" if imag[0] in "+-" else "+") + imag


# ---- nested lists ----------------------------------------------------------------------------


def _edges(a: Any) -> Any:
    """The elements that a summary shows."""
    xp, k = backend.cpu, _options["edgeitems"]
    for axis, n in enumerate(a.shape):
        if n > 2 * k:
            a = xp.take(a, [*range(k), *range(n - k, n)], axis=axis)
    return a


def _nested(a: Any, indent: int, summarize: bool, form: Any) -> str:
    k = _options["edgeitems"]
    cut = summarize and a.shape[0] > 2 * k
    if a.ndim == 1:
        shown = [*a[:k].tolist(), None, *a[len(a) - k :].tolist()] if cut else a.tolist()
        texts = [" ..." if v is None else form(v) for v in shown] if k or not cut else ["..."]
        per_line = max(1, (_options["linewidth"] - indent) // (form.width + 2))
        lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [*a[:k], None, *a[len(a) - k :]] if cut else a
    texts = ["..." if r is None else _nested(r, indent + 1, summarize, form) for r in rows]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(texts) + "]"


def _values(a: Any, indent: int) -> str:
    """The elements of an array on the CPU."""
    if not a.size:
        return "[]"
    if a.dtype.kind == "V":  # bfloat16
        a = a.astype("float64")
    summarize = a.size > _options["threshold"]
    form = (_ComplexFormat if a.dtype.kind == "c" else _Format)(_edges(a) if summarize else a)
    return _nested(a, indent, summarize, form) if a.ndim else form(a.item())


def _parts(a: Any, indent: int) -> str:
    """The arrays that a sparse array consists of."""
    texts = []
    for name, part in a.parts().items():
        prefix = f"{name}=tensor("
        text = prefix + _values(backend.of(part).to_numpy(part), indent + len(prefix))
        texts.append(text + (f", size={part.shape})" if not part.size else ")"))
    return (",\n" + " " * indent).join(texts)


# ---- the whole -------------------------------------------------------------------------------


_PLAIN = ("Tensor", "Parameter", "SpoiltView")


def _suffixes(t: Tensor) -> Iterator[str]:
    """What repr says after the values: whatever is not the default."""
    if t.device.type != "cpu":
        yield f"device='{t.device}'"
    d, default = t.dtype, dtypes.get_default_dtype()
    sparse = t.layout is not dtypes.strided
    if sparse or (t.ndim != 1 if not t.numel() else not _options["edgeitems"]):
        yield f"size={tuple(t.shape)}"
    if sparse:
        yield f"nnz={t._a.nnz}"
    plain = (default, default.to_complex(), dtypes.int64, dtypes.bool_)
    if d not in (plain if sparse or t.numel() else (default,)):
        yield f"dtype={d}"
    if sparse:
        yield f"layout={t.layout}"
    try:
        node = t.grad_fn
    except RuntimeError:  # of a view that must not be used any more
        yield "grad_fn=<Invalid>"
        return
    if node is not None:
        yield f"grad_fn=<{node.name()}>"
    elif t.requires_grad:
        yield "requires_grad=True"


def tensor_str(t: Tensor, *, tensor_contents: str | None = None) -> str:
    """repr(t).  tensor_contents: what to print in place of the values."""
    name = type(t).__name__
    prefix = "tensor(" if name in _PLAIN else f"{name}("
    indent = len(prefix)
    if tensor_contents is None:
        if t.layout is dtypes.strided:
            tensor_contents = _values(backend.of(t._a).to_numpy(t._a), indent)
        else:
            tensor_contents = _parts(t._a, indent)
    text = prefix + tensor_contents
    column = math.inf if t.is_sparse else len(text) - text.rfind("\n") + 1
    for suffix in _suffixes(t):
        if column + len(suffix) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"
