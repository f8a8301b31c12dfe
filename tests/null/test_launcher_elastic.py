"""Who is in an elastic job, as the launcher sees it, whatever the order of parking and dying."""

from __future__ import annotations

import json

import pytest

from dtorch_run.elastic import Elastic


class Rank:
    """A rank's end of its socket."""

    def __init__(self, elastic: Elastic, number: int) -> None:
        self.elastic, self.number = elastic, number
        self.link, self.mark = elastic.open(number)
        self.link.setblocking(False)

    def say(self, **message):
        self.link.send(json.dumps(message).encode())
        self.elastic.receive(self.number)

    def heard(self):
        """The next message; None if there is none."""
        try:
            return json.loads(self.link.recv(1 << 16))
        except BlockingIOError:
            return None

    def die(self):
        self.elastic.remove(self.number)
        self.link.close()


@pytest.fixture
def open_rank():
    """open_rank(elastic, number) is a Rank whose socket is closed in the end."""
    opened = []

    def make(elastic, number):
        opened.append(Rank(elastic, number))
        return opened[-1]

    yield make
    for rank in opened:
        rank.link.close()


@pytest.fixture
def job(open_rank):
    """Three ranks that have met, and train."""
    elastic = Elastic()
    ranks = [open_rank(elastic, r) for r in range(3)]
    for rank in ranks:
        rank.say(park=-1)
    for r, rank in enumerate(ranks):
        assert rank.heard() == {"roster": [-1, -1, -1], "rank": r}
        rank.say(say=f"value {r}")
    for rank in ranks:
        assert rank.heard() == {"said": ["value 0", "value 1", "value 2"]}
        rank.say(running=0)
    yield elastic, ranks
    elastic.close()


def test_nobody_goes_on_before_the_last_survivor_has_parked(job):
    elastic, (a, b, c) = job
    b.die()
    a.say(park=7)
    assert a.heard() is None
    c.say(park=8)
    assert a.heard() == {"roster": [7, 8], "rank": 0}
    assert c.heard() == {"roster": [7, 8], "rank": 1}
    assert not elastic.settled()
    a.say(say=1)
    c.say(say=2)
    assert a.heard() == c.heard() == {"said": [1, 2]}
    a.say(running=8)
    assert not elastic.settled()
    c.say(running=8)
    assert elastic.settled()
    assert elastic.running() == [0, 2]


def test_one_that_parks_before_its_death_is_seen_still_counts_as_gone(job):
    _, (a, b, c) = job
    a.say(park=3)
    b.say(park=3)
    assert a.heard() is None
    c.die()
    assert a.heard() == {"roster": [3, 3], "rank": 0}
    assert b.heard() == {"roster": [3, 3], "rank": 1}


@pytest.mark.parametrize("said", [0, 1])
def test_a_death_while_they_meet_sends_the_others_back(job, said):
    _, (a, b, c) = job
    c.die()
    a.say(park=5)
    b.say(park=5)
    assert a.heard() == {"roster": [5, 5], "rank": 0}
    for _ in range(said):
        a.say(say=1)
    b.die()
    assert a.heard() == {"again": True}
    if not said:
        a.say(say=1)  # on its way already
    a.say(park=5)
    assert a.heard() == {"roster": [5], "rank": 0}


def test_without_a_loss_a_failure_is_one(job):
    _, ranks = job
    for rank in ranks:
        rank.say(park=4)
    assert [rank.heard() for rank in ranks] == [{"refused": True}] * 3


def test_a_new_one_is_let_in_when_the_others_have_ended_their_step(job, open_rank):
    elastic, (a, b, c) = job
    c.die()
    new = open_rank(elastic, 2)
    assert (a.mark, new.mark) == ("", "late:")
    for rank in (a, b):
        rank.say(park=5)
    for r, rank in enumerate((a, b)):  # they go on at once
        assert rank.heard() == {"roster": [5, 5], "rank": r}
        rank.say(say=0)
    for rank in (a, b):
        assert rank.heard() == {"said": [0, 0]}
        rank.say(running=5)
    new.say(park=-1)
    assert new.heard() is None
    for rank in (a, b):
        assert rank.heard() == {"newcomer": True}
        rank.say(park=9)
    assert new.heard() == {"roster": [9, 9, -1], "rank": 2}


def test_after_a_failure_of_its_own_nobody_goes_on(job):
    elastic, (a, b, c) = job
    elastic.stop()
    c.die()
    a.say(park=5)
    b.say(park=5)
    assert a.heard() is b.heard() is None


def test_who_can_be_spared(job, open_rank):
    elastic, (a, b, c) = job
    assert elastic.spares(0)
    b.die()
    c.die()
    assert not elastic.spares(0)
    open_rank(elastic, 1)
    assert elastic.too_late() == []
    a.say(done=True)
    assert not elastic.spares(0)
    assert elastic.too_late() == [1]
    assert elastic.spares(1)
