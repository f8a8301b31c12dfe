"""The quick ones of `python -m tests.integration.faults`: who is blamed, and what is left."""

import pytest

from tests.integration import faults

# Each takes a second or two; the table has them all.
QUICK = ("kill in all-reduce", "kill in a checkpoint", "exit(0) too early",
         "out of memory (rlimit)", "disk full", "launcher kill -9", "two jobs at once")  # fmt: skip


@pytest.mark.parametrize("fault", QUICK)
def test_what_dtorch_run_promises(fault):
    reason = faults.impossible(fault)
    if reason:
        pytest.skip(reason)
    row = faults.FAULTS[fault]._replace(within=faults.DEADLINE)  # how fast: the table says
    seen = faults.run(fault)
    assert faults.broken_promises(row, seen) == [], "\n".join(seen.lines)
