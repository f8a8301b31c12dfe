"""The control plane: what ranks tell is what is read, and who has no business there gets nowhere."""

from __future__ import annotations

import itertools
import json
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator

import pytest

zmq = pytest.importorskip("zmq")

from dtorch_run import beats  # noqa: E402
from dtorch_run.control import Control  # noqa: E402

DEADLINE = 20.0
_numbers = itertools.count(1)


def said(rank: int = 0, **other) -> dict:
    """What a rank says; its number grows from call to call."""
    number = next(_numbers)
    told = {"rank": rank, "number": number, "seconds": float(number), "host": "node07", "pid": 7,
            "device": "cpu", "steps": 3, "samples": 96, "loss": 0.5, "waited": 0.25, "memory": 1 << 20,
            "last": "#9 all_reduce", "waits": False}  # fmt: skip
    return {**told, **other}


def beat(*args, **other) -> beats.Beat:
    return beats.read(said(*args, **other), 4)


def row(board: beats.Board, rank: int) -> dict:
    return next(row for row in board.table()["ranks"] if row["rank"] == rank)


# ---- the table -----------------------------------------------------------------------------------


def test_rates_and_shares_are_differences_over_time():
    board = beats.Board(4)
    for i in range(5):
        board.add(beat(seconds=10.0 + 2 * i, steps=100 + 6 * i, samples=64 * i, waited=3 + 0.5 * i))
    told = row(board, 0)
    assert (told["steps"], told["steps_per_s"], told["samples_per_s"]) == (124, 3.0, 32.0)
    assert told["wait_share"] == 0.25
    assert board.table()["silent"] == [1, 2, 3]


def test_a_beat_counts_once_and_never_after_a_newer_one():
    board = beats.Board(4)
    old, new = beat(steps=1), beat(steps=2)
    assert board.add(new)
    assert not board.add(new)
    assert not board.add(old)
    assert row(board, 0)["steps"] == 2


def test_a_process_that_takes_a_rank_over_counts_from_its_start():
    board = beats.Board(4)
    for seconds, steps, pid in [(1.0, 0, 7), (2.0, 50, 7), (3.0, 0, 8), (4.0, 10, 8)]:
        board.add(beat(seconds=seconds, steps=steps, pid=pid))
    assert row(board, 0)["steps_per_s"] == 10.0


@pytest.mark.parametrize(("waits", "who"), [((0.9, 0.1, 0.8), 1), ((0.5, 0.4, 0.5), None)])
def test_the_straggler_is_the_rank_that_others_wait_for(waits, who):
    board = beats.Board(3)
    for rank, wait in enumerate(waits):
        board.add(beat(rank, seconds=0.0, waited=0.0))
        board.add(beat(rank, seconds=1.0, waited=wait))
    assert board.table()["straggler"] == who


def test_a_lost_rank_is_no_row_until_another_process_has_its_place():
    board = beats.Board(2)
    for rank in (0, 1):
        board.add(beat(rank, pid=7 + rank))
    board.lose(1, 8)
    assert board.add(beat(1, pid=8, steps=9))  # was on its way
    told = board.table()
    assert [row["rank"] for row in told["ranks"]] == [0]
    assert (told["lost"], told["silent"]) == ([1], [])
    assert board.add(beat(1, pid=9))
    told = board.table()
    assert ([row["pid"] for row in told["ranks"]], told["lost"]) == ([7, 9], [])


def test_the_last_words_of_a_rank_that_can_say_no_more():
    board = beats.Board(4)
    board.add(beat(2, steps=17, last="#9 all_reduce at a.py:3"))
    assert board.last_words(2) == "#9 all_reduce at a.py:3 (as it said last, after 17 steps)"
    assert board.last_words(1) == ""


def test_the_past_stays_short_and_whole():
    board = beats.Board(1)
    for i in range(5000):
        board.add(beat(seconds=float(i), steps=i, loss=1.0 * i, samples=0))
    steps = [point[1] for point in board.past]
    assert 250 <= len(steps) <= 600
    assert steps == sorted(steps)
    assert steps[0] < 50
    assert steps[-1] > 4900
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert max(gaps) <= 2 * min(gaps)
    assert {point[2] for point in board.past} == {float(step) for step in steps}
    assert {point[3] for point in board.past} == {1.0}  # steps a second, for want of samples


@pytest.mark.parametrize(
    "other",
    [{"rank": 4}, {"rank": -1}, {"rank": True}, {"rank": "0"}, {"steps": 1.5}, {"loss": []},
     {"loss": float("inf")}, {"waited": float("nan")}, {"memory": 10**400}, {"host": "x" * 501},
     {"more": 1}],
)  # fmt: skip
def test_what_is_no_beat_is_refused(other):
    with pytest.raises(ValueError):  # noqa: PT011
        beats.read(said(**other), 4)


@pytest.mark.parametrize("told", [None, [], "beat", {}, {"rank": 0}])
def test_what_is_nothing_like_a_beat_is_refused(told):
    with pytest.raises(ValueError, match="expected rank, number"):
        beats.read(told, 4)


def test_a_loss_that_is_not_finite_is_told_in_words():
    board = beats.Board(4)
    board.add(beat(loss="nan"))
    assert row(board, 0)["loss"] == "nan"
    json.dumps(board.table(), allow_nan=False)


def test_another_host_passes_on_what_its_ranks_say_once(tmp_path_factory):
    passed_on: list[dict] = []
    control = Control(tmp_path_factory.mktemp("c") / "control.json", 4, {}, passed_on.append)
    told = [said(2), said(3), {"rank": 2}]
    for message in (*told, told[0]):
        control.add(message)
    control.close()
    assert passed_on == told[:2]
    assert control.dropped == {"garbage": 1, "replayed": 1}


# ---- the line ------------------------------------------------------------------------------------


@pytest.fixture
def control(tmp_path_factory) -> Iterator[tuple[Control, dict]]:
    file = tmp_path_factory.mktemp("c") / "control.json"
    control = Control(file, 4, {"job": "a-job"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    yield control, json.loads(file.read_text())
    control.close()


@pytest.fixture
def dial(control) -> Iterator[Callable]:
    """Connects to the control plane, with some of the keys replaced; None: without keys at all."""
    context, lines = zmq.Context(), []
    _, contact = control

    def call(keys: dict | None = {}):  # noqa: B006
        line = context.socket(zmq.DEALER)
        lines.append(line)
        if keys is not None:
            keys = {**contact, **keys}
            line.curve_serverkey, line.curve_publickey, line.curve_secretkey = (
                keys[name].encode() for name in ("server", "public", "secret")
            )
        line.connect(contact["address"])
        return line

    yield call
    for line in lines:
        line.close(linger=0)
    context.term()


def serve(control: Control, until: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while control.turn() or not until():
        left = end - time.monotonic()
        assert left > 0, f"deadline; dropped: {control.dropped}"
        select.select(control.fds, [], [], min(left, 0.01))


def send(line, message) -> None:
    line.send(message if isinstance(message, bytes) else json.dumps(message).encode())


def test_what_ranks_say_is_what_viewers_read(control, dial):
    control, _ = control
    line, viewer = dial(), dial()
    for rank in (2, 0):
        send(line, {"beat": said(rank, steps=10 + rank)})
    serve(control, lambda: len(control.board.table()["ranks"]) == 2)
    send(viewer, {"ask": "status"})
    serve(control, lambda: viewer.poll(0))
    told = json.loads(viewer.recv())
    assert told["job"] == "a-job"
    assert [(row["rank"], row["steps"]) for row in told["ranks"]] == [(0, 10), (2, 12)]
    assert told["silent"] == [1, 3]
    assert told["dropped"] == {}
    assert "past" not in told


def test_strangers_are_counted_and_say_nothing(control, dial):
    control, contact = control
    public, secret = (key.decode() for key in zmq.curve_keypair())
    strangers = [
        dial(None),  # no keys
        dial({"public": public, "secret": secret}),  # a client of its own making
        dial({"server": public}),  # which takes us for somebody else
    ]
    for line in strangers:
        send(line, {"beat": said(0, steps=666)})
    with socket.socket(socket.AF_UNIX) as noise:
        noise.connect(contact["address"].removeprefix("ipc://"))
        noise.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        serve(control, lambda: control.dropped["stranger"] >= 4)
    good = dial()
    send(good, {"beat": said(0, steps=5)})
    serve(control, lambda: bool(control.board.table()["ranks"]))
    assert row(control.board, 0)["steps"] == 5
    assert control.dropped.keys() == {"stranger"}


def test_garbage_and_replays_are_counted_and_do_no_harm(control, dial):
    control, _ = control
    line = dial()
    first = {"beat": said(1)}
    good = [first, {"beat": said(1)}]
    replays = [first, first]
    nonsense = [b"", b"\xff\x00", b"[" * 5000, b'{"beat": NaN}', {"beat": {}}, {"beat": said(9)}, [], 1,
                {"ask": "secrets"}, {"stop": True}, {"beat": said(1), "ask": "status"}]  # fmt: skip
    for message in (*good, *replays, *nonsense):
        send(line, message)
    line.send_multipart([b"two", b"parts"])
    serve(control, lambda: sum(control.dropped.values()) >= len(nonsense) + 3)
    assert control.dropped == {"replayed": 2, "garbage": len(nonsense) + 1}


def test_a_flood_is_dropped_and_others_come_through(control, dial):
    control, _ = control
    flood, calm = dial(), dial()
    flood.send(b"x" * (1 << 17))  # too long: that connection is closed, and made anew
    for _ in range(900):
        send(flood, {"beat": said(0)})
    send(calm, {"beat": said(3)})
    ranks = lambda: {row["rank"] for row in control.board.table()["ranks"]}  # noqa: E731
    serve(control, lambda: 3 in ranks() and control.dropped["flood"] > 0)
    assert control.dropped["flood"] > 0


def test_one_turn_is_short_however_much_has_come(control, dial):
    control, _ = control
    lines = [dial() for _ in range(4)]
    for line in lines:
        for _ in range(90):
            send(line, {"beat": said(0)})
    select.select(control.fds, [], [], DEADLINE)
    taken = lambda: sum(control.dropped.values()) + bool(control.board.table()["ranks"])  # noqa: E731
    control.turn()
    assert taken() <= 200


def test_a_socket_whose_path_would_be_too_long_is_a_port_of_this_machine_alone(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    control = Control(folder / "control.json", 1, {})
    contact = json.loads((folder / "control.json").read_text())
    control.close()
    assert contact["address"].startswith("tcp://127.0.0.1:")
