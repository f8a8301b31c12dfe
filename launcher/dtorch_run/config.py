"""Presets: flat TOML files whose keys are dtorch-run's options, checked key by key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dtorch_run.options import ALL, UsageError, listing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHIPPED = Path(__file__).with_name("configs")


def find(name: str) -> Path:
    """The file of ``--config name``: a path, or the bare name of a preset shipped with dtorch.

    Raises UsageError when there is none, with the nearest name of those shipped.
    """
    shipped = _SHIPPED / f"{name}.toml"
    if "/" not in name and shipped.is_file():
        return shipped
    if not Path(name).exists() and not name.endswith(".toml"):
        names = sorted(path.stem for path in _SHIPPED.glob("*.toml"))
        hint = nearest(name, names)
        raise UsageError(f"no preset {name!r}{hint}: give a file, or one of {', '.join(names)}")
    return Path(name)


def load(path: Path) -> dict[str, Any]:
    """The options in a preset, by their keys in `options.ALL`.

    Raises UsageError for a file that can't be read, a key that isn't an option, or a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the preset {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path}: expected TOML, got: {error}") from None
    return {_known(key, path): _typed(key, value, path) for key, value in table.items()}


def nearest(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the most similar of the known words, empty if none is."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _known(key: str, path: Path) -> str:
    if key in ALL:
        return key
    hint = nearest(key.replace("-", "_").lower(), ALL)
    raise UsageError(f"{path}: unknown key {key!r}{hint}; the keys are {', '.join(ALL)}")


def _typed(key: str, value: object, path: Path) -> object:
    kind = ALL[key].kind
    right = isinstance(value, kind.types) and isinstance(value, bool) == (kind.types == (bool,))
    if isinstance(value, list):
        right = right and all(isinstance(item, str) for item in value)
    choices = ALL[key].choices
    if not right or (choices and value not in choices):
        words = listing(choices) if choices else kind.words
        raise UsageError(f"{path}: {key} must be {words}, got {value!r}")
    return value
