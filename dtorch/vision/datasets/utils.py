"""Fetching, checking and unpacking files, under torchvision.datasets.utils' names."""

from __future__ import annotations

import os
from pathlib import Path

from .archive import extract
from .download import check, download, file_md5


def calculate_md5(fpath: str | os.PathLike[str], chunk_size: int = 1 << 20) -> str:
    return file_md5(Path(fpath))


def check_integrity(fpath: str | os.PathLike[str], md5: str | None = None) -> bool:
    """Whether a file is there, with this checksum."""
    return check(Path(fpath), md5)


def download_url(
    url: str,
    root: str | os.PathLike[str],
    filename: str | None = None,
    md5: str | None = None,
    max_redirect_hops: int = 3,
) -> None:
    """Fetches a file into root, if it isn't there; RuntimeError if that fails."""
    download([url], Path(root).expanduser() / (filename or os.path.basename(url)), md5)


def extract_archive(
    from_path: str | os.PathLike[str],
    to_path: str | os.PathLike[str] | None = None,
    remove_finished: bool = False,
) -> str:
    """Unpacks an archive, by default beside itself; RuntimeError for a damaged or unsafe one."""
    to_path = Path(from_path).parent if to_path is None else to_path
    extract(from_path, to_path)
    if remove_finished:
        os.unlink(from_path)
    return str(to_path)


def download_and_extract_archive(
    url: str,
    download_root: str | os.PathLike[str],
    extract_root: str | os.PathLike[str] | None = None,
    filename: str | None = None,
    md5: str | None = None,
    remove_finished: bool = False,
) -> None:
    """`download_url`, then `extract_archive`."""
    root = Path(download_root).expanduser()
    archive = root / (filename or os.path.basename(url))
    download([url], archive, md5)
    extract_archive(archive, root if extract_root is None else extract_root, remove_finished)
