"""What happens under plain mpirun when one rank goes astray: the job ends, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtorch_run import machine

REPO = Path(__file__).resolve().parents[2]
HEAD = """
import sys
import dtorch, dtorch.distributed as dist
dist.init_process_group(timeout=20)
rank = dist.get_rank()
"""


@pytest.fixture
def mpirun(tmp_path):
    def run(body: str, ranks: int = 2) -> tuple[int, str]:
        """Run a script under mpirun: (exit code, all output).  A hang fails after 30 s."""
        script = tmp_path / "script.py"
        script.write_text(HEAD + body)
        found = machine.look(port=0, ask_mpi=False).mpirun
        assert found is not None, "these tests need mpirun: pip install 'dtorch[mpich,test]'"
        env = {
            **os.environ,
            "PYTHONPATH": str(REPO),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        }
        argv = [found, "-n", str(ranks), sys.executable, str(script)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_rank_that_raises_ends_the_job(mpirun):
    code, text = mpirun("if rank == 1: raise KeyError('astray')\ndist.barrier()\n", ranks=3)
    assert code != 0
    assert "KeyError: 'astray'" in text


def test_a_rank_that_ends_early_is_told_of(mpirun):
    code, text = mpirun("if rank == 1: sys.exit(0)\ndist.all_reduce(dtorch.ones(3))\n")
    assert code != 0
    assert "all_reduce float32[3] sum at" in text
    assert "script.py:7" in text
    assert "rank 1: #1 destroy_process_group at the end of the program" in text


def test_ranks_that_disagree_end_the_job_with_both_lines(mpirun):
    code, text = mpirun("""
if rank == 0:
    dist.all_reduce(dtorch.ones(3))
else:
    dist.all_reduce(dtorch.ones(4))
""")
    assert code != 0
    assert "rank 0: #1 all_reduce float32[3] sum at" in text
    assert "rank 1: #1 all_reduce float32[4] sum at" in text
    assert "script.py:8" in text
    assert "script.py:10" in text


def test_a_rank_that_never_comes_is_not_waited_for_forever(mpirun):
    code, text = mpirun("""
if rank == 0:
    dist.all_reduce(dtorch.ones(3), async_op=True).wait(timeout=0.5)
else:
    import threading
    threading.Event().wait(25)
""")
    assert code != 0
    assert "no end after 0.5 s of #1 all_reduce float32[3] sum at" in text


def test_a_script_may_leave_the_group_to_its_end(mpirun):
    code, text = mpirun("""
x = dtorch.ones(2)
dist.all_reduce(x)
sys.stdout.write(f"sum {x.tolist()}\\n")
""")
    assert code == 0, text
    assert text.count("sum [2.0, 2.0]") == 2
