"""Files that are replaced only by complete ones."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_asking = threading.Lock()


@contextmanager
def replacement(path: Any) -> Iterator[str]:
    """The path of a new file, which takes the place of `path` at the end of the `with` block.

    It is on the disk by then.  If the block raises, the file that was there stays as it was.
    RuntimeError where there is no such folder.
    """
    path = os.path.abspath(os.fsdecode(path))
    folder, name = os.path.split(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except FileNotFoundError:
        raise RuntimeError(f"Parent directory {folder} does not exist.") from None
    try:
        yield temporary
        os.fsync(handle)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's is 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(handle)
    _sync_folder(folder)


def _umask() -> int:
    with _asking:  # two threads that ask at once would leave a 0
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _sync_folder(folder: str) -> None:
    """Put the file's new name on the disk too, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
