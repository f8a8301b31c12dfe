"""Stores against torch's, call by call."""

from __future__ import annotations

import datetime
import socket
import threading

import pytest
import torch.distributed

import dtorch.distributed as dist


def make(module, kind, folder):
    if kind == "tcp":
        return module.TCPStore("127.0.0.1", 0, 1, is_master=True)
    if kind == "file":
        return module.FileStore(f"{folder}/{module.__name__}", 1)
    if kind == "prefix":
        return module.PrefixStore("a", module.PrefixStore("b", module.HashStore()))
    return module.HashStore()


def use(store):
    """All that a store answers."""
    store.set("a", "1")
    store.multi_set(["m", "n"], ["x", b"\xff\x00"])
    yield store.get("a")
    yield store.add("a", 4)
    yield store.get("a")
    yield store.add("new", -2)
    yield store.compare_set("c", "", "x")
    yield store.compare_set("c", "y", "z")
    yield store.compare_set("c", "x", "w")
    yield store.compare_set("none", "e", "f")
    yield store.check(["a", "c"])
    yield store.check(["a", "none"])
    store.append("a", "67")
    store.append("p", b"\xff")
    yield store.multi_get(["a", "p", "n"])
    store.wait(["a", "c"], datetime.timedelta(seconds=5))
    store.set_timeout(datetime.timedelta(seconds=7))
    yield store.timeout


@pytest.mark.parametrize("kind", ["hash", "tcp", "file", "prefix"])
def test_stores_answer_as_torchs(kind, tmp_path):
    ours, theirs = (make(module, kind, tmp_path) for module in (dist, torch.distributed))
    assert list(use(ours)) == list(use(theirs))
    with pytest.raises(dist.DistStoreError, match="wait timeout after 50ms, keys: none"):
        ours.wait(["a", "none"], datetime.timedelta(milliseconds=50))
    ours.set_timeout(0.05)
    with pytest.raises(dist.DistStoreError, match="none"):
        ours.get("none")
    assert (ours.delete_key("a"), ours.delete_key("a"), ours.check(["a"])) == (True, False, False)
    assert ours.num_keys() == 5
    ours.queue_push("q", "1")
    ours.queue_push("q", "2")
    assert (ours.queue_len("q"), ours.queue_pop("q"), ours.queue_pop("q")) == (2, b"1", b"2")
    with pytest.raises(dist.DistStoreError, match="empty"):
        ours.queue_pop("q", block=False)
    with pytest.raises(ValueError, match="invalid literal"):
        ours.add("c", 1)


@pytest.mark.parametrize("kind", ["tcp", "file"])
def test_two_see_the_same(kind, tmp_path):
    one = make(dist, kind, tmp_path)
    two = dist.TCPStore("127.0.0.1", one.port) if kind == "tcp" else make(dist, kind, tmp_path)
    adders = [
        threading.Thread(target=lambda s=s: [s.add("sum", 1) for _ in range(50)])
        for s in (one, two)
    ]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert one.get("sum") == two.get("sum") == b"100"
    setter = threading.Timer(0.01, lambda: two.set("late", "here"))
    setter.start()
    assert one.get("late") == b"here"


def test_a_store_that_isnt_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(dist.DistNetworkError, match="can't serve a store at"):
            dist.TCPStore("127.0.0.1", port, is_master=True)
    with pytest.raises(dist.DistNetworkError, match="nobody serves a store at"):
        dist.TCPStore("127.0.0.1", port, timeout=0.1)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    guest = dist.TCPStore("127.0.0.1", store.port)
    with pytest.raises(dist.DistStoreError, match="1 of 2 processes have come"):
        dist.TCPStore("127.0.0.1", 0, 2, is_master=True, timeout=0.1)
    assert guest.num_keys() == 0


def test_nonsense_is_answered_and_harms_nobody():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    stranger = socket.create_connection(("127.0.0.1", store.port), timeout=30)
    with stranger, stranger.makefile("rb") as answers:
        for line in (b"GET / HTTP/1.1\n", b'["__init__"]\n', b"[1, 2]\n", b'["set", 3]\n'):
            stranger.sendall(line)
            assert answers.readline().startswith(b"[null, ")
    store.set("a", "b")
    assert store.get("a") == b"b"
