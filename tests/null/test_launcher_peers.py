"""How the launchers of several hosts meet: all here, as threads, over the loopback device."""

import socket
import threading
from dataclasses import replace

import pytest

from dtorch_run.machine import reserve_port
from dtorch_run.options import Options, UsageError
from dtorch_run.peers import Peers, meet
from dtorch_run.plan import Machine, make

MACHINE = Machine(
    python="python", host="here", cores=(0, 1), quota=None, nodes=((0, 1),), gpus=(), mpi=None,
    mpirun=None, root=False, port=41000, job="job", folder="/scratch",
)  # fmt: skip


def start(port, node, size=2, key="k", patience=10.0, **changes):
    """One host, in a thread: its (Peers, Machine), or what it raised."""
    options = Options(
        script="x", nnodes=size, node_rank=node, master_addr="127.0.0.1", master_port=port,
        nproc_per_node=changes.pop("ranks", 1), rdzv_conf=f"timeout={patience}",
    )  # fmt: skip
    machine = replace(MACHINE, job=f"job{node}", port=41000 + node, **changes)
    results = []

    def body():
        try:
            results.append(meet(make(options, {}, machine), machine, key))
        except UsageError as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()

    def result():
        thread.join(30)
        assert results, "deadline"
        return results[0]

    return result


@pytest.fixture
def port():
    with reserve_port() as holder:
        yield holder.getsockname()[1]


def test_all_take_what_the_first_decides(port):
    hosts = [start(port, node, 3) for node in (2, 0, 1)]
    peers, machines = zip(*(host() for host in hosts))
    assert {(machine.job, machine.port) for machine in machines} == {("job0", 41000)}
    assert [sorted(each.links) for each in peers] == [[0], [1, 2], [0]]
    first, second = peers[1], peers[2]
    second.tell(ending={"rank": 1})
    assert first.links[1].receive() == [{"ending": {"rank": 1}}]
    first.tell_one(1, stop=None, data="x" * 100_000)
    assert second.links[0].one(5) == {"stop": None, "data": "x" * 100_000}
    for each in peers:
        each.close()


def test_a_stranger_is_turned_away_and_the_job_starts(port):
    first = start(port, 0)
    stranger = start(port, 1, key="another")()
    assert "another --rdzv-id" in str(stranger)
    connection = socket.create_connection(("127.0.0.1", port), 5)
    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    second = start(port, 1)
    assert isinstance(second()[0], Peers)
    assert isinstance(first()[0], Peers)
    connection.close()
    for result in (first, second):
        result()[0].close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": 2}, r"host 1 \(here\) has 2 ranks a host, the first host 1"),
        ({"size": 3}, r"host 1 \(here\) has 3 hosts, the first host 2"),
        ({"attempt": 1}, r"host 1 \(here\) has 1 starts, the first host 0"),
    ],
)
def test_hosts_that_differ_are_refused_on_both(port, changes, words):
    first, second = start(port, 0), start(port, 1, **changes)
    for result in (first(), second()):
        with pytest.raises(UsageError, match=words):
            raise result


def test_a_number_that_is_taken(port):
    hosts = [start(port, node, 3) for node in (0, 1, 1)]
    told = [str(host()) for host in hosts]
    assert all("has a --node-rank that is taken" in text for text in told)


def test_hosts_that_do_not_come(port):
    with pytest.raises(UsageError, match="host 1, 2 of 3 did not come .* within 0.2 s"):
        raise start(port, 0, 3, patience=0.2)()
    with pytest.raises(UsageError, match=r"no answer from the first host .*--node-rank 0 started"):
        raise start(port, 1, patience=0.2)()
