"""Two files of dtorch that the launcher needs too, run by path.

Both use the standard library only.  To import them as parts of dtorch would load the tensor
library, which takes as long as all the rest of a start.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def _load(path: str) -> Any:
    package = importlib.util.find_spec("dtorch")  # finds it, and doesn't run it
    assert package is not None
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0], path)
    name = f"dtorch_run.borrowed.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


identity = _load("parallel/identity.py")  # who am I: one table for every starter
visible = _load("core/backend/visible.py")  # CUDA_VISIBLE_DEVICES as CUDA reads it
