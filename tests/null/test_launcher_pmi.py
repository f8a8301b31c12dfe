"""PMI-1: the conversation of two MPICH ranks, and what a confused one may send."""

import pytest

from dtorch_run.pmi import Abort, Pmi


def talk(pmi, rank, text):
    return [(reply.rank, reply.data.decode()) for reply in pmi.feed(rank, text.encode())]


def test_a_whole_start_up():
    pmi = Pmi(2, "job")
    assert talk(pmi, 0, "cmd=init pmi_version=1 pmi_subversion=1\ncmd=get_maxes\n") == [
        (0, "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n"),
        (0, "cmd=maxes rc=0 kvsname_max=256 keylen_max=64 vallen_max=1024\n"),
    ]
    assert talk(pmi, 0, "cmd=get_appnum\n") == [(0, "cmd=appnum rc=0 appnum=0\n")]
    assert talk(pmi, 0, "cmd=get_my_kvsname\n") == [(0, "cmd=my_kvsname rc=0 kvsname=job\n")]
    assert talk(pmi, 0, "cmd=get_universe_size\n") == [(0, "cmd=universe_size rc=0 size=2\n")]
    mapping = talk(pmi, 1, "cmd=get kvsname=job key=PMI_process_mapping\n")
    assert mapping == [(1, "cmd=get_result rc=0 msg=success value=(vector,(0,1,2))\n")]
    assert talk(pmi, 0, "cmd=finalize\n") == [(0, "cmd=finalize_ack rc=0 msg=success\n")]


def test_a_value_may_hold_spaces_and_equal_signs():
    pmi = Pmi(2, "job")
    put = "cmd=put kvsname=job key=card value=a=b host#x $ y value=z\n"
    assert talk(pmi, 0, put) == [(0, "cmd=put_result rc=0 msg=success\n")]
    (reply,) = talk(pmi, 1, "cmd=get kvsname=job key=card\n")
    assert reply == (1, "cmd=get_result rc=0 msg=success value=a=b host#x $ y value=z\n")


def test_the_barrier_opens_when_all_are_in_and_can_be_used_again():
    pmi = Pmi(2, "job")
    for _ in range(2):
        assert talk(pmi, 1, "cmd=barrier_in\n") == []
        assert [rank for rank, _ in talk(pmi, 0, "cmd=barrier_in\n")] == [0, 1]


def test_lines_may_arrive_in_pieces():
    pmi = Pmi(1, "job")
    text = "cmd=get_appnum\n"
    replies = [reply for letter in text for reply in talk(pmi, 0, letter)]
    assert replies == [(0, "cmd=appnum rc=0 appnum=0\n")]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("cmd=get kvsname=job key=nothing", "cmd=get_result rc=-1 msg=key_not_found"),
        ("cmd=get", "cmd=get_result rc=-1 msg=key_not_found"),
        ("cmd=put kvsname=job", "cmd=put_result rc=-1 msg=expected_key_and_value"),
        (f"cmd=put key=k value={'x' * 2000}", "cmd=put_result rc=-1 msg=key_or_value_too_long"),
        ("cmd=lookup_name service=x", "cmd=lookup_name rc=-1 msg=unsupported"),
        ("what is this", "cmd=unknown rc=-1 msg=unsupported"),
        ("\udcff=\udcfe", "cmd=unknown rc=-1 msg=unsupported"),
    ],
)
def test_what_it_does_not_know_is_answered(line, reply):
    pmi = Pmi(1, "job")
    data = line.encode("utf-8", "surrogateescape") + b"\n"
    assert [answer.data.decode().strip() for answer in pmi.feed(0, data)] == [reply]


def test_spawn_is_refused_in_one_answer():
    text = "mcmd=spawn\nnprocs=1\nexecname=a.out\nendcmd\n"
    assert talk(Pmi(1, "job"), 0, text) == [
        (0, "cmd=spawn_result rc=-1 msg=dtorch-run_does_not_spawn\n")
    ]


@pytest.mark.parametrize(("code", "kept"), [("7", 7), ("-1", 255), ("0", 1), ("x", 1)])
def test_abort(code, kept):
    pmi = Pmi(2, "job")
    assert talk(pmi, 1, f"cmd=abort exitcode={code} message=bye\n") == []
    talk(pmi, 0, "cmd=abort exitcode=9\n")
    assert pmi.abort == Abort(1, kept)


def test_rubbish_without_end_costs_no_memory():
    pmi = Pmi(1, "job")
    for _ in range(40):
        assert list(pmi.feed(0, b"x" * 65536)) == []
    assert len(pmi._pending[0]) <= 65536


def test_segments_carry_the_fnv_1a_hash_of_the_job():
    assert Pmi(1, "foobar").segments() == ("mpich_shm_bf9cf968_", "mpich_vci_bf9cf968_")
