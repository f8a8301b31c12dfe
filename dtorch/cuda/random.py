"""Random numbers on GPUs come from the generator that the CPU has, too.

Numbers are drawn by counting (dtorch.Generator), so that they are the same on each device.  Where
there is no GPU, these functions leave that generator alone, as torch's do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.random import default_generator
from ..core.tensor import Tensor
from .devices import current_device, device_count, is_available

__all__ = [
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed",
    "seed_all", "set_rng_state", "set_rng_state_all",
]  # fmt: skip


def manual_seed(seed: int) -> None:
    """Start the stream of `seed` anew; nothing where there is no GPU."""
    if is_available():
        default_generator().manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """manual_seed for all GPUs: they share one generator."""
    manual_seed(seed)


def seed() -> None:
    """Take a seed from the operating system; nothing where there is no GPU."""
    if is_available():
        default_generator().seed()


def seed_all() -> None:
    """seed for all GPUs: they share one generator."""
    seed()


def initial_seed() -> int:
    """The seed of the stream.  RuntimeError where there is no GPU."""
    current_device()
    return default_generator().initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The generator's state.  RuntimeError where there is no GPU."""
    current_device()
    return default_generator().get_state()


def get_rng_state_all() -> list[Tensor]:
    """The state once for each GPU; they share it."""
    return [get_rng_state() for _ in range(device_count() if is_available() else 0)]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Go on from a state that get_rng_state returned; nothing where there is no GPU."""
    if is_available():
        default_generator().set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Go on from the states that get_rng_state_all returned."""
    for state in new_states:
        set_rng_state(state)
