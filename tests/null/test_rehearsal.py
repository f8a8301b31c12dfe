"""Rehearsals: one order of events for one seed, faults where they are asked for, nothing unnoticed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.distributed import DistError, Rehearsal
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.parallel.faults import parse
from dtorch.parallel.ledger import ReplicaLedger


@pytest.fixture(autouse=True)
def _records(monkeypatch, tmp_path):
    monkeypatch.setenv("DTORCH_RUN_DIR", str(tmp_path))


def rehearse(body, n, faults="", seed=0, timeout=60.0):
    return dist.run_local(body, n, timeout=timeout, rehearsal=Rehearsal(seed, faults))


def sums(n=4):
    """all_reduce #1 to #n, of different sizes; what they come to."""
    x = [dtorch.full((i + 1,), float(dist.get_rank() + 1)) for i in range(n)]
    for tensor in x:
        dist.all_reduce(tensor)
    return [tensor[0].item() for tensor in x]


def step(ledger):
    """A step of a small model; with a ledger, the ranks then compare their copies."""
    ddp = DistributedDataParallel(dtorch.nn.Linear(40, 40))
    optimizer = dtorch.optim.SGD(ddp.parameters(), lr=1.0)
    if ledger:
        ReplicaLedger(ddp, optimizer, every=1)
    ddp(dtorch.ones(1, 40)).sum().backward()
    optimizer.step()


# ---- the schedule --------------------------------------------------------------------------------


def order(seed):
    """The order in which three ranks pass ten points."""
    events = []

    def body():
        for i in range(10):
            work = dist.all_reduce(dtorch.ones(2), async_op=True)
            events.append((dist.get_rank(), i, work.is_completed()))
            work.wait()

    rehearse(body, 3, seed=seed)
    return events


def test_a_seed_is_an_order_of_events():
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) == 5


def test_deadlines_pass_at_once_and_in_their_order():
    start = time.monotonic()

    def body():
        rank = dist.get_rank()
        limit = [1e7, 1e6][rank]
        with pytest.raises(DistError, match="waiting for rank"):
            dist.irecv(dtorch.ones(1), 1 - rank).wait(limit)
        ended.append(rank)

    ended = []
    rehearse(body, 2, timeout=1e9)
    assert ended == [1, 0]
    assert time.monotonic() - start < 60


def test_ranks_that_wait_for_each_other_without_a_deadline():
    def body():
        if dist.get_rank() == 0:
            dist.recv(dtorch.ones(1), 1)
        dist.destroy_process_group()

    with pytest.raises(DistError, match="waiting for rank 1, in turn waiting for rank 0"):
        rehearse(body, 2)

    def leaves_early():
        if dist.get_rank() == 0:
            dist.destroy_process_group()

    with pytest.raises(DistError, match="would wait for ever: rank 0 waits for rank 1"):
        rehearse(leaves_early, 2)


def test_a_loop_that_only_looks_lets_the_others_go_on():
    def body():
        work = dist.all_reduce(dtorch.ones(2), async_op=True)
        while not work.is_completed():
            pass

    rehearse(body, 3)


def test_groups_of_some_ranks_and_messages():
    def body():
        rank = dist.get_rank()
        part = dist.new_group([1, 2])
        x = dtorch.full((3,), float(rank))
        if rank:
            dist.all_reduce(x, group=part)
        (dist.send if rank == 0 else dist.recv)(x, 1 if rank == 0 else 0) if rank < 2 else None
        return x.tolist()

    assert rehearse(body, 3) == [[0.0] * 3, [0.0] * 3, [3.0] * 3]
    with pytest.raises(DistError, match="rank 2 ended while rank 1 waited for it"):
        rehearse(body, 3, "kill:2@all_reduce#1")
    with pytest.raises(DistError, match="rank 0 ended while rank 1 waited for it"):
        rehearse(body, 3, "kill:0@send#1")
    with pytest.raises(DistError, match="no end after 60 s of recv .* waiting for rank 0"):
        rehearse(body, 3, "drop:0@send#1")


# ---- faults --------------------------------------------------------------------------------------


def test_a_killed_rank_does_nothing_more():
    done = []

    def body():
        try:
            sums()
        finally:
            if dist.get_rank() == 1:
                done.append("a dead rank's finally, after the end of the others")
                dist.barrier()
                done.append("never")

    with pytest.raises(
        DistError, match=r"rank 1 ended while rank . waited for it \(kill:1@all"
    ) as e:
        rehearse(body, 3, "kill:1@all_reduce#2", seed=3)
    assert done == ["a dead rank's finally, after the end of the others"]
    assert "rehearsed with seed 3" in "".join(
        getattr(e.value, "__notes__", ["rehearsed with seed 3"])
    )


def test_a_delay_changes_nothing_unless_it_is_longer_than_the_deadline():
    assert rehearse(sums, 3, "delay:1@all_reduce#2=59") == [[6.0] * 4] * 3
    with pytest.raises(DistError, match="no end after 60 s of #2 all_reduce .*waiting for rank 1"):
        rehearse(sums, 3, "delay:1@all_reduce#2=61")


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_lost_message_is_named_with_its_sender(n):
    with pytest.raises(
        DistError, match="no end after 60 s of #. all_reduce .*waiting for .*rank 1"
    ):
        rehearse(sums, n, "drop:1@all_reduce#2")


def test_a_damaged_message_is_noticed_where_messages_are_checked(monkeypatch):
    with pytest.raises(RuntimeError, match="no rank has noticed: DTORCH_CHECK_MESSAGES=on finds"):
        rehearse(sums, 3, "corrupt:1@all_reduce#2")
    with pytest.raises(RuntimeError, match=r"after step 1.*parameter|parameter.*step 1"):
        rehearse(lambda: step(ledger=True), 3, "corrupt:1@all_reduce#1")
    monkeypatch.setenv("DTORCH_CHECK_MESSAGES", "on")
    with pytest.raises(DistError, match="a message of rank 1 has arrived damaged on rank [02]"):
        rehearse(sums, 3, "corrupt:1@all_reduce#2")


@pytest.mark.parametrize("how", ["", "=change"])
def test_a_mismatch_names_both_sides(how):
    with pytest.raises(RuntimeError, match="disagree.*\n.*0, 2: #2 all_reduce.*\n.*rank 1: #2 "):
        rehearse(sums, 3, f"mismatch:1@all_reduce#2{how}")


def test_a_mismatch_that_nothing_compares(monkeypatch):
    monkeypatch.setenv("DTORCH_CHECK_COLLECTIVES", "off")

    def body():  # rank 1 leaves out the first of two: its second meets the others' first
        x = dtorch.ones(2)
        dist.all_reduce(x)
        if dist.get_rank() != 1:
            dist.all_reduce(x)

    def counts():
        body()
        if dist.get_rank() == 1:
            dist.all_reduce(dtorch.ones(2))

    with pytest.raises(RuntimeError, match="no end|noticed"):
        rehearse(counts, 3, "mismatch:1@all_reduce#1")


def test_steps_are_those_of_the_optimizer():
    def body():
        p = dtorch.nn.Parameter(dtorch.ones(1))
        optimizer = dtorch.optim.SGD([p], lr=1.0)
        for i in range(4):
            reached[dist.get_rank()] = i
            p.grad = dtorch.ones(1)
            dist.barrier()
            optimizer.step()

    reached = {}
    with pytest.raises(DistError, match="rank 0 ended"):
        rehearse(body, 2, "kill:0@step3")
    assert reached[0] == 2


def test_a_fault_that_never_came_is_told():
    with pytest.raises(
        RuntimeError, match="kill:1@step3 never came: rank 1 took 0 steps, and called 4"
    ):
        rehearse(sums, 2, "kill:1@step3")


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ("kill", "expected KIND:RANK@stepN or KIND:RANK@OP#N"),
        ("kil:1@step2", "unknown kind of fault 'kil' .did you mean 'kill'"),
        ("kill:1@allreduce#2", "unknown operation 'allreduce' .did you mean 'all_reduce'"),
        ("kill:2@step2", "expected a rank of 0 to 1, got 2"),
        ("kill:1@step0", "count from 1"),
        ("kill:1@step1=3", "expected no =3"),
        ("mismatch:1@step1=5", "skip or change"),
        ("mismatch:1@send#1", "a mismatch is of a collective"),
        ("delay:1@step1=soon", "expected a number of seconds after '=', got 'soon'"),
        ("delay:1@step1=inf", "expected a number of seconds"),
        ("kill:1@step1, kill:1@step1", "there twice"),
    ],
)
def test_faults_that_cant_be(faults, words):
    with pytest.raises(ValueError, match=words):
        rehearse(sums, 2, faults)


def test_faults_in_words():
    late, other = parse("delay:1@all_reduce#12=2.5,  mismatch:0@step3=change", 2)
    assert late[1:] == ("delay", 1, "all_reduce", 12, 2.5, False)
    assert other[1:] == ("mismatch", 0, "step", 3, 0.0, True)


def test_a_rank_that_handles_it_has_noticed():
    def body():
        try:
            sums()
        except DistError:
            return "went on"

    assert rehearse(body, 2, "kill:1@all_reduce#2") == ["went on", None]


def test_the_pages_code_runs():
    page = (Path(__file__).parents[2] / "docs/rehearsal.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "rehearsal.md", "exec"), {})
