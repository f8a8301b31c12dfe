"""Fetching files: from the first mirror that has them, checked, and resumed where they broke off."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

TIMEOUT_SECONDS = 30


def download(urls: Sequence[str], path: Path, md5: str | None) -> None:
    """Puts the file from the first working URL at ``path``, if it isn't there already.

    The file appears whole and checked or not at all. Until then what has come is beside it, under
    another name; a later call goes on from there. Processes that want the same file wait for the one
    that fetches it.

    Raises:
        RuntimeError: no URL gave a file with this MD5 checksum; says what each gave.
    """
    if check(path, md5):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    failures = []
    with open(part, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if check(path, md5):  # by another process, while this one waited
            part.unlink(missing_ok=True)
            return
        for url in urls:
            try:
                _fetch(url, file)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{url}: {error}")
                continue
            found = file_md5(part)
            if md5 in (None, found):
                os.replace(part, path)
                return
            file.truncate(0)
            failures.append(f"{url}: its MD5 is {found}, expected {md5}")
        if not part.stat().st_size:  # nothing to go on from
            part.unlink()
    raise RuntimeError(
        "\n  ".join([f"Error downloading {path.name}; get it yourself, to {path}:", *failures])
    )


def _fetch(url: str, file: IO[bytes]) -> None:
    """Appends to the file what it lacks of the URL's; OSError if the connection breaks."""
    there = file.seek(0, os.SEEK_END)
    headers = {"Range": f"bytes={there}-"} if there else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if there and getattr(response, "status", None) != http.client.PARTIAL_CONTENT:
            file.truncate(0)  # all of it comes anew
        length = response.headers.get("Content-Length")
        before = file.seek(0, os.SEEK_END)
        shutil.copyfileobj(response, file)
        file.flush()
    came = file.tell() - before
    if length is not None and came < int(length):
        raise ConnectionError(f"the connection broke after {came} of {length} bytes")


def check(path: Path, md5: str | None) -> bool:
    """Whether a file is there, with this checksum."""
    return path.is_file() and md5 in (None, file_md5(path))


def file_md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
