"""The server side of PMI-1, which MPICH and its relatives use to find each other at MPI_Init.

With it the launcher starts the ranks itself, without mpirun, and they still share one
MPI_COMM_WORLD.  The wire protocol: each rank holds a socket (PMI_FD) and sends lines of
``key=value`` words, ``cmd=get kvsname=job key=P0``; every line but ``abort`` gets one line back.
(MPICH's "PMI v1 wire protocol"; P. Balaji et al., "PMI: A Scalable Parallel Process-Management
Interface for Extreme-Scale Systems", EuroMPI 2010.)

`Pmi` does no input or output: bytes of a rank go in, the bytes to send come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_LONGEST_LINE = 1 << 16
_KEY, _VALUE, _NAME = 64, 1024, 256  # the lengths we promise in `maxes`


class Reply(NamedTuple):
    rank: int
    data: bytes


class Abort(NamedTuple):
    rank: int
    code: int


class Pmi:
    """One job's key-value space and barrier.

    `job` must differ between jobs: MPICH names its shared-memory segments after it, and would
    attach to what a killed job of the same name left behind.
    """

    def __init__(self, size: int, job: str, nodes: int = 1) -> None:
        self.size = size
        self.job = job
        self.abort: Abort | None = None
        # (first node, number of nodes, ranks per node)
        self._store = {"PMI_process_mapping": f"(vector,(0,{nodes},{size // nodes}))"}
        self._pending = [b""] * size
        self._spawning = [False] * size
        self._waiting: set[int] = set()

    def feed(self, rank: int, data: bytes) -> Iterator[Reply]:
        """Take bytes from a rank's socket; yield what to send, to whichever rank it goes."""
        *lines, rest = (self._pending[rank] + data).split(b"\n")
        self._pending[rank] = rest[-_LONGEST_LINE:]  # whoever writes rubbish costs no memory
        for line in lines:
            for to, text in self._answer(rank, line.decode("utf-8", "replace").strip()):
                yield Reply(to, text.encode() + b"\n")

    def segments(self) -> tuple[str, str]:
        """How the names of the job's MPICH segments in /dev/shm begin (FNV-1a of the job)."""
        digest = 2166136261
        for byte in self.job.encode():
            digest = (digest ^ byte) * 16777619 & 0xFFFFFFFF
        return f"mpich_shm_{digest:x}_", f"mpich_vci_{digest:x}_"

    def _answer(self, rank: int, line: str) -> Iterator[tuple[int, str]]:
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        command = words.get("cmd", "")
        if self._spawning[rank]:  # inside mcmd=spawn ... endcmd
            if line == "endcmd":
                self._spawning[rank] = False
                yield rank, "cmd=spawn_result rc=-1 msg=dtorch-run_does_not_spawn"
        elif "mcmd" in words:
            self._spawning[rank] = True
        elif command == "barrier_in":
            self._waiting.add(rank)
            if len(self._waiting) == self.size:
                for each in sorted(self._waiting):
                    yield each, "cmd=barrier_out rc=0 msg=success"
                self._waiting.clear()
        elif command == "abort":
            code = words.get("exitcode", "1")
            number = int(code) & 255 if code.lstrip("-").isdecimal() else 1
            self.abort = self.abort or Abort(rank, number or 1)
        elif line:
            yield rank, self._look_up(command, words, line)

    def _look_up(self, command: str, words: dict[str, str], line: str) -> str:
        if command == "init":
            return "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1"
        if command == "get_maxes":
            return f"cmd=maxes rc=0 kvsname_max={_NAME} keylen_max={_KEY} vallen_max={_VALUE}"
        if command == "get_appnum":
            return "cmd=appnum rc=0 appnum=0"
        if command == "get_my_kvsname":
            return f"cmd=my_kvsname rc=0 kvsname={self.job}"
        if command == "get_universe_size":
            return f"cmd=universe_size rc=0 size={self.size}"
        if command == "put":
            return self._put(words.get("key"), line)
        if command == "get":
            value = self._store.get(words.get("key", ""))
            if value is None:
                return "cmd=get_result rc=-1 msg=key_not_found"
            return f"cmd=get_result rc=0 msg=success value={value}"
        if command == "finalize":
            return "cmd=finalize_ack rc=0 msg=success"
        return f"cmd={command or 'unknown'} rc=-1 msg=unsupported"

    def _put(self, key: str | None, line: str) -> str:
        _, found, value = line.partition(" value=")  # a value may hold spaces and '='
        if not (key and found):
            return "cmd=put_result rc=-1 msg=expected_key_and_value"
        if len(key) > _KEY or len(value) > _VALUE:
            return "cmd=put_result rc=-1 msg=key_or_value_too_long"
        self._store[key] = value
        return "cmd=put_result rc=0 msg=success"
