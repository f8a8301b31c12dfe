"""What a user registers with dtorch.distributed, and its tools for scripts, beside torch's."""

from __future__ import annotations

import io
import json
import sys

import pytest
import torch
import torch.distributed
import torch.distributed.elastic.multiprocessing.errors as torchs_errors

import dtorch
import dtorch.distributed as dist
from dtorch.distributed.elastic.multiprocessing.errors import record
from dtorch.parallel.backends import Backend
from dtorch.parallel.transport_local import Hub, LocalTransport


@pytest.mark.parametrize("given", ["gloo", "cpu:gloo,cuda:nccl", "cpu:mpi", "cpu:gloo,b"])
def test_backends_by_device_are_torchs(given):
    def ask(d):
        try:
            return d.BackendConfig(d.Backend(given)).get_device_backend_map()
        except ValueError as error:
            return str(error).partition(":")[0]

    ours, theirs = ask(dist), ask(torch.distributed)
    if isinstance(theirs, dict):
        theirs = {device: theirs[device] for device in ours}  # torch has further devices
    assert ours == theirs


def test_a_backend_for_each_device_is_taken():
    dist.init_process_group("cpu:gloo,cuda:nccl")
    try:
        assert dist.get_backend() == "local"
    finally:
        dist.destroy_process_group()


class Counting(LocalTransport):
    """Somebody's own transport."""

    moved = 0

    def broadcast(self, data, root):
        Counting.moved += data.nbytes
        return super().broadcast(data, root)


def test_a_backend_of_ones_own(monkeypatch):
    monkeypatch.setattr(Backend, "registered", {})
    seen = []

    def make(store, rank, size, timeout):
        seen.append((type(store), rank, size, timeout.total_seconds()))
        return Counting(Hub(size), rank, size)

    dist.Backend.register_backend("Counting", make)
    monkeypatch.delattr(Backend, "COUNTING")
    assert dist.is_backend_available("counting")
    store = dist.HashStore()
    dist.init_process_group("counting", store=store, rank=0, world_size=1, timeout=7)
    try:
        dist.broadcast(dtorch.ones(4), 0)
    finally:
        dist.destroy_process_group()
    assert seen == [(dist.HashStore, 0, 1, 7)]
    assert Counting.moved == 16
    for taken in ("counting", "MPI"):
        with pytest.raises(RuntimeError, match="there already"):
            dist.Backend.register_backend(taken, make)
    with pytest.raises(ValueError, match="extended_api"):
        dist.Backend.register_backend("other", make, extended_api=True)
    with pytest.raises(ValueError, match="expected 'shm'"):
        dist.init_process_group("unheard-of")


def test_a_meeting_of_ones_own(monkeypatch):
    from dtorch.parallel import rendezvous

    monkeypatch.setattr(rendezvous, "_HANDLERS", {})
    asked = []

    def handler(url, timeout):
        asked.append((url, timeout.total_seconds()))
        yield dist.HashStore(), 0, 1

    dist.register_rendezvous_handler("pigeon", handler)
    with pytest.raises(RuntimeError, match="already registered"):
        dist.register_rendezvous_handler("pigeon", handler)
    with pytest.raises(RuntimeError, match="already registered"):
        dist.register_rendezvous_handler("tcp", handler)
    dist.init_process_group(init_method="pigeon://loft/3", timeout=9)
    dist.destroy_process_group()
    assert asked == [("pigeon://loft/3", 9)]


def test_debug_levels(monkeypatch):
    before = dist.get_debug_level()
    try:
        dist.set_debug_level(dist.DebugLevel.DETAIL)
        assert dist.get_debug_level() is dist.DebugLevel.DETAIL
        monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", "INFO")
        dist.set_debug_level_from_env()
        assert dist.get_debug_level() is dist.DebugLevel.INFO
        monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", "LOUD")
        with pytest.raises(ValueError, match="'OFF', 'INFO', 'DETAIL'"):
            dist.set_debug_level_from_env()
    finally:
        dist.set_debug_level(before)
    assert {m.name: m.value for m in dist.DebugLevel} == {
        name: int(level) for name, level in torch.distributed.DebugLevel.__members__.items()
    }


def test_a_breakpoint_is_on_one_rank(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("up\np 6 * number\nc\n"))
    tracing = sys.gettrace()

    def body():
        number = 7
        dist.breakpoint(rank=1)
        return number

    try:
        assert dist.run_local(body, 2) == [7, 7]
    finally:
        sys.settrace(tracing)
    assert "42" in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyError("gone"), SystemExit(3), SystemExit(0), None])
def test_a_failure_is_recorded_as_torch_does(error, tmp_path, monkeypatch):
    def main(x):
        if error is not None:
            raise error
        return x

    def run(decorate, file):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        try:
            ends = decorate(main)(5)
        except (KeyError, SystemExit) as raised:
            ends = raised
        return ends, json.loads(file.read_text()) if file.exists() else None

    ours, theirs = run(record, tmp_path / "ours"), run(torchs_errors.record, tmp_path / "theirs")
    assert ours[0] == theirs[0]
    if isinstance(error, KeyError):
        assert ours[1]["message"]["message"] == theirs[1]["message"]["message"]
        assert ours[1]["message"]["extraInfo"].keys() == theirs[1]["message"]["extraInfo"].keys()
        assert "in main" in ours[1]["message"]["extraInfo"]["py_callstack"]
    else:
        assert (ours[1] is None) == (theirs[1] is None)
    assert main.__name__ == record(main).__name__


def test_the_default_timeout_is_torchs():
    assert dist.default_pg_timeout == torch.distributed.default_pg_timeout
