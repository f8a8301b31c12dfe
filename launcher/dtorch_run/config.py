"""Presets: flat TOML files whose keys are dtorch-run's options, checked key by key."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# key -> (accepted types, how to say them); what a value may be is checked in `plan`
KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "nproc_per_node": ((int, str), 'a whole number, "auto", "cpu" or "gpu"'),
    "backend": ((str,), "a string"),
    "threads": ((int,), "a whole number"),
    "timeout": ((int, float), "a number of seconds"),
    "env": ((list,), 'a list of "NAME=value" strings'),
}
_SHIPPED = Path(__file__).with_name("configs")


class UsageError(ValueError):
    """The command line or a preset asks for something that can't be done."""


def find(name: str) -> Path:
    """The file of ``--config name``: a path, or the bare name of a preset shipped with dtorch."""
    shipped = _SHIPPED / f"{name}.toml"
    return shipped if "/" not in name and shipped.is_file() else Path(name)


def load(path: Path) -> dict[str, Any]:
    """The options in a preset, by the names in `KEYS`.

    Raises UsageError for a file that can't be read, a key that isn't an option, or a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the preset {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path}: expected TOML, got: {error}") from None
    return {_known(key, path): _typed(key, value, path) for key, value in table.items()}


def _known(key: str, path: Path) -> str:
    if key in KEYS:
        return key
    nearest = difflib.get_close_matches(key.replace("-", "_").lower(), KEYS, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise UsageError(f"{path}: unknown key {key!r}{hint}; the keys are {', '.join(KEYS)}")


def _typed(key: str, value: object, path: Path) -> object:
    types, wanted = KEYS[key]
    right = isinstance(value, types) and not isinstance(value, bool)
    if isinstance(value, list):
        right = right and all(isinstance(item, str) for item in value)
    if not right:
        raise UsageError(f"{path}: {key} must be {wanted}, got {value!r}")
    return value
