"""Comparing what the ranks ask for before any data moves: errors name each side and its line.

Every rank sees what all have asked for, so every rank raises, and the group can be used again.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtorch.core.backend import cpu

from . import algorithms, callsite
from .collective import Collective
from .transport import Transport
from .work import DistError, Steps

_RUN = 16  # collectives that an exchange of two may lie apart


class MismatchError(DistError):
    """The ranks of a group have asked for collectives that don't fit each other."""


class Comparison:
    """Compares the collectives of a group between its ranks.

    Two that have been exchanged on one rank look all alike if their tensors do, and without names
    only their call sites can tell.  But ranks may well call from different places: what is an error
    is that two ranks made the same two calls, in opposite order, and that on neither an `if` or a
    loop chose between these.
    """

    def __init__(self, transport: Transport, group: str) -> None:
        self._transport, self._group = transport, group
        self._apart: list[tuple[Collective, list[int]]] = []  # the latest, with everybody's keys
        self._harmless: set[frozenset[int]] = set()  # pairs of keys that need no second look

    def compare(self, mine: Collective) -> Steps:
        """MismatchError on all ranks unless they ask for the same."""
        seen: list[int] = []
        yield from algorithms.all_gather_number(self._transport, mine.fingerprint(), seen)
        if seen.count(seen[0]) == len(seen):
            self._apart.clear()
            return
        if len({number >> 32 for number in seen}) > 1:
            records: list[Collective] = []
            yield from algorithms.all_gather_objects(self._transport, mine, records)
            raise _mismatch(self._group, records)
        yield from self._look_for_swaps(mine, [number & 0xFFFFFFFF for number in seen])

    def _look_for_swaps(self, mine: Collective, keys: list[int]) -> Steps:
        """Having come from different places, may the ranks be in different orders?"""
        for earlier, before in self._apart:
            pairs = set(zip(before, keys))
            swapped = [
                r for r, (a, b) in enumerate(zip(before, keys)) if a != b and (b, a) in pairs
            ]
            doubtful = {frozenset((before[r], keys[r])) for r in swapped} - self._harmless
            if earlier.what() != mine.what() or not doubtful:
                continue
            parting = callsite.one_after_the_other(earlier.site, mine.site)
            told: list[tuple[str, str] | None] = []
            yield from algorithms.all_gather_objects(self._transport, parting, told)
            if all(told[r] for r in swapped):
                raise _swap(self._group, earlier, mine, told)
            self._harmless |= doubtful
        self._apart.append((mine, keys))
        del self._apart[:-_RUN]

    def compare_counts(
        self, mine: Collective, counts: Sequence[int], out_counts: Sequence[int]
    ) -> Steps:
        """MismatchError on all ranks unless each sends as many elements as the other expects."""
        t = self._transport
        both = cpu.array([*counts, *out_counts], cpu.int64)
        seen = cpu.empty((t.size, 2, t.size), cpu.int64)
        yield t.all_gather(both, seen.reshape(-1), [both.size] * t.size)
        sent, expected = seen[:, 0], seen[:, 1].T  # both: (from, to)
        if (sent == expected).all():
            return
        records: list[Collective] = []
        yield from algorithms.all_gather_objects(t, mine, records)
        wrong = [
            f"  rank {i} sends {sent[i, j]} to rank {j}, which expects {expected[i, j]}"
            for i in range(t.size)
            for j in range(t.size)
            if sent[i, j] != expected[i, j]
        ]
        told = "\n".join([*wrong, *_sides(records)])
        raise MismatchError(
            f"all_to_all: the ranks of group {self._group!r} disagree on how many elements to "
            f"exchange:\n{told}\nNo data was exchanged."
        )


def _mismatch(group: str, records: Sequence[Collective]) -> MismatchError:
    told = "\n".join(_sides(records))
    text = (
        f"the ranks of group {group!r} disagree on their next collective:\n{told}\n"
        "No data was exchanged.  Every rank must call the same collectives in the same order, with "
        "equal shapes, dtypes, reductions and roots."
    )
    averages = {record.name.startswith("gradients of") for record in records}
    if len(averages) > 1 or any(record.op == "destroy_process_group" for record in records):
        text += (
            "  A rank that has run out of batches before the others can take part in theirs: "
            "`with ddp.join():` around the loop."
        )
    return MismatchError(text)


def _swap(
    group: str, first: Collective, second: Collective, places: Sequence[tuple[str, str] | None]
) -> MismatchError:
    sides = [
        f"{first.title()} at {place[0]}, then {second.title()} at {place[1]}"
        if place is not None
        else "other calls"
        for place in places
    ]
    told = "\n".join(_sides(sides))
    return MismatchError(
        f"the ranks of group {group!r} made the same two calls in opposite order:\n{told}\n"
        f"#{first.seq} is done, with tensors that don't belong together; #{second.seq} exchanged no "
        "data.  Every rank must call the same collectives in the same order.  If these do belong "
        "together, give them one name on all ranks: `with dist.record_comm('name'):`."
    )


def _sides(records: Sequence[object]) -> list[str]:
    """A line for each thing that ranks say, with the ranks that say it."""
    sides: dict[str, list[int]] = {}
    for rank, record in enumerate(records):
        sides.setdefault(str(record), []).append(rank)
    return [f"  {name_ranks(ranks)}: {record}" for record, ranks in sides.items()]


def name_ranks(ranks: Sequence[int]) -> str:
    """ "rank 3", "ranks 0, 2", "ranks 0-6, 8"."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"rank{'s' if len(ranks) != 1 else ''} {', '.join(parts)}"
