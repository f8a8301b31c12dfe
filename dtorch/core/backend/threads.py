"""How many threads BLAS and OpenMP use.  threadpoolctl knows their libraries; imported on first use.

Each library keeps threads of its own that go on spinning after a call, so that two of them in turns
take ten times as long.  Where oneDNN is loaded, its OpenMP has the threads and BLAS has one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_wanted: int | None = None  # what set_num_threads was told
_openmp: Callable[[], None] | None = None  # given once OpenMP is in use: called when it changes


def set_num_threads(n: int) -> None:
    """Let the array libraries of this process use `n` threads; ValueError unless n is positive."""
    global _wanted
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads expects a positive integer, got {n!r}")
    _wanted = n
    share()


def get_num_threads() -> int:
    """How many threads the array libraries of this process use at most."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


class _Pools:
    """The thread pools of the libraries loaded; looked for anew where modules have been imported."""

    def __init__(self) -> None:
        self._modules = 0
        self._found: list[Any] = []

    def all(self) -> list[Any]:
        if self._modules != len(sys.modules):
            from threadpoolctl import ThreadpoolController

            self._found = ThreadpoolController().lib_controllers
            self._modules = len(sys.modules)
        return self._found


_pools = _Pools()


def hold_to_one_thread() -> None:
    """set_num_threads(1) where it isn't so yet; a microsecond where it is: for each step."""
    if _wanted != 1 or any(pool.num_threads != 1 for pool in _pools.all()):
        set_num_threads(1)


def share() -> None:
    """Deal out the threads to the libraries that are loaded."""
    from threadpoolctl import threadpool_limits

    if _wanted is not None:
        threadpool_limits(_wanted)
    if _openmp is not None:
        threadpool_limits(1, user_api="blas")
        _openmp()


def prefer_openmp(changed: Callable[[], None]) -> None:
    """OpenMP gets the threads from now on; `changed` is called whenever their number changes."""
    global _openmp
    _openmp = changed
    share()


def after_fork() -> None:
    """A forked child can't use the parent's OpenMP threads: it has one, as in torch's workers."""
    set_num_threads(1)
