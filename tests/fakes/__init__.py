"""Stand-ins for what is not on every machine."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from dtorch.core import backend
from dtorch.core.backend import visible

UUIDS = [f"GPU-{i:08x}-0000-0000-0000-000000000000" for i in range(8)]


@contextmanager
def gpus(count: int = 2) -> Iterator[Any]:
    """In here this machine has GPUs, with a CuPy that computes on the CPU.  Yields that CuPy."""
    folder = str(Path(__file__).parent)
    with mock.patch.object(sys, "path", [folder, *sys.path]):
        cupy = importlib.import_module("cupy")
        cupy.cuda.devices = count
        cupy.cuda.waited.clear()
        uuids = mock.patch.object(visible, "nvml_uuids", return_value=UUIDS[:count])
        first_use = mock.patch("dtorch.cuda.devices._cupy", None)
        try:
            with uuids, first_use:
                yield cupy
        finally:
            cupy.cuda.Device(0).use()
            for name in [m for m in sys.modules if m.partition(".")[0] in ("cupy", "cupyx")]:
                del sys.modules[name]
            sys.modules.pop("dtorch.core.backend.cuda", None)
            backend.__dict__.pop("cuda", None)
