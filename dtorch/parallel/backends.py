"""Backends by name: those that there are, and those that a user registers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, ClassVar


class Backend(str):
    """A backend's name, in lower case: Backend("MPI") == Backend.MPI == "mpi"."""

    LOCAL = "local"
    SHM = "shm"
    MPI = "mpi"
    GLOO = "gloo"
    NCCL = "nccl"
    UNDEFINED = "undefined"

    registered: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())

    @classmethod
    def register_backend(
        cls,
        name: str,
        func: Callable[..., Any],
        extended_api: bool = False,
        devices: str | list[str] | None = None,
    ) -> None:
        """Make init_process_group(name) use the transport of a user's own.

        func: func(store, rank, world_size, timeout: timedelta) -> a Transport, see transport.py: what
            moves bytes; collectives, checks and DistributedDataParallel are made of that
        extended_api, devices: torch's; False, and without effect

        RuntimeError for a name that there is already.
        """
        if extended_api:
            raise ValueError("extended_api=True is not supported")
        key = name.lower()
        if key in cls.registered or key in _AVAILABLE:
            raise RuntimeError(f"backend {key!r} is there already; choose another name")
        cls.registered[key] = func
        setattr(cls, name.upper(), key)


class BackendConfig:
    """The backend for each kind of device, of "gloo" (for all) or "cpu:gloo,cuda:nccl"."""

    def __init__(self, backend: str) -> None:
        self.device_backend_map: dict[str, Backend] = {}
        for part in backend.split(","):
            device, colon, name = part.strip().rpartition(":")
            if not colon and "," in backend:
                raise ValueError(
                    f"Invalid device:backend pairing: {part!r} in {backend!r}; expected 'backend', "
                    "or pairs like 'cpu:gloo,cuda:nccl'"
                )
            for kind in [device] if colon else ["cpu", "cuda"]:
                self.device_backend_map[kind] = Backend(name)

    def get_device_backend_map(self) -> dict[str, Backend]:
        """{device type: backend}"""
        return self.device_backend_map

    def __repr__(self) -> str:
        return ",".join(f"{device}:{name}" for device, name in self.device_backend_map.items())


def is_available() -> bool:
    """True: ranks can always be threads of one process."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return importlib.util.find_spec("mpi4py") is not None


def is_gloo_available() -> bool:
    """True: init_process_group takes "gloo" for the best way there is on CPUs."""
    return True


def is_nccl_available() -> bool:
    """False: there is no NCCL transport yet."""
    return False


_AVAILABLE = {
    Backend.LOCAL: is_available, Backend.SHM: is_available, Backend.MPI: is_mpi_available,
    Backend.GLOO: is_gloo_available, Backend.NCCL: is_nccl_available,
}  # fmt: skip


def is_backend_available(backend: str) -> bool:
    """Whether init_process_group(backend) can work on this machine."""
    name = backend.lower()
    return name in Backend.registered or (name in _AVAILABLE and _AVAILABLE[name]())
