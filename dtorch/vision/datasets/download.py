"""Fetching a file from the first mirror that has it."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_SECONDS = 30


def download(urls: Sequence[str], path: Path, md5: str) -> None:
    """Puts the file from the first working URL at ``path``, if it isn't there already.

    The file appears whole and checked or not at all, so that several processes can download to
    one place at once.

    Raises:
        RuntimeError: no URL gave a file with this MD5 checksum; says what each gave.
    """
    if path.exists() and _md5(path) == md5:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with (
                os.fdopen(handle, "wb") as file,
                urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,
            ):
                shutil.copyfileobj(response, file)
            found = _md5(Path(name))
            if found == md5:
                os.chmod(name, 0o644)  # mkstemp's files are private
                os.replace(name, path)
                return
            failures.append(f"{url}: its MD5 is {found}, expected {md5}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
        finally:
            Path(name).unlink(missing_ok=True)
    raise RuntimeError(
        "\n  ".join([f"Error downloading {path.name}; get it yourself, to {path}:", *failures])
    )


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
