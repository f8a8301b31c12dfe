"""torch.hub without a network: entry points of hubconf.py files, and files of weights.

What is local is loaded: directories, file:// URLs, and what torch.hub or a download by hand has left
in the cache.  Anything else is refused, and the error says where the file or directory would have
to be.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from .core.serialize import load as load_file

__all__ = [
    "download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir",
]  # fmt: skip

_HASH = re.compile(r"-([a-f0-9]*)\.")  # resnet18-5c106cde.pth
_dir: str | None = None


# ---- the cache ---------------------------------------------------------------------------------


def get_dir() -> str:
    """The directory of the cache: that of set_dir, else $TORCH_HOME/hub, where $TORCH_HOME is by
    default $XDG_CACHE_HOME/torch, and that ~/.cache/torch."""
    if _dir is not None:
        return _dir
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    home = os.getenv("TORCH_HOME", os.path.join(cache, "torch"))
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Use another directory as the cache."""
    global _dir
    _dir = os.path.expanduser(d)


def _cached_repo(repo: str) -> str:
    """The directory of "owner/name" or "owner/name:ref" in the cache, where torch.hub puts it.

    ValueError for another form, RuntimeError if it is not there
    """
    found = re.fullmatch(r"([^/:]+)/([^/:]+)(?::(.+))?", repo)
    if not found:
        raise ValueError(f"expected a repository as owner/name or owner/name:ref, got {repo!r}")
    owner, name, ref = found.groups()
    refs = [ref] if ref else ["main", "master"]
    places = [os.path.join(get_dir(), "_".join([owner, name, r.replace("/", "_")])) for r in refs]
    for place in places:
        if os.path.exists(place):
            return place
    raise RuntimeError(
        f"dtorch.hub downloads nothing, and {repo} is not in the cache. Put the repository at "
        f"{places[0]}, or pass its directory to load() with source='local'"
    )


def _check_trusted(place: str, trust_repo: Any) -> None:
    """RuntimeError unless the caller, or torch's list in the cache, trusts a cached repository."""
    if trust_repo is True:
        return
    trusted = Path(get_dir(), "trusted_list")
    names = trusted.read_text().split() if trusted.exists() else []
    if not any(os.path.basename(place).startswith(name) for name in names):
        raise RuntimeError(
            f"Untrusted repository: loading {place} runs its code. Pass trust_repo=True if you "
            "trust it."
        )


# ---- entry points --------------------------------------------------------------------------------


@contextmanager
def _hubconf(place: str) -> Iterator[ModuleType]:
    """The module hubconf.py of a directory, which modules beside it can be imported from meanwhile.

    RuntimeError if it names dependencies that are not installed
    """
    file = os.path.join(place, "hubconf.py")
    if not os.path.exists(file):
        raise FileNotFoundError(f"no hubconf.py in {place}")
    spec = importlib.util.spec_from_file_location("hubconf", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, place)
    try:
        spec.loader.exec_module(module)
        wanted = getattr(module, "dependencies", None) or ()
        missing = [name for name in wanted if importlib.util.find_spec(name) is None]
        if missing:
            raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
        yield module
    finally:
        sys.path.remove(place)


def _entry(module: ModuleType, name: str) -> Callable[..., Any]:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found


def _directory(repo_or_dir: str, source: str, trust_repo: Any, force_reload: bool) -> str:
    """Where a repository is."""
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "local":
        return os.path.expanduser(repo_or_dir)
    if force_reload:
        raise RuntimeError("dtorch.hub downloads nothing: force_reload=True can't be followed")
    place = _cached_repo(repo_or_dir)
    _check_trusted(place, trust_repo)
    return place


def list(
    github: str,
    force_reload: bool = False,
    skip_validation: bool = False,
    trust_repo: bool | str | None = "check",
    verbose: bool = True,
    source: str = "github",
) -> builtins.list[str]:
    """The names of a repository's entry points.

    github: "owner/name" or "owner/name:ref", which must be in the cache; a directory if source is
        "local", which torch does not have here
    trust_repo: True to run code of a cached repository that is not on torch's list of trusted ones

    skip_validation and verbose are torch's, and change nothing.
    """
    with _hubconf(_directory(github, source, trust_repo, force_reload)) as module:
        return [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]


def help(
    github: str,
    model: str,
    force_reload: bool = False,
    skip_validation: bool = False,
    trust_repo: bool | str | None = "check",
    source: str = "github",
) -> str | None:
    """The docstring of an entry point; the arguments are those of `list`."""
    with _hubconf(_directory(github, source, trust_repo, force_reload)) as module:
        return _entry(module, model).__doc__


def load(
    repo_or_dir: str,
    model: str,
    *args: Any,
    source: str = "github",
    trust_repo: bool | str | None = "check",
    force_reload: bool = False,
    verbose: bool = True,
    skip_validation: bool = False,
    **kwargs: Any,
) -> Any:
    """What the entry point `model` of a repository returns for these arguments.

    repo_or_dir: a directory with a hubconf.py (source="local"), or "owner/name" or
        "owner/name:ref", which must be in the cache (source="github")
    trust_repo: True to run code of a cached repository that is not on torch's list of trusted ones

    verbose and skip_validation are torch's, and change nothing.  RuntimeError if the repository, the
    entry point or a dependency is not there.
    """
    with _hubconf(_directory(repo_or_dir, source, trust_repo, force_reload)) as module:
        return _entry(module, model)(*args, **kwargs)


# ---- files -------------------------------------------------------------------------------------


def _check_hash(file: str, expected: str) -> None:
    """RuntimeError unless the SHA-256 of a file begins with these digits."""
    sha256 = hashlib.sha256()
    with open(file, "rb") as f:
        while block := f.read(1 << 20):
            sha256.update(block)
    digest = sha256.hexdigest()
    if not digest.startswith(expected):
        raise RuntimeError(f'invalid hash value (expected "{expected}", got "{digest}")')


def download_url_to_file(
    url: str, dst: str | os.PathLike[str], hash_prefix: str | None = None, progress: bool = True
) -> None:
    """Copy the file of a file:// URL to dst, which is there whole or not at all.

    hash_prefix: how the file's SHA-256 begins; RuntimeError if it does not
    progress: torch's, changes nothing

    RuntimeError for a URL that is not local
    """
    parts = urlparse(url)
    if parts.scheme != "file":
        raise RuntimeError(
            f"dtorch.hub downloads nothing: get {url} by other means, and put it at {dst}"
        )
    dst = os.path.expanduser(dst)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(dst))) as beside:
        copy = os.path.join(beside, "copy")
        shutil.copyfile(url2pathname(parts.path), copy)
        if hash_prefix is not None:
            _check_hash(copy, hash_prefix)
        os.replace(copy, dst)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = False,
) -> Any:
    """dtorch.load of the file of a URL in the cache; a file:// URL is copied there first.

    model_dir: where files are kept; by default "checkpoints" in get_dir()
    file_name: the file's name there; by default that in the URL
    check_hash: check the SHA-256 whose first digits are in the name: name-<digits>.ext
    progress: torch's, changes nothing

    RuntimeError for another URL whose file is not there, or a wrong hash
    """
    model_dir = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    name = file_name or os.path.basename(urlparse(url).path)
    cached = os.path.join(model_dir, name)
    digits = _HASH.search(name) if check_hash else None
    expected = digits[1] if digits else None
    if os.path.exists(cached):
        if expected is not None:
            _check_hash(cached, expected)
    else:
        os.makedirs(model_dir, exist_ok=True)
        download_url_to_file(url, cached, expected, progress)
    return load_file(cached, map_location=map_location, weights_only=weights_only)
