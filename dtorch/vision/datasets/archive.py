"""Unpacking archives, so that nothing is written outside the folder that they are unpacked in."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError)


def extract(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Unpacks a zip file, or a tar file, packed by gzip, bzip2, xz or not.

    Raises:
        RuntimeError: it is no such file, or damaged; a member would lie outside the folder, or is a
            link or a device; or there is no room for what it says that it holds. Names and sizes are
            looked at before anything is written.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except _BROKEN as error:
        raise RuntimeError(
            f"{archive} is no whole archive ({error}); delete it and get it again"
        ) from error


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check(archive, folder, ((m.filename, m.file_size) for m in members))
        file.extractall(folder)  # it makes files and folders only; links would be files


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        members = file.getmembers()
        for member in members:
            if not (member.isfile() or member.isdir()):
                raise RuntimeError(f"{archive}: {member.name!r} is neither a file nor a folder")
        _check(archive, folder, ((m.name, m.size) for m in members))
        for member in members:
            target = folder / member.name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source = file.extractfile(member)
            assert source is not None
            with source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)


def _check(archive: Path, folder: Path, members: Iterable[tuple[str, int]]) -> None:
    """RuntimeError unless all members (name, size) lie within the folder and fit the disk."""
    total, base = 0, folder.resolve()
    for name, size in members:
        if not (base / name).resolve().is_relative_to(base):
            raise RuntimeError(f"{archive}: {name!r} would be written outside {folder}")
        total += size
    free = shutil.disk_usage(folder).free
    if total > free:
        raise RuntimeError(f"{archive} unpacks to {total} bytes; {folder} has {free} left")
