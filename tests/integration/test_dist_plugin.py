"""The ``dist`` mark: what pytest says of tests on n ranks that pass, fail, hang and die."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtorch_run import machine

REPO = Path(__file__).parents[2]
HEAD = """
import os, time
import pytest
from mpi4py import MPI
world = MPI.COMM_WORLD
"""
PASSES = """
@pytest.mark.dist(2)
@pytest.mark.parametrize("number", [1, 3])
def test_passes(number, tmp_path):
    assert tmp_path.is_dir()
    assert world.allreduce(number) == 2 * number
"""
FAILS = """
@pytest.mark.dist(2)
def test_fails():
    print("printed by", world.rank)
    assert world.allreduce(1) == 2
    assert world.rank != 1, "rank 1 is unhappy"
"""
LEAVES_THE_OTHER_WAITING = """
@pytest.mark.dist(2)
def test_leaves():
    assert world.rank != 1, "rank 1 is unhappy"
    world.barrier()  # rank 0 waits here
"""
HANGS = """
@pytest.mark.dist(2, timeout=6)  # of which starting may take some on a busy machine
def test_hangs():
    if world.rank == 0:
        world.barrier()
    time.sleep(600)
"""
DIES = """
@pytest.mark.dist(2)
def test_dies():
    if world.rank == 1:
        os.kill(os.getpid(), 9)
    world.barrier()
"""


@pytest.fixture
def run(tmp_path):
    def run(*tests: str, ranks: int = 0) -> tuple[int, str]:
        """Run the tests in a pytest of their own, under mpirun if ranks > 0: (code, output)."""
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.plugins.dist"]\n')
        (tmp_path / "test_it.py").write_text(HEAD + "".join(tests))
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
        argv += ["-c", str(REPO / "pyproject.toml"), f"--rootdir={REPO}", str(tmp_path)]
        if ranks:
            argv = [*mpirun(), "-n", str(ranks), *argv]
        env = {
            # Under CI pytest prints a failure's text in full a second time.
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST") and k != "CI"},
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p pytest_timeout",
            # Open MPI asks before it runs as root or on fewer cores than ranks
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        }
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env)
        return done.returncode, done.stdout + done.stderr

    return run


def mpirun() -> list[str]:
    found = machine.look(port=0, ask_mpi=False).mpirun
    assert found is not None, "these tests need mpirun: pip install 'dtorch[mpich,test]'"
    return [found]


def test_passing(run):
    code, text = run(PASSES, "@pytest.mark.dist(4)\ndef test_four(): assert world.size == 4\n")
    assert code == 0, text
    assert "3 passed" in text


def test_skips_and_expected_failures_come_through(run):
    code, text = run(
        "@pytest.mark.dist(2)\ndef test_s(): pytest.skip('for this reason')\n",
        "@pytest.mark.dist(2)\ndef test_x(): pytest.xfail('known')\n",
        "@pytest.mark.skip\n@pytest.mark.dist(2)\ndef test_m(): pass\n",
    )
    assert code == 0, text
    assert "2 skipped, 1 xfailed" in text
    assert "for this reason" in text


def test_the_failing_ranks_traceback_comes_first_then_where_the_others_wait(run):
    code, text = run(LEAVES_THE_OTHER_WAITING, PASSES)
    assert code == 1
    assert "1 failed, 2 passed" in text
    first, other = text.split("---- rank ")[1:3]
    assert first.startswith("1: failed")
    assert "AssertionError: rank 1 is unhappy" in first
    if machine.look(port=0, ask_mpi=True).mpi != "Open MPI":  # its mpirun ends them itself, mute
        assert other.startswith("0: stopped here")
        assert re.search(r'test_it.py", line \d+ in test_leaves', other)
    assert "_pytest/python.py" not in text


def test_a_hang_shows_every_ranks_stack(run):
    code, text = run(HANGS)
    assert code == 1
    assert len(re.findall(r'test_it.py", line \d+ in test_hangs', text)) == 2
    assert "not done after 6 s" in text


def test_a_death_is_named(run):
    code, text = run(DIES)
    assert code == 1
    # in our words, or in those of Open MPI's mpirun
    assert re.search(r"rank 1\b.*(killed by SIGKILL|signal 9)", text, re.DOTALL)


def test_under_mpirun_the_ranks_run_in_place_and_one_reports(run):
    code, text = run(PASSES, "def test_plain(): pass\n", ranks=2)
    assert code == 0, text
    assert text.count("3 passed") == 1


def test_under_mpirun_another_number_of_ranks_skips(run):
    code, text = run("@pytest.mark.dist(3)\ndef test_three(): pass\n", ranks=2)
    assert code == 0, text
    assert "needs 3 ranks, started with 2" in text


def test_under_mpirun_rank_0_reports_another_ranks_failure_and_goes_on(run):
    code, text = run(FAILS, PASSES, ranks=2)
    assert code != 0
    assert text.count("1 failed, 2 passed") == 1
    assert "---- rank 1: failed ----" in text
    assert "AssertionError: rank 1 is unhappy" in text
    assert "printed by 1" in text


def test_under_mpirun_ranks_out_of_step_are_ended(run):
    code, text = run(LEAVES_THE_OTHER_WAITING, PASSES, ranks=2)
    assert code != 0
    assert "AssertionError: rank 1 is unhappy" in text
    assert "out of step: rank 1 failed" in text
    assert re.search(r'test_it.py", line \d+ in test_leaves', text)  # where rank 0 waits
    assert "passed" not in text


def test_under_mpirun_a_hang_is_ended(run):
    code, text = run(HANGS, PASSES, ranks=2)
    assert code != 0
    assert len(re.findall(r'test_it.py", line \d+ in test_hangs', text)) == 2
    assert "passed" not in text
