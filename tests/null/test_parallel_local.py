"""Ranks as threads: their contexts, their failures, their deadlines."""

from __future__ import annotations

import threading

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.parallel.buckets import assign
from dtorch.parallel.callsite import here
from dtorch.parallel.work import DistError


def test_results_come_by_rank():
    def body(offset, *, scale):
        return dist.get_backend(), dist.get_rank() * scale + offset, dist.get_world_size()

    assert dist.run_local(body, 3, 5, scale=10) == [("local", 5 + 10 * r, 3) for r in range(3)]


def test_each_rank_has_modes_and_a_generator_of_its_own():
    barrier = threading.Barrier(2, timeout=10)

    def body():
        dtorch.manual_seed(dist.get_rank())
        with dtorch.set_grad_enabled(dist.get_rank() == 0):
            barrier.wait()
            return dtorch.is_grad_enabled(), dtorch.rand(3).tolist()

    dtorch.manual_seed(123)
    expected = dtorch.rand(3).tolist()
    dtorch.manual_seed(123)
    with dtorch.no_grad():
        (on, first), (off, second) = dist.run_local(body, 2)
    assert (on, off) == (True, False)
    assert first != second
    assert dtorch.rand(3).tolist() == expected  # the caller's generator was left alone
    assert not dist.is_initialized()


def test_a_rank_that_raises_frees_the_others():
    ended = []

    def body():
        if dist.get_rank() == 1:
            raise KeyError("mine")
        try:
            dist.barrier()
        except DistError as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyError, match="mine"):
        dist.run_local(body, 3)
    assert [text.splitlines()[0] for text in ended] == ["rank 1 failed with KeyError: 'mine'"] * 2


def test_a_collective_that_is_late_says_who_is_missing():
    def body():
        if dist.get_rank() != 1:
            dist.all_reduce(dtorch.ones(3))

    with pytest.raises(DistError, match="waiting for rank 1") as error:
        dist.run_local(body, 2, timeout=0.2)
    assert "#1 all_reduce float32[3] sum at" in str(error.value)
    assert "test_parallel_local.py:" in str(error.value)


def test_a_receive_that_is_late_and_the_collectives_after_it():
    def body():
        if dist.get_rank() == 0:
            work = dist.irecv(dtorch.ones(3), 1, tag=7)
            with pytest.raises(
                DistError, match=r"0\.1 s of recv float32\[3\] from rank 1.*waiting for"
            ):
                work.wait(timeout=0.1)
            with pytest.raises(DistError):  # half of it may be done: no way back
                dist.barrier()

    dist.run_local(body, 2)


def test_a_rank_that_never_ends_is_shown_with_its_stack():
    stop = threading.Event()

    def stuck_here():
        stop.wait(30)

    def body():
        if dist.get_rank() == 0:
            stuck_here()

    with pytest.raises(DistError, match="in stuck_here"):
        dist.run_local(body, 2, timeout=0.1)
    stop.set()


def test_a_message_of_another_size_or_dtype_is_refused():
    def body():
        if dist.get_rank() == 0:
            dist.send(dtorch.ones(4), 1)
            dist.send(dtorch.ones(3).int(), 1)
        else:
            with pytest.raises(
                RuntimeError, match="expects 3 elements of float32, but rank 0 sent 4"
            ):
                dist.recv(dtorch.ones(3), 0)
            with pytest.raises(RuntimeError, match="sent 3 of int32"):
                dist.recv(dtorch.ones(3), 0)

    dist.run_local(body, 2)


def test_alone_is_a_world_of_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (dist.get_rank(), dist.get_world_size(), dist.is_initialized()) == (0, 1, False)
    with pytest.raises(ValueError, match="init_process_group"):
        dist.barrier()
    dist.init_process_group("gloo", init_method="env://", rank=0, world_size=1, timeout=5)
    try:
        assert dist.is_initialized()
        assert dist.get_backend() == "local"
        x = dtorch.ones(2)
        dist.all_reduce(x)
        assert x.tolist() == [1, 1]
    finally:
        dist.destroy_process_group()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "nccl"}, "'nccl': expected 'shm', 'mpi', 'local'"),
        ({"init_method": "tcp://127.0.0.1:1234"}, "with tcp://, rank and world_size must be given"),
        ({"init_method": "ftp://there", "rank": 0, "world_size": 1}, "expected 'env://', 'tcp://"),
        ({"world_size": 2}, r"world_size=2 was given, but the environment \(alone\) says 1"),
        ({"rank": 1}, "rank=1 was given"),
        ({"timeout": 0}, "positive timeout"),
    ],
)
def test_a_group_that_cant_be(arguments, words, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=words):
        dist.init_process_group(**arguments)
    assert not dist.is_initialized()


def test_a_thread_of_the_users_finds_the_processs_group():
    dist.init_process_group("local")
    try:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(dist.is_initialized()))
        thread.start()
        thread.join(10)
        assert seen == [True]
    finally:
        dist.destroy_process_group()


def test_the_check_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("DTORCH_CHECK_COLLECTIVES", "off")

    def body():
        x = dtorch.ones(5)
        dist.all_reduce(x)
        dist.barrier()
        part = dist.new_group([0, 1])
        if isinstance(part, dist.ProcessGroup):
            dist.broadcast(x, 0, group=part)
        return x.tolist()

    assert dist.run_local(body, 3) == [[3.0] * 5] * 3


def test_the_users_line_is_the_callers():
    assert here().line.startswith(__file__ + ":")


def test_buckets_are_cut_by_size_and_kind():
    f, h = dtorch.zeros(10)._a, dtorch.zeros(10).half()._a  # 40 and 20 bytes
    assert assign(range(4), [f, f, f, f], cap=80, first=40) == [[0], [1, 2], [3]]
    assert assign([3, 2, 1, 0], [f, f, f, f], cap=80, first=80) == [[3, 2], [1, 0]]
    # A half is complete only with the last one, so its bucket comes last.
    assert assign(range(5), [f, h, f, f, h], cap=80, first=80) == [[0, 2], [3], [1, 4]]
    assert assign([], [], cap=1, first=1) == []
