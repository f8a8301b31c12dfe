"""Which rank is to blame, what the report says, and the exit code."""

import signal
from dataclasses import replace

import pytest

from dtorch_run.cgroup import Memory
from dtorch_run.report import Ending, Outcome, describe, size

FINE = Ending(0, 0, 9.0, False)
RAISED = Ending(1, 1, 2.0, False, "ValueError: x", "Traceback ...\nValueError: x\n")
STOPPED = Ending(0, -signal.SIGTERM, 3.0, True)


def test_all_well_is_silent():
    outcome = Outcome(1, (FINE,))
    assert (outcome.exit_code(), describe(outcome)) == (0, "")


def test_the_traceback_comes_last():
    outcome = Outcome(2, (RAISED, STOPPED))
    assert outcome.exit_code() == 1
    assert describe(outcome) == (
        "dtorch-run: rank 0 stopped because rank 1 failed\n"
        "dtorch-run: rank 1 of 2 failed first: ValueError: x (exit code 1)\n"
        "Traceback ...\nValueError: x\n"
    )


def test_the_killed_rank_is_to_blame_and_not_the_one_that_lost_its_peer():
    lost = Ending(0, 1, 1.0, False, "ConnectionResetError: peer", "Traceback")
    killed = Ending(1, -signal.SIGKILL, 1.01, False)
    outcome = Outcome(2, (lost, killed))
    assert outcome.exit_code() == 137
    assert "rank 0 failed after it: ConnectionResetError: peer (exit code 1)" in describe(outcome)
    assert "rank 1 of 2 failed first: killed by SIGKILL" in describe(outcome)


def test_of_two_exceptions_the_earlier_counts():
    later = Ending(0, 3, 2.5, False, "SystemExit: 3")
    assert Outcome(2, (later, RAISED)).first_failure() is RAISED


def test_an_abort_in_c_is_no_kill_from_outside():
    aborted = Ending(0, -signal.SIGABRT, 2.5, False)
    assert Outcome(2, (aborted, RAISED)).first_failure() is RAISED


def test_a_signal_to_the_launcher():
    outcome = Outcome(2, (STOPPED, STOPPED), signal=signal.SIGTERM)
    assert outcome.exit_code() == 143
    assert describe(outcome) == "dtorch-run: stopped by SIGTERM\n"


def test_a_failure_before_the_signal_is_what_counts():
    outcome = Outcome(2, (RAISED, STOPPED), signal=signal.SIGINT)
    assert outcome.exit_code() == 1
    assert describe(outcome).endswith("ValueError: x\n")


def test_a_timeout_shows_the_stacks():
    stuck = Ending(0, -signal.SIGABRT, 3.0, True, "", "File x, line 3\n")
    outcome = Outcome(
        3, (replace(STOPPED, rank=2, code=-19, frozen=True), stuck, FINE), timeout=1.5
    )
    assert outcome.exit_code() == 124
    assert describe(outcome) == (
        "dtorch-run: rank 0 was here:\nFile x, line 3\n"
        "dtorch-run: rank 2 stood still, stopped by SIGSTOP from outside\n"
        "dtorch-run: ranks 0, 2 still running after 1.5 s: stopped\n"
    )


def test_mpirun_itself_failed():
    assert describe(Outcome(2, (Ending(None, 137, 1.0, False),))) == (
        "dtorch-run: mpirun failed, see its message: exit code 137\n"
    )


LOST = Ending(0, 1, 2.0, False, "DistError: rank 1 ended", "Traceback: DistError\n", True)


@pytest.mark.parametrize(
    "left",
    [Ending(1, 0, 1.0, False, done=1.0), Ending(1, -signal.SIGTERM, 3.0, True, done=1.0)],
    ids=["gone", "waiting"],
)
def test_a_rank_that_left_is_the_cause_and_not_the_one_that_missed_it(left):
    outcome = Outcome(2, (left, LOST))
    assert outcome.exit_code() == 1
    assert describe(outcome) == (
        "dtorch-run: rank 0 failed after it: DistError: rank 1 ended (exit code 1)\n"
        "dtorch-run: rank 1 of 2 came to its end first, while others still needed it; one of "
        "those says:\nTraceback: DistError\n"
    )


def test_a_rank_that_crashes_after_its_end_has_failed():
    crashed = Ending(1, -signal.SIGABRT, 9.5, False, done=9.0)
    outcome = Outcome(2, (FINE, crashed))
    assert outcome.exit_code() == 128 + signal.SIGABRT
    assert describe(outcome) == "dtorch-run: rank 1 of 2 failed first: killed by SIGABRT\n"


def test_a_rank_that_stands_still_is_the_cause():
    frozen = Ending(1, -signal.SIGSTOP, 3.0, True, frozen=True)
    outcome = Outcome(2, (LOST, frozen))
    assert outcome.exit_code() == 128 + signal.SIGSTOP
    assert describe(outcome).splitlines()[-1] == (
        "dtorch-run: rank 1 of 2 failed first: stood still, stopped by SIGSTOP from outside"
    )


def test_an_exception_of_its_own_comes_before_those_of_communication():
    assert Outcome(2, (LOST, replace(RAISED, time=2.5))).first_failure().rank == 1


def test_others_are_folded_and_say_where_they_were():
    others = [replace(LOST, rank=rank, last="#7 all_reduce at a.py:3") for rank in (0, 2, 3)]
    stopped = [replace(STOPPED, rank=rank) for rank in (4, 5)]
    lines = describe(Outcome(6, (RAISED, *others, *stopped))).splitlines()
    assert lines[:3] == [
        "dtorch-run: ranks 0, 2-3 failed after it: DistError: rank 1 ended (exit code 1)",
        "dtorch-run: ranks 4-5 stopped because rank 1 failed",
        "dtorch-run: the last collective of ranks 0, 2-3: #7 all_reduce at a.py:3",
    ]


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (None, "; perhaps by the kernel for want of memory"),
        (Memory(0, None, None), "; not for want of memory, of which the control group counts no"),
        (
            Memory(1, 4 << 30, 4 << 30),
            "; the kernel has killed 1 for want of memory, 4 GiB at most "
            "in the group (limit 4 GiB); its memory was 2 GiB at most",
        ),
    ],
)
def test_what_is_known_of_a_kill(memory, words):
    killed = Ending(1, -signal.SIGKILL, 1.0, False, peak=2 << 30)
    assert "killed by SIGKILL; " in describe(Outcome(2, (killed,), memory=memory))
    assert words in describe(Outcome(2, (killed,), memory=memory)).replace(
        "; its memory was 2 GiB at most; perhaps", "; perhaps"
    )


def test_sizes_in_words():
    assert [size(n) for n in (0, 999, 2048, 3 << 20, 5 << 30)] == [
        "0 B", "999 B", "2 KiB", "3 MiB", "5 GiB"
    ]  # fmt: skip
