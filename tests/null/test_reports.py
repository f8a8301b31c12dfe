"""What is told of ranks that wait, and what is kept of what they did."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

import dtorch
import dtorch.distributed as dist
from dtorch.parallel import callsite
from dtorch.parallel.checks import name_ranks
from dtorch.parallel.collective import Collective
from dtorch.parallel.flight import Entry
from dtorch.parallel.hotline import Contact, Hotline, ask
from dtorch.parallel.watch import Standing, describe, place, stand
from dtorch.parallel.work import Engine
from dtorch.utils.data import DataLoader, Dataset


def entry(line: str, seq: int = 512) -> Entry:
    site = callsite._told(line, "", 0)
    name = "gradients of encoder.3.weight"
    return Entry("world", (0, 1, 2, 3), Collective(seq, "all_reduce", name, (7,), "float32", "avg", -1, site))  # fmt: skip # noqa: E501


STUCK = [
    ("<frozen runpy>", 88, "_run_code"),
    ("train.py", 9, "<module>"),
    (f"{os.path.dirname(dtorch.__file__)}/utils/data/fetch.py", 40, "fetch"),
    ("data.py", 88, "__getitem__"),
    (f"{os.path.dirname(os.__file__)}/threading.py", 300, "wait"),
]


def test_a_rank_that_has_not_come_is_told_with_its_place_and_where_the_others_wait():
    waits = Standing("node07", 11, {"world": 512}, "#512", "train.py:41", STUCK)
    late = Standing("node07", 4242, {"world": 511}, "", "", STUCK)
    first, calls, *shown = describe(entry("train.py:41"), 0, {1: waits, 2: waits, 3: late}).split(
        "\n"
    )
    assert first == (
        "rank 3 (node07, process 4242) has not reached #512 all_reduce "
        "'gradients of encoder.3.weight' float32[7] avg of group 'world'; it is at data.py:88 in "
        "__getitem__; ranks 0-2 wait at train.py:41"
    )
    assert calls == "The calls of rank 3:"
    assert shown[0].startswith("  train.py:9 in <module>")
    assert len(shown) == 4


def test_ranks_elsewhere_silent_and_careless():
    elsewhere = Standing("a", 1, {"world": 3, "x": 7}, "#7 barrier at t.py:5 of group 'x'", "t.py:5", STUCK)  # fmt: skip # noqa: E501
    careless = Standing("a", 2, {"world": 4}, "", "", STUCK)
    text = describe(
        entry("t.py:1", 4), 0, {1: elsewhere, 2: careless, 3: "gone"}, entry("t.py:0", 3)
    )
    late = text.split("\n")[0].split("; ")
    assert late[0] == (
        "rank 1 (a, process 1) has not reached #4 all_reduce 'gradients of encoder.3.weight' "
        "float32[7] avg of group 'world'"
    )
    assert late[1] == "it waits for #7 barrier at t.py:5 of group 'x'"
    assert late[2].startswith(
        "rank 2 (a, process 2) has begun, but does not wait for, #4 all_reduce"
    )
    assert late[4] == "rank 3 is silent: gone"
    assert late[5].startswith("the last that it has taken part in is #3 all_reduce")
    assert late[5].endswith(" at t.py:0")
    assert late[6] == "rank 0 waits at t.py:1"


def test_when_all_wait_that_is_told():
    waits = Standing("a", 11, {"world": 4}, "#4", "t.py:2", STUCK)
    text = describe(entry("t.py:1", 4), 0, {1: waits})
    assert "yet no data comes; rank 0 waits at t.py:1; rank 1 waits at t.py:2" in text


@pytest.mark.parametrize(
    ("ranks", "told"),
    [([3], "rank 3"), ([2, 0], "ranks 0, 2"), ([0, 1, 2, 5, 6], "ranks 0-2, 5, 6")],
)
def test_ranks_are_named_in_runs(ranks, told):
    assert name_ranks(ranks) == told


class NeverThere(Dataset):
    """Its sample waits for a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> int:
        while not self.path.exists():
            pass
        return i


def test_a_worker_of_a_data_loader_that_is_stuck_shows_where(tmp_path):
    loader = DataLoader(NeverThere(tmp_path / "file"), num_workers=1)
    rank = threading.Thread(target=lambda: list(loader))
    rank.start()
    engine = Engine(lambda soon: None)
    where, deadline = "", time.monotonic() + 60
    while "DataLoader worker 0" not in where and time.monotonic() < deadline:
        answer = stand(engine, rank.ident)
        where = place(answer.stack) if isinstance(answer, Standing) else answer
    (tmp_path / "file").touch()
    rank.join(60)
    assert re.fullmatch(
        rf"{__file__}:\d+ in __getitem__ \(DataLoader worker 0, process \d+\)", where
    )
    assert not rank.is_alive()


# ---- asking --------------------------------------------------------------------------------------


def test_a_hotline_answers_those_who_know_the_password():
    said = Standing("here", 1, {"world": 2}, "", "", [("a.py", 1, "f")])
    line = Hotline(lambda: said, "127.0.0.1", "this machine")
    stranger = line.contact._replace(password="x" * 32)
    answers = ask([line.contact, stranger], [0, 1], "this machine")
    line.close()
    assert answers[0] == said
    assert (
        answers[1]
        == f"process {os.getpid()} on {socket.gethostname()} does not answer, though it is alive"
    )
    assert ask([line.contact], [0], "this machine")[0] == answers[1]


def test_processes_that_are_gone_or_far_away():
    contacts = [Contact("far.invalid", 7, "theirs", 1, ""), Contact("here", 1 << 23, "ours", 1, "")]
    assert ask(contacts, [0, 1], "ours") == {
        0: "process 7 on far.invalid does not answer",
        1: f"process {1 << 23} on here has ended",
    }


# ---- the flight record ---------------------------------------------------------------------------


def test_the_latest_thousand_collectives_are_kept(tmp_path):
    def body():
        for _ in range(1003):
            dist.all_reduce(dtorch.ones(2, 3))
        dist.all_reduce(dtorch.ones(1), async_op=True)
        return dist.dump_flight_record(str(tmp_path / f"{dist.get_rank()}.json"))

    paths = dist.run_local(body, 2)
    told = json.loads((tmp_path / "1.json").read_text())
    assert paths[1] == str(tmp_path / "1.json")
    assert (told["rank"], told["pid"], len(told["entries"])) == (1, os.getpid(), 1000)
    first, *_, previous, last = told["entries"]
    assert (first["seq"], last["seq"]) == (5, 1004)
    assert previous["ended"] >= previous["started"]
    assert previous == {
        "seq": 1003, "op": "all_reduce", "name": "", "shape": [2, 3], "dtype": "float32",
        "reduce": "sum", "root": -1, "group": "world", "state": "completed",
        "line": previous["line"], "source": "dist.all_reduce(dtorch.ones(2, 3))",
        "started": previous["started"], "ended": previous["ended"],
    }  # fmt: skip
    assert previous["line"].startswith(f"{__file__}:")


def test_a_failure_leaves_it_and_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("DTORCH_RUN_DIR", str(tmp_path / "run"))

    def body():
        dist.barrier()
        with pytest.raises(dist.DistError) as error:
            dist.all_reduce(dtorch.ones(2 + dist.get_rank()))
        return str(error.value)

    for rank, text in enumerate(dist.run_local(body, 2)):
        path = tmp_path / "run" / f"flight-rank{rank}.json"
        assert text.endswith(f"The latest collectives of rank {rank} are in {path}")
        states = [e["state"] for e in json.loads(path.read_text())["entries"]]
        assert states == ["completed", "failed"]


def test_a_record_that_cant_be_written_hides_no_failure(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DTORCH_RUN_DIR", str(tmp_path / "file"))

    def body():
        with pytest.raises(dist.DistError, match="(?s)disagree.*can't be written: .*File exists"):
            dist.all_reduce(dtorch.ones(2 + dist.get_rank()))

    dist.run_local(body, 2)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_stall_timeout_that_is_no_time_is_refused(value, monkeypatch):
    monkeypatch.setenv("DTORCH_STALL_TIMEOUT", value)
    with pytest.raises(ValueError, match=f"DTORCH_STALL_TIMEOUT='{value}': expected a positive"):
        dist.run_local(dist.barrier, 2)
