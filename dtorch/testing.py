"""Comparing tensors in tests, and making tensors to test with."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

from .core import dtype as dtypes
from .core.modes import no_grad
from .core.ops.create import as_tensor, zeros
from .core.tensor import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

# dtype -> relative, absolute tolerance: torch's
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7), dtypes.complex64: (1.3e-6, 1e-5),
    dtypes.complex128: (1e-7, 1e-7),
}  # fmt: skip
_OF_NUMBERS = {int: dtypes.int64, bool: dtypes.bool_, float: dtypes.float64,
               complex: dtypes.complex128}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
    atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
    check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """AssertionError unless abs(actual - expected) <= atol + rtol * abs(expected), everywhere.

    actual, expected: tensors, arrays or numbers; sequences and mappings of them, with equal keys
    rtol, atol: both or none; by default, the larger ones of the two dtypes
    equal_nan: whether two NaNs are equal
    check_...: whether device, dtype, layout and strides must be equal too
    msg: the error's text, or what makes it of the generated text
    """
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}."
        )
    checks = [
        name for name, checked in (
            ("layout", check_layout), ("device", check_device), ("dtype", check_dtype),
            ("stride", check_stride),
        ) if checked
    ]  # fmt: skip
    for where, a, e in _pairs(actual, expected, allow_subclasses, ""):
        text = _difference(a, e, rtol, atol, equal_nan, checks)
        if text is not None:
            raise AssertionError(_worded(text, where, msg))


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = True, msg: str = "",
) -> None:  # fmt: skip
    """assert_close for older tests: NaNs are equal, and dtypes, devices and strides don't matter."""
    actual, expected = as_tensor(actual), as_tensor(expected)
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True,
        check_dtype=False, check_stride=False, msg=msg or None,
    )  # fmt: skip


def _worded(text: str, where: str, msg: str | Callable[[str], str] | None) -> str:
    if where:
        text = f"{text}\n\nThe failure occurred for item {where}"
    if msg is None:
        return text
    return msg if isinstance(msg, str) else msg(text)


def _pairs(a: Any, e: Any, allow_subclasses: bool, where: str) -> Any:
    """What is to be compared: (its place in the containers, actual, expected)."""
    if isinstance(a, Mapping) and isinstance(e, Mapping):
        missing, more = e.keys() - a.keys(), a.keys() - e.keys()
        if missing or more:
            raise AssertionError(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {sorted(missing, key=str)}\n"
                f"Additional keys in the actual mapping: {sorted(more, key=str)}"
                + (f"\n\nThe failure occurred for item {where}" if where else "")
            )
        for key in e:
            yield from _pairs(a[key], e[key], allow_subclasses, f"{where}[{key!r}]")
    elif _is_list(a) and _is_list(e):
        if len(a) != len(e):
            raise AssertionError(
                f"The length of the sequences mismatch: {len(a)} != {len(e)}"
                + (f"\n\nThe failure occurred for item {where}" if where else "")
            )
        for i, (x, y) in enumerate(zip(a, e)):
            yield from _pairs(x, y, allow_subclasses, f"{where}[{i}]")
    else:
        _check_comparable(a, e, allow_subclasses)
        yield where, a, e


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _check_comparable(a: Any, e: Any, allow_subclasses: bool) -> None:
    numbers = isinstance(a, Number) and isinstance(e, Number)
    related = isinstance(a, type(e)) or isinstance(e, type(a))
    arrays = all(hasattr(x, "dtype") and hasattr(x, "shape") for x in (a, e))
    if numbers or (arrays and (related if allow_subclasses else type(a) is type(e))):
        return
    raise TypeError(
        f"No comparison pair was able to handle inputs of type {type(a)} and {type(e)}."
    )


@no_grad()
def _difference(
    a: Any, e: Any, rtol: float | None, atol: float | None, equal_nan: bool, checks: list[str]
) -> str | None:
    """How two tensors or numbers differ, in torch's words; None if they don't."""
    if isinstance(a, Number):
        return _number_difference(a, e, rtol, atol, equal_nan, "dtype" in checks)
    a, e = as_tensor(a), as_tensor(e)
    if a.shape != e.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}."
    for name in checks:
        x, y = getattr(a, name), getattr(e, name)
        if name == "stride":
            x, y = x(), y()
            name = "stride()"
        if x != y:
            return f"The values for attribute {name!r} do not match: {x} != {y}."
    if rtol is None or atol is None:
        rtol, atol = _tolerances(a.dtype, e.dtype)
    d = a.dtype if a.dtype is e.dtype else dtypes.promote_types(a.dtype, e.dtype)
    a, e = (t.cpu().to_dense().to(d) for t in (a, e))
    close = a.isclose(e, rtol=rtol, atol=atol, equal_nan=equal_nan)
    bad = close.numel() - int(close.sum().item())
    if not bad:
        return None
    if not a.ndim:
        return _scalar_report(a.item(), e.item(), rtol, atol)
    return _report(a, e, close, bad, rtol, atol)


def _tolerances(*ds: dtypes.dtype) -> tuple[float, float]:
    rtol, atol = zip(*(_TOLERANCES.get(d, (0.0, 0.0)) for d in ds))
    return max(rtol), max(atol)


def _report(a: Tensor, e: Tensor, close: Tensor, bad: int, rtol: float, atol: float) -> str:
    """The words for tensors: how many elements mismatch, and where most."""
    if not a.dtype.is_floating_point and not a.dtype.is_complex:
        a, e = a.to(dtypes.int64), e.to(dtypes.int64)
    apart = (a - e).abs()
    apart = apart.masked_fill(close, 0)
    relative = (apart / e.abs()).masked_fill(close, 0)
    total = close.numel()
    exact = not rtol and not atol
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!", "",
        f"Mismatched elements: {bad} / {total} ({bad / total:.1%})",
    ]  # fmt: skip
    for word, t, allowed in (("absolute", apart, atol), ("relative", relative, rtol)):
        flat = t.reshape(-1)
        most = int(flat.argmax().item())
        at = tuple(int(i) for i in _unravel(most, t.shape))
        value = flat[most].item()
        limit = "" if exact else f" (up to {allowed} allowed)"
        lines.append(f"Greatest {word} difference: {value} at index {at}{limit}")
    return "\n".join(lines)


def _unravel(i: int, shape: Sequence[int]) -> list[int]:
    index = []
    for n in reversed(shape):
        i, k = divmod(i, n)
        index.append(k)
    return index[::-1]


def _number_difference(
    a: Any, e: Any, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool
) -> str | None:
    if isinstance(a, bool) and isinstance(e, bool):
        return None if a is e else f"Booleans mismatch: {a} is not {e}"
    if check_dtype and type(a) is not type(e):
        return f"The (d)types do not match: {type(a)} != {type(e)}."
    if rtol is None or atol is None:
        rtol, atol = _tolerances(*(_OF_NUMBERS[type(x)] for x in (a, e)))
    if a == e or (equal_nan and cmath.isnan(a) and cmath.isnan(e)):
        return None
    if cmath.isfinite(a) and cmath.isfinite(e) and abs(a - e) <= atol + rtol * abs(e):
        return None
    return _scalar_report(a, e, rtol, atol)


def _scalar_report(a: Any, e: Any, rtol: float, atol: float) -> str:
    exact = not rtol and not atol
    apart = abs(a - e)
    relative = apart / abs(e) if e else float("inf")
    limits = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\n"
        f"Expected {e} but got {a}.\n"
        f"Absolute difference: {apart}{limits[0]}\n"
        f"Relative difference: {relative}{limits[1]}"
    )


# ---- making tensors ----------------------------------------------------------------------------


def make_tensor(
    *shape: Any, dtype: dtypes.dtype, device: Any = "cpu", low: float | None = None,
    high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False,
    exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of the shape with uniform values in [low, high).

    low, high: default to [-9, 9) for floats, [-9, 10) for integers, [0, 10) for unsigned ones and
        [0, 2) for bools
    noncontiguous: leave gaps in memory; exclude_zero: 1, or the smallest positive number, for 0
    """
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    low, high = _bounds(dtype, low, high)
    if requires_grad and dtype.category < 2:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype}"
        )
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive"
        )
    wide = (*size[:-1], 2 * size[-1]) if noncontiguous and size else size
    if dtype.is_complex:
        parts = [zeros(wide, dtype=dtypes.float64).uniform_(low, high) for _ in range(2)]
        t = (parts[0] + parts[1] * 1j).to(dtype)
    elif dtype.is_floating_point:
        t = zeros(wide, dtype=dtypes.float64).uniform_(low, high).to(dtype)
    else:
        t = zeros(wide, dtype=dtypes.int64).random_(int(low), int(high)).to(dtype)
    t = t.to(device)[..., ::2] if noncontiguous and size else t.to(device)
    if exclude_zero:
        small = dtypes.finfo(dtype).tiny if dtype.category > 1 else 1
        t.masked_fill_(t == 0, small)
    return t.requires_grad_() if requires_grad else t


def _bounds(d: dtypes.dtype, low: float | None, high: float | None) -> tuple[float, float]:
    if d.category > 1:
        defaults: tuple[float, float] = (-9, 9)
        limit = dtypes.finfo(d)
        bounds: tuple[float, float] = (limit.min, limit.max)
    elif d is dtypes.bool_:
        defaults, bounds = (0, 2), (0, 2)
    else:
        defaults = (-9, 10) if d.is_signed else (0, 10)
        whole = dtypes.iinfo(d)
        bounds = (whole.min, whole.max + 1)
    low = defaults[0] if low is None else low
    high = defaults[1] if high is None else high
    if low != low or high != high:
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low} and high={high}")
    if low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    return max(low, bounds[0]), min(high, bounds[1])
