"""Which streams of which ranks the terminal shows: torchrun's --redirects, --tee and filter."""

from __future__ import annotations

from dtorch_run.options import Options, UsageError

_STDOUT, _STDERR = 1, 2


def shown(options: Options, size: int) -> tuple[tuple[bool, bool], ...]:
    """(stdout, stderr) of each local rank: shown unless redirected, or if it is tee'd as well.

    Every line goes to the job's log files, whatever is shown.
    """
    hidden = _bits("--redirects", options.redirects, size)
    teed = _bits("--tee", options.tee, size)
    ranks = _filter(options.local_ranks_filter, size)
    visible = [(~hidden[rank] | teed[rank]) if rank in ranks else 0 for rank in range(size)]
    return tuple((bool(bits & _STDOUT), bool(bits & _STDERR)) for bits in visible)


def _bits(name: str, value: int | str | None, size: int) -> list[int]:
    """1 for stdout, 2 for stderr, 3 for both: of all ranks, or by rank as in ``0:3,1:2``."""
    text = str(value or 0)
    try:
        if ":" not in text:
            return [_std(text)] * size
        by_rank = {int(rank): _std(bits) for rank, _, bits in map(_pair, text.split(","))}
    except ValueError:
        raise UsageError(
            f"{name} must be 0, 1 (stdout), 2 (stderr) or 3 (both), or ranks with one each such as "
            f"0:3,1:2; got {text!r}"
        ) from None
    _check_ranks(name, by_rank, size)
    return [by_rank.get(rank, 0) for rank in range(size)]


def _pair(text: str) -> tuple[str, str, str]:
    return text.partition(":")


def _std(text: str) -> int:
    if text not in ("0", "1", "2", "3"):
        raise ValueError(text)
    return int(text)


def _filter(value: int | str | None, size: int) -> set[int]:
    if value is None:
        return set(range(size))
    try:
        ranks = {int(rank) for rank in str(value).split(",")}
    except ValueError:
        raise UsageError(f"--local-ranks-filter must be ranks such as 0,2; got {value!r}") from None
    _check_ranks("--local-ranks-filter", ranks, size)
    return ranks


def _check_ranks(name: str, ranks: set[int] | dict[int, int], size: int) -> None:
    wrong = [rank for rank in ranks if not 0 <= rank < size]
    if wrong:
        raise UsageError(f"{name} names rank {wrong[0]}, but a host has ranks 0 to {size - 1}")
