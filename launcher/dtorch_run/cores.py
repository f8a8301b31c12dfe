"""Which cores each rank of this host may use, and how many threads its BLAS gets."""

from __future__ import annotations

from collections.abc import Sequence

from dtorch_run.options import UsageError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable(cores: Sequence[int], quota: float | None) -> int:
    """How many cores are worth a thread: those allowed, and no more than the cgroup pays for."""
    return max(1, min(len(cores), int(quota) if quota else len(cores)))


def bind(
    how: str, size: int, cores: Sequence[int], nodes: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...] | None, ...]:
    """The cores of each local rank, None for all.

    how: "none"; "core": equal runs of the allowed cores, in order; "numa": the allowed cores of
    one NUMA node each, in turn.  Raises UsageError when there is less than a core a rank.
    """
    if how == "none":
        return (None,) * size
    if how == "numa":
        allowed = [tuple(sorted(set(node) & set(cores))) for node in nodes]
        usable_nodes = [node for node in allowed if node]
        return tuple(usable_nodes[rank % len(usable_nodes)] for rank in range(size))
    share = len(cores) // size
    if share == 0:
        raise UsageError(
            f"--bind core gives each rank cores of its own, but {size} ranks have {len(cores)}: "
            "start fewer, or leave --bind out"
        )
    return tuple(tuple(cores[rank * share : (rank + 1) * share]) for rank in range(size))


def text(cores: Sequence[int]) -> str:
    """``0-3,8`` for the cores 0, 1, 2, 3 and 8."""
    spans: list[list[int]] = []
    for core in sorted(cores):
        if spans and core == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], core]
        else:
            spans.append([core])
    return ",".join("-".join(map(str, span)) for span in spans)


def read(spans: str) -> tuple[int, ...]:
    """The reverse of `text`, as the kernel writes such lists."""
    found: list[int] = []
    for span in spans.strip().split(","):
        first, _, last = span.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return tuple(found)
