"""Random numbers that can be counted: a generator's state is its seed and an offset.

The engine is Philox (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC
2011): block number n of the stream is a function of the seed and n alone.  Each draw begins at a
fresh block and moves the offset on by the blocks that it used, so that (seed, offset) says all, in
16 bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .backend import cpu
from .device import CPU, device
from .tensor import Tensor, wrap

_64 = (1 << 64) - 1


class Generator:
    """A stream of random numbers.  Every function that draws takes one as generator=."""

    def __init__(self, device: Any = "cpu", seed: int = 67280421310721) -> None:
        self.device = _device(device)
        self._seed, self._offset = seed & _64, 0
        self._lock = threading.Lock()  # the DataLoader's threads may share one

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` anew; negative seeds count from 2**64 down."""
        seed = int(seed)
        if not -(1 << 63) <= seed <= _64:
            raise ValueError(f"Overflow when unpacking long: the seed {seed} does not fit 64 bits")
        self._seed, self._offset = seed & _64, 0
        return self

    def seed(self) -> int:
        """Take a seed from the operating system, and return it."""
        import secrets

        self.manual_seed(secrets.randbits(63))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def get_state(self) -> Tensor:
        """uint8 (16,): seed and offset, little-endian."""
        state = self._seed.to_bytes(8, "little") + self._offset.to_bytes(8, "little")
        return wrap(cpu.frombuffer(state, "uint8").copy())

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state that get_state returned."""
        if not isinstance(new_state, Tensor) or str(new_state.dtype) != "dtorch.uint8":
            raise TypeError(
                "expected a ByteTensor as the generator's state, as get_state() returns"
            )
        if new_state.numel() != 16:
            raise RuntimeError(f"expected a state of 16 bytes, got {new_state.numel()}")
        state = bytes(new_state.tolist())
        self._seed, self._offset = (int.from_bytes(b, "little") for b in (state[:8], state[8:]))
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator(self.device).set_state(self.get_state())

    def draw(self, function: Callable[[Any], Any]) -> Any:
        """function(numpy.random.Generator), with one that begins at the next fresh block."""
        with self._lock:
            engine = cpu.random.Philox(key=self._seed, counter=self._offset)
            result = function(cpu.random.Generator(engine))
            self._offset = int(engine.state["state"]["counter"][0])
        return result

    def reserve(self, blocks: int) -> tuple[int, int]:
        """The state, (seed, offset), of a draw of that many blocks that is made elsewhere."""
        with self._lock:
            state = self._seed, self._offset
            self._offset += blocks
        return state

    def __getstate__(self) -> tuple[str, int, int]:
        return str(self.device), self._seed, self._offset

    def __setstate__(self, state: tuple[str, int, int]) -> None:
        self.__init__(state[0], state[1])  # type: ignore[misc]
        self._offset = state[2]

    def __repr__(self) -> str:
        where = f"seed={self._seed} offset={self._offset}"
        return f"<dtorch.Generator device={str(self.device)!r} {where}>"


def _device(d: Any) -> device:
    return CPU if d == "cpu" else device(d)


# One for the process; a rank that runs as a thread has its own (own_generator).
_default: ContextVar[Generator] = ContextVar("generator", default=Generator())  # noqa: B039


def default_generator() -> Generator:
    """The generator that is drawn from where none is given."""
    return _default.get()


def own_generator(seed: int | None = None) -> Generator:
    """Give the current context (a thread, a task) a default generator of its own."""
    generator = Generator(seed=default_generator().initial_seed() if seed is None else seed)
    _default.set(generator)
    return generator


@contextmanager
def use_generator(generator: Generator) -> Iterator[None]:
    """It is the current context's default generator in here."""
    before = default_generator()
    _default.set(generator)
    try:
        yield
    finally:
        _default.set(before)


def seed_at(seed: int, *place: int) -> int:
    """The seed, in [0, 2**64), of one place in a job of that seed: up to three numbers.

    It is a word of Philox's block (0, *place) under the key `seed`, so any place's is had at once,
    whichever came before: no generator has to be passed on, or saved.
    """
    if len(place) > 3:
        raise ValueError(f"expected a place of up to three numbers, got {place}")
    counter = [0, *place, *[0] * (3 - len(place))]
    return int(cpu.random.Philox(key=seed & _64, counter=counter).random_raw())


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, and return it."""
    return default_generator().manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system, and return the seed."""
    return default_generator().seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator().initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state: uint8 (16,)"""
    return default_generator().get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the default generator's state to one that get_rng_state returned."""
    default_generator().set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """What is drawn in here leaves the default generator as it was."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)
