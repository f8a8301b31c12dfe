"""GradScaler: gradients of float16 losses, scaled up so that small ones don't vanish."""

from __future__ import annotations

import enum
import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from .. import cuda
from ..core.dtype import float16, float32, int32
from ..core.modes import no_grad
from ..core.ops.create import full
from ..core.tensor import Tensor

__all__ = ["GradScaler", "OptState"]


class OptState(enum.Enum):
    """Where an optimizer is between two calls of update()."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


class GradScaler:
    """Multiplies losses by a scale before backward, and divides the gradients by it before the step.

    A step whose gradients hold an inf or a NaN is left out, and the scale is multiplied by
    backoff_factor; after growth_interval steps in a row without one it is multiplied by
    growth_factor.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)        # only where gradients are clipped or looked at
        scaler.step(optimizer)
        scaler.update()

    With enabled=False, or for "cuda" where there is none (it warns), step() is optimizer.step() and
    all else does nothing.

    Source: Micikevicius et al., Mixed Precision Training, ICLR 2018.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda" and not cuda.is_available():
            warnings.warn(
                "dtorch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            self._enabled = False
        if self._enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if self._enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._init_growth_tracker = 0
        self._scale: Tensor | None = None  # 0-d, made on the device of the first loss
        self._growth_tracker: Tensor | None = None  # how many steps in a row had finite gradients
        self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(_fresh)

    # ---- an iteration ------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each in an iterable of tensors, multiplied by the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                where = outputs.device
                self._scale = full((), self._init_scale, dtype=float32, device=where)
                self._growth_tracker = full((), self._init_growth_tracker, dtype=int32,
                                            device=where)  # fmt: skip
            return outputs * self._scale.to(outputs.device)
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale.

        RuntimeError when called twice in an iteration, or after step().  ValueError for float16
        gradients, before any has changed: they would overflow where they should not
        """
        if not self._enabled:
            return
        scale = self._used("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state["found_inf_per_device"] = self._unscale(optimizer, 1.0 / scale.item())
        state["stage"] = OptState.UNSCALED

    def _unscale(self, optimizer: Any, factor: float) -> dict[Any, Tensor]:
        """Multiply the gradients; 1.0 for each device that had an inf or NaN among them, else 0.0."""
        params = [p for group in optimizer.param_groups for p in group["params"]
                  if p.grad is not None]  # fmt: skip
        if any(p.grad.dtype is float16 for p in params):
            raise ValueError("Attempting to unscale FP16 gradients.")
        found: dict[Any, Tensor] = {}
        with no_grad():
            for p in params:
                g, where = p.grad, p.grad.device
                found.setdefault(where, full((), 0.0, dtype=float32, device=where))
                values = g._values() if g.is_sparse else g
                if not values.isfinite().all():
                    found[where].fill_(1.0)
                values.mul_(factor)
        return found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args, **kwargs), after unscale_() if that was not called; nothing, and
        None, where a gradient is inf or NaN.

        RuntimeError when called twice in an iteration, and for a closure
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._used("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        found = state["found_inf_per_device"].values()
        if not found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None if any(f.item() for f in found) else optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End an iteration: the scale shrinks or grows, or becomes new_scale."""
        if not self._enabled:
            return
        scale, tracker = self._used("update"), self._growth_tracker
        assert tracker is not None
        if new_scale is not None:
            self._set(scale, new_scale)
        else:
            found = [f for state in self._per_optimizer_states.values()
                     for f in state["found_inf_per_device"].values()]  # fmt: skip
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(f.item() for f in found):
                scale.mul_(self._backoff_factor)
                tracker.zero_()
            elif tracker.item() + 1 == self._growth_interval:
                if bool((scale * self._growth_factor).isfinite()):
                    scale.mul_(self._growth_factor)
                tracker.zero_()
            else:
                tracker.add_(1)
        self._per_optimizer_states = defaultdict(_fresh)

    def _set(self, scale: Tensor, new: float | Tensor) -> None:
        if isinstance(new, Tensor):
            if new.device.type != self._device or new.numel() != 1 or new.requires_grad:
                raise AssertionError(
                    "new_scale should be a float or a 1-element dtorch.cuda.FloatTensor or "
                    "dtorch.FloatTensor with requires_grad=False."
                )
            scale.copy_(new.reshape(()))
        else:
            scale.fill_(float(new))

    def _used(self, by: str) -> Tensor:
        """The scale; AssertionError if nothing has been scaled yet."""
        if self._scale is None:
            raise AssertionError(
                f"Attempted {by} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale

    # ---- looking, and setting ----------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale; 1.0 if scaling is off."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def is_enabled(self) -> bool:
        return self._enabled

    # ---- keeping -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What load_state_dict takes; empty if scaling is off.  Call it after update()."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict(), dtorch's or torch's; nothing if scaling is off."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        scale, growth, backoff, interval, tracker = (
            state_dict[key]
            for key in ("scale", "growth_factor", "backoff_factor", "growth_interval",
                        "_growth_tracker")
        )  # fmt: skip
        self._init_scale, self._init_growth_tracker = scale, tracker
        self._growth_factor, self._backoff_factor = growth, backoff
        self._growth_interval = interval
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(scale)
            self._growth_tracker.fill_(tracker)

    def __getstate__(self) -> dict[str, Any]:
        if self._per_optimizer_states:
            raise AssertionError(
                "A GradScaler instance may only be pickled at the beginning of an iteration, or at "
                "the end after scaler.update()."
            )
        return self.__dict__ | {
            "_init_scale": self.get_scale() if self._enabled else self._init_scale,
            "_init_growth_tracker": self._get_growth_tracker(),
            "_scale": None,
            "_growth_tracker": None,
        }
