"""Which rank is to blame, what the report says, and the exit code."""

import signal

from dtorch_run.report import Ending, Outcome, describe

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
    outcome = Outcome(2, (stuck, Ending(1, 0, 1.0, False)), timeout=1.5)
    assert outcome.exit_code() == 124
    assert describe(outcome) == (
        "dtorch-run: rank 0 was here:\nFile x, line 3\n"
        "dtorch-run: rank 0 still running after 1.5 s: stopped\n"
    )


def test_mpirun_itself_failed():
    assert describe(Outcome(2, (Ending(None, 137, 1.0, False),))) == (
        "dtorch-run: mpirun failed, see its message: exit code 137\n"
    )
