"""The zip archive of a file: records under one folder, stored without compression.

    NAME/data.pkl             the object, as a pickle that refers to storages by number
    NAME/data/0 ...           the memory of the storages; each begins at a multiple of 64 bytes
    NAME/byteorder            little or big
    NAME/version              of the format: 3; .format_version, .storage_alignment: of its details

This is the format of torch.save (https://docs.pytorch.org/docs/stable/notes/serialization.html).
"""

from __future__ import annotations

import copy
import os
import struct
import zipfile
import zlib
from typing import Any

from ..backend import cpu

ALIGNMENT = 64
_CHUNK = 1 << 20


class Writer:
    def __init__(self, file: Any, folder: str) -> None:
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self.folder = folder

    def write(self, record: str, data: Any) -> None:
        """data: bytes, or an array of bytes."""
        info = zipfile.ZipInfo(f"{self.folder}/{record}")
        large = len(data) > zipfile.ZIP64_LIMIT
        begin = self.zip.start_dir + 30 + len(info.filename.encode()) + (20 if large else 0)
        padding = -(begin + 4) % ALIGNMENT
        info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        with self.zip.open(info, "w", force_zip64=large) as entry:
            entry.write(data)


class Reader:
    def __init__(self, file: Any, name: Any) -> None:
        self.name = name
        self.file = file
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError):
            raise RuntimeError(
                f"{name} is truncated or damaged: failed finding the central directory of its zip "
                f"archive; found {file.seek(0, os.SEEK_END)} bytes"
            ) from None
        paths = self.zip.namelist()
        pickles = [p for p in paths if p == "data.pkl" or p.endswith("/data.pkl")]
        if not pickles:
            raise RuntimeError(f"{name} is some other zip archive: it has no data.pkl inside")
        self.folder = min(pickles, key=len)[: -len("data.pkl")]

    def __contains__(self, record: str) -> bool:
        return self.folder + record in self.zip.NameToInfo

    def _info(self, record: str) -> zipfile.ZipInfo:
        if record not in self:
            raise RuntimeError(f"{self.name} is damaged: {record} is missing from it")
        info = self.zip.getinfo(self.folder + record)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RuntimeError(
                f"{self.name} is damaged: {record} is compressed in way {info.compress_type}, which "
                "is not known"
            )
        return info

    def place(self, record: str) -> tuple[int, int]:
        """Where the bytes of a record lie in the file, and how many there are."""
        info = self._info(record)
        if info.compress_type != zipfile.ZIP_STORED:
            raise RuntimeError(f"{self.name}: {record} is compressed, and so can't be mapped")
        self.file.seek(info.header_offset)
        head = self.file.read(30)
        if head[:4] != b"PK\x03\x04":
            raise RuntimeError(f"{self.name} is damaged: {record} has no header")
        return info.header_offset + 30 + sum(struct.unpack("<26xHH", head)), info.file_size

    def read(self, record: str) -> Any:
        """The bytes of a record as an array, (n,); RuntimeError unless they are those written."""
        info = copy.copy(self._info(record))
        expected, size = info.CRC, info.file_size
        del info.CRC  # the checksum is judged here, so that the error can say what was found
        data = cpu.empty(size, "uint8")
        found = actual = 0
        try:
            with self.zip.open(info) as entry:
                while chunk := entry.read(_CHUNK):
                    data[found : found + len(chunk)] = cpu.frombuffer(chunk, "uint8")
                    actual = zlib.crc32(chunk, actual)
                    found += len(chunk)
        except (EOFError, OSError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error):
            pass  # what there is of it is judged below
        # torch.serialization.set_crc32_options(False) writes zeros for checksums.
        if found != size or (actual != expected and expected):
            raise RuntimeError(
                f"{self.name} is damaged: {record} should be {size} bytes with checksum "
                f"{expected:08x}, but is {found} with {actual:08x}"
            )
        return data
