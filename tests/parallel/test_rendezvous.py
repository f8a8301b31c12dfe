"""Processes that form a group by themselves, and what is said when one of them is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dtorch
import dtorch.distributed as dist
import dtorch.multiprocessing as mp
from dtorch.parallel.identity import detect

from . import _ranks

pytestmark = pytest.mark.skipif(
    detect(os.environ).size > 1, reason="starts processes of its own: one process is enough"
)
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def address():
    """tcp://..., at a port that nobody else gets while the test runs."""
    from dtorch_run.machine import reserve_port

    with reserve_port() as holder:
        yield f"tcp://127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize("n", [1, 2])
def test_spawned_processes_meet_at_a_port(address, n):
    if n == 1:
        address += "?rank=0&world_size=1"
        dist.init_process_group("shm", address)
        assert dist.get_world_size() == 1
        x = dtorch.ones(20_000)
        dist.all_reduce(x)
        assert x[-1].item() == 1
        dist.destroy_process_group()
    else:
        mp.spawn(_ranks.sum_of_ranks, (n, address), nprocs=n)


def test_forked_processes_meet_in_a_file(tmp_path):
    method = f"file://{tmp_path}/store"
    for _ in range(2):  # nothing is left of the first
        mp.start_processes(_ranks.sum_of_ranks, (2, method), nprocs=2, start_method="fork")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_groups_that_are_gone(tmp_path):
    args = 2, f"file://{tmp_path}/store"
    mp.start_processes(_ranks.leave_nothing, args, nprocs=2, start_method="fork")


def by_hand(address: str, script: str) -> list[tuple[int, str]]:
    """Run a script on two ranks that are told by their environment: (exit code, output) of each."""
    host, port = address.removeprefix("tcp://").split(":")
    env = {**os.environ, "MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": "2"}
    env["PYTHONPATH"] = str(REPO)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script], env={**env, "RANK": str(r)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for r in range(2)
    ]  # fmt: skip
    try:
        outputs = [rank.communicate(timeout=60)[0] for rank in ranks]
        return [(rank.returncode, output) for rank, output in zip(ranks, outputs)]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


START = (
    "import dtorch, dtorch.distributed as dist; dist.init_process_group(); r = dist.get_rank()\n"
)


def test_processes_started_by_hand_meet_by_their_environment(address):
    script = START + "x = dtorch.ones(2); dist.all_reduce(x); print(dist.get_backend(), x.tolist())"
    assert by_hand(address, script) == [(0, "shm [2.0, 2.0]\n")] * 2


def test_what_a_rank_fails_with_is_told_to_the_others(address):
    script = START + "if r == 1: raise KeyError('astray')\ndist.barrier()"
    (code_0, text_0), (code_1, text_1) = by_hand(address, script)
    assert (code_0, code_1) == (1, 1)
    assert "DistError: rank 1 failed with KeyError: 'astray'\n" in text_0
    assert text_1.endswith("KeyError: 'astray'\n")


def test_torchrun_starts_ranks_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(START + "print(f'{dist.get_backend()} {dist.get_world_size()}\\n', end='')")
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script)]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shm 2\n" * 2


def test_threads_meet_at_a_store_and_one_that_doesnt_come_is_named():
    with pytest.raises(dist.DistError, match="but rank 1, 2 did not come within 0.2 s"):
        dist.init_process_group("shm", store=dist.HashStore(), world_size=3, rank=0, timeout=0.2)
    assert not dist.is_initialized()


def test_two_of_one_rank_are_told(tmp_path):
    method = f"file://{tmp_path}/store"
    for error in ("rank 1 did not come", "two have the same rank, or something is left"):
        with pytest.raises(dist.DistError, match=error):
            dist.init_process_group("shm", method, world_size=2, rank=0, timeout=0.2)


def join(started) -> None:
    while not started.join(grace_period=60):
        pass


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "KeyError: 'astray'"),
        ("exit", "process 2 terminated with exit code 3"),
        ("kill", "process 2 terminated with signal SIGKILL"),
    ],
)
def test_a_lost_rank_ends_the_others(tmp_path, how, words):
    started = mp.start_processes(_ranks.fail, (3, tmp_path, how), 3, False, start_method="fork")
    error = mp.ProcessRaisedException if how == "raise" else mp.ProcessExitedException
    with pytest.raises(error, match=words) as raised:
        join(started)
    assert (raised.value.error_index, raised.value.error_pid) == (2, started.pids()[2])
    for rank in (0, 1):
        told = (tmp_path / f"told {rank}").read_text()
        assert told.startswith(f"rank 2 ended while rank {rank} waited for it (process ")
    assert not multiprocessing.active_children()


def test_a_rank_that_stands_still_is_named(tmp_path):
    def body(rank: int, results) -> None:
        dist.init_process_group("shm", f"file://{tmp_path}/s", world_size=2, rank=rank, timeout=60)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            dist.all_reduce(dtorch.ones(3), async_op=True).wait(timeout=0.5)
        except dist.DistError as error:
            results.put(str(error))
        os.kill(os.getpid(), signal.SIGKILL)

    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    ranks = [context.Process(target=body, args=(r, results), daemon=True) for r in range(2)]
    for rank in ranks:
        rank.start()
    ranks[0].join(60)
    for rank in ranks:
        rank.kill()
        rank.join()
    text = results.get()
    assert "no end after 0.5 s of #1 all_reduce float32[3] sum at" in text
    assert "waiting for rank 1; rank 1 is silent: process" in text
    assert "is stopped (by SIGSTOP" in text


def test_tensors_go_through_queues_and_are_shared(address):
    context = mp.get_context("spawn")
    queue, shared = context.SimpleQueue(), dtorch.zeros(2).share_memory_()
    mp.spawn(_ranks.share, (shared, queue), nprocs=2, join=True)
    assert shared.tolist() == [1, 2]
    assert sorted(queue.get().tolist() for _ in range(2)) == [[0, 0], [1, 1]]


def test_sharing_strategies_are_torchs():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    mp.set_sharing_strategy("file_system")
    with pytest.raises(ValueError, match="expected one of"):
        mp.set_sharing_strategy("by_post")
