"""Four hosts, as namespaces of this machine: one is cut off, and comes back (see `hosts`)."""

import pytest

from tests.integration.hosts import (
    SCENARIOS,
    broken_promises,
    impossible,
    run,
    weights_of_one_process,
)

WHY_NOT = impossible()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_without_a_host_the_job_ends_and_with_it_starts_again():
    scenario = SCENARIOS["cut one off, and back"]
    seen = run(scenario)
    said = "\n".join(line for host in seen for line in host.lines)
    assert broken_promises(scenario, seen, weights_of_one_process()) == [], said
