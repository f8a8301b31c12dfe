"""Nothing that was torch's may be lost: every item of the databases against gaps.json."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="PyTorch's test databases come with PyTorch (extra: test)")

from tests.conformance.report import gaps, known_gaps, title  # noqa: E402
from tests.conformance.run import ITEMS, Record, run_all  # noqa: E402


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """The record of each item, from two processes beside this one."""
    return {title(r): r for r in run_all(ITEMS)}


@pytest.mark.timeout(600)  # the first one waits for the whole run
@pytest.mark.parametrize("item", [f"{kind} {name}" for kind, name in ITEMS])
def test_nothing_is_lost(item: str, records: dict[str, Record]) -> None:
    record = records[item]
    new = sorted(set(gaps(record)) - set(known_gaps().get(item, ())))
    assert not new, f"{item} has lost {', '.join(new)}: {record}"


def test_the_ratchet_names_items() -> None:
    assert not set(known_gaps()) - {f"{kind} {name}" for kind, name in ITEMS}
