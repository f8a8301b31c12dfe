"""DTORCH_CHECK_MESSAGES=on: a transport that does all that the one inside it does."""

from __future__ import annotations

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.parallel.checksums import ChecksumTransport

pytest.register_assert_rewrite("tests.parallel.conformance")

from tests.parallel.conformance import run_all  # noqa: E402


def test_what_every_transport_does(monkeypatch):
    monkeypatch.setenv("DTORCH_CHECK_MESSAGES", "on")

    def body():
        assert isinstance(dist.group.WORLD.transport, ChecksumTransport)
        run_all()

    dist.run_local(body, 3)


def test_alone_and_switched_off_there_is_nothing_to_check(monkeypatch):
    def transport():
        return type(dist.group.WORLD.transport)

    assert ChecksumTransport not in dist.run_local(transport, 2)
    monkeypatch.setenv("DTORCH_CHECK_MESSAGES", "on")
    assert ChecksumTransport not in dist.run_local(transport, 1)


@pytest.mark.parametrize("call", ["send", "broadcast", "all_gather", "scatter"])
def test_a_flipped_bit_is_found(monkeypatch, call):
    monkeypatch.setenv("DTORCH_CHECK_MESSAGES", "on")

    def body():
        x, rank = dtorch.ones(5), dist.get_rank()
        if call == "send":
            dist.send(x, 1) if rank == 0 else dist.recv(x, 0)
        elif call == "broadcast":
            dist.broadcast(x, 0)
        elif call == "all_gather":
            dist.all_gather([x.clone(), x.clone()], x)
        else:
            dist.scatter(x, [x, x] if rank == 0 else None)

    rehearsal = dist.Rehearsal(faults=f"corrupt:0@{call}#1")
    with pytest.raises(dist.DistError, match="a message of rank 0 has arrived damaged on rank 1"):
        dist.run_local(body, 2, rehearsal=rehearsal)
