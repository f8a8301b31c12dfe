"""How many threads BLAS and OpenMP use.  threadpoolctl knows their libraries; imported on first use."""

from __future__ import annotations


def set_num_threads(n: int) -> None:
    """Let the array libraries of this process use `n` threads; ValueError unless n is positive."""
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads expects a positive integer, got {n!r}")
    from threadpoolctl import threadpool_limits

    threadpool_limits(n)


def get_num_threads() -> int:
    """How many threads the array libraries of this process use at most."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)
