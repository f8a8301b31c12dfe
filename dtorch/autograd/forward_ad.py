"""Forward-mode derivatives: tensors that carry a tangent through whatever is computed from them.

    with forward_ad.dual_level():
        x = forward_ad.make_dual(primal, tangent)
        y, jv = forward_ad.unpack_dual(f(x))

A tangent is found when it is asked for, by two walks back through what was recorded since make_dual
(core/levels.py).  So a dual tensor requires a gradient while it is computed with, and what is done
under no_grad() has no tangent.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

from ..core.levels import Level, Pushforward
from ..core.modes import _SetGrad
from ..core.tensor import Tensor
from ..core.walk import reachable

__all__ = [
    "UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual",
    "unpack_dual",
]  # fmt: skip


class _DualLevel(Level):
    def __init__(self) -> None:
        super().__init__()
        self.duals: dict[Any, tuple[Tensor, Tensor]] = {}  # node -> the dual tensor, its tangent

    def inputs(self, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The duals, with their tangents, that t was computed from."""
        if t._node is None:
            return []
        return [self.duals[n] for n in reachable([t._node])[0] if n in self.duals]


_current: ContextVar[_DualLevel | None] = ContextVar("dual_level", default=None)


def enter_dual_level() -> int:
    """Begin the level, its number 0: duals live until it ends.  RuntimeError inside of another."""
    if _current.get() is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _current.set(_DualLevel())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: tensors made in it lose their tangents."""
    current = _current.get()
    if current is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created."
        )
    current.close()
    current.duals.clear()
    _current.set(None)


class dual_level(_SetGrad):
    """enter_dual_level and exit_dual_level as a context manager; gradients are recorded in it."""

    value = True

    def __enter__(self) -> int:  # type: ignore[override]
        level = enter_dual_level()
        super().__enter__()
        return level

    def __exit__(self, *error: object) -> None:
        super().__exit__()
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A tensor of the same values and memory that carries a tangent, of its shape."""
    current = _current.get()
    if current is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    for what, t in (("primal", tensor), ("tangent", tangent)):
        if not isinstance(t, Tensor):
            raise TypeError(f"make_dual(): expected a Tensor as {what}, got {type(t).__name__}")
        if t.dtype.category < 2:
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {t.dtype}")
    if tangent.shape != tensor.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(tensor.shape)} while the given "
            f"forward gradient is of size {list(tangent.shape)}."
        )
    if current.inputs(tensor):
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same "
            "level 0 is not supported."
        )
    if current.inputs(tangent):
        raise RuntimeError(
            "Setting a forward grad that itself has a forward gradient at the same level 0 is not "
            "supported."
        )
    dual = current.enter(tensor)
    current.duals[dual._node] = dual, tangent
    return dual


class UnpackedDualTensor(NamedTuple):
    """What unpack_dual returns; tangent is None for a tensor that carries none."""

    primal: Tensor
    tangent: Tensor | None


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The values of a tensor, and its tangent: the derivative in the direction of those that the
    duals it was computed from carry."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"unpack_dual(): expected a Tensor, got {type(tensor).__name__}")
    current = _current.get()
    pairs = [] if current is None else current.inputs(tensor)
    if current is None or not pairs:
        return UnpackedDualTensor(tensor, None)
    push = Pushforward(current, [tensor], [dual for dual, _ in pairs])
    (tangent,) = push([v.to(dual.dtype) for dual, v in pairs], keep=False)
    return UnpackedDualTensor(current.release(tensor), tangent)
