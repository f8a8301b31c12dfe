"""Checksums on messages (DTORCH_CHECK_MESSAGES=on): what has changed on its way is found.

A transport around a transport.  Each part of a movement travels as its bytes and, in eight more,
its CRC-32 (zlib's), which the rank that takes it compares.  Where ranks read each other's memory
there are no messages, and nothing is checked.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from dtorch.core import env
from dtorch.core.backend import cpu

from .transport import Transport, cut
from .work import DistError, Request

_SEAL = 8  # bytes


def checked(transport: Transport) -> Transport:
    """The transport, with checksums where they are asked for and there are messages."""
    wanted = env.CHECK_MESSAGES.get() == "on" and not transport.common_memory
    return ChecksumTransport(transport) if wanted and transport.size > 1 else transport


class ChecksumTransport:
    """A transport whose messages carry checksums (see transport.Transport)."""

    common_memory = several_nodes = False

    def __init__(self, transport: Transport) -> None:
        self._inner = transport
        self.name, self.rank, self.size = transport.name, transport.rank, transport.size
        self.invite, self.pause = transport.invite, transport.pause
        self.abort, self.close = transport.abort, transport.close

    def all_gather(self, send: Any, recv: Any, counts: Sequence[int]) -> _Opening:
        parts = cut(recv, counts)
        letters, sizes = _letters(parts)
        request = self._inner.all_gather(_seal([send]), letters, sizes)
        return _Opening(self.rank, request, letters, parts, range(self.size))

    def all_to_all(
        self, send: Any, send_counts: Sequence[int], recv: Any, recv_counts: Sequence[int]
    ) -> _Opening:
        parts = cut(recv, recv_counts)
        letters, sizes = _letters(parts)
        sent = [count * send.itemsize + _SEAL for count in send_counts]
        sealed = _seal(cut(send, send_counts))
        request = self._inner.all_to_all(sealed, sent, letters, sizes)
        return _Opening(self.rank, request, letters, parts, range(self.size))

    def broadcast(self, data: Any, root: int) -> _Opening:
        letter = _seal([data])
        return _Opening(self.rank, self._inner.broadcast(letter, root), letter, [data], [root])

    def gather(self, send: Any, recv: Any, root: int) -> _Opening:
        parts = [] if recv is None else cut(recv, [send.size] * self.size)
        letters, _ = _letters(parts)
        into = None if recv is None else letters
        request = self._inner.gather(_seal([send]), into, root)
        return _Opening(self.rank, request, letters, parts, range(self.size))

    def scatter(self, send: Any, recv: Any, root: int) -> _Opening:
        letter, _ = _letters([recv])
        parts = None if send is None else _seal(cut(send, [recv.size] * self.size))
        request = self._inner.scatter(parts, letter, root)
        return _Opening(self.rank, request, letter, [recv], [root])

    def send(self, data: Any, peer: int, tag: int) -> Request:
        return self._inner.send(_seal([data]), peer, tag)

    def recv(self, data: Any, peer: int | None, tag: int) -> _Opening:
        letter, _ = _letters([data])
        return _Opening(self.rank, self._inner.recv(letter, peer, tag), letter, [data], None)

    def split(self, ranks: Sequence[int], invitations: Sequence[Any]) -> Transport | None:
        part = self._inner.split(ranks, invitations)
        return None if part is None else ChecksumTransport(part)


class _Opening:
    """A movement whose letters are opened when they are there.

    rank: this rank, for the error
    parts: where the letters' contents go
    sources: whom they are from; None: whoever the request says
    """

    def __init__(self, rank: int, request: Any, letters: Any, parts: Sequence[Any],
                 sources: Sequence[int] | None) -> None:  # fmt: skip
        self._rank, self._request, self._letters = rank, request, letters
        self._parts, self._sources = parts, sources
        self.patience = request.patience

    @property
    def source(self) -> int:
        return self._request.source

    def missing(self) -> str:
        return self._request.missing()

    def test(self) -> bool:
        if not self._request.test():
            return False
        sources = [self.source] if self._sources is None else self._sources
        start = 0
        for source, part in zip(sources, self._parts):
            content = self._letters[start : start + part.nbytes]
            start += part.nbytes + _SEAL
            told = int(self._letters[start - _SEAL : start].view(cpu.uint64)[0])
            found = zlib.crc32(content)
            if told != found:
                raise DistError(
                    f"a message of rank {source} has arrived damaged on rank {self._rank} "
                    f"({part.nbytes} bytes, CRC-32 {found:08x}, expected {told:08x})"
                )
            part[...] = content.view(part.dtype)
        return True


def _seal(parts: Sequence[Any]) -> Any:
    """The bytes of flat arrays, each with its checksum behind it: uint8 (n,)."""
    pieces = []
    for part in parts:
        content = part.view(cpu.uint8)
        pieces += [content, cpu.array([zlib.crc32(content)], cpu.uint64).view(cpu.uint8)]
    return cpu.concatenate(pieces)


def _letters(parts: Sequence[Any]) -> tuple[Any, list[int]]:
    """Memory for the sealed forms of some arrays, and how many bytes each takes."""
    sizes = [part.nbytes + _SEAL for part in parts]
    return cpu.empty(sum(sizes), cpu.uint8), sizes
