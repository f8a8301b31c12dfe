"""torch.distributed's debug level, and a breakpoint on one rank."""

from __future__ import annotations

import enum

from dtorch.core import env

from .world import default_group


class DebugLevel(enum.Enum):
    """What torch checks and logs.  Here all checks are always on, and levels change nothing."""

    OFF = 0
    INFO = 1
    DETAIL = 2


_level: list[DebugLevel] = []  # what was set last


def set_debug_level(level: DebugLevel) -> None:
    """Set how much is checked and told: OFF, INFO or DETAIL."""
    _level[:] = [DebugLevel(level)]


def set_debug_level_from_env() -> None:
    """That of TORCH_DISTRIBUTED_DEBUG: OFF, INFO or DETAIL."""
    set_debug_level(DebugLevel[env.DISTRIBUTED_DEBUG.get()])


def get_debug_level() -> DebugLevel:
    """The level set, or that of TORCH_DISTRIBUTED_DEBUG."""
    if not _level:
        set_debug_level_from_env()
    return _level[0]


_calls = 0


def breakpoint(rank: int = 0, skip: int = 0, timeout_s: float = 3600) -> None:
    """Stop in the debugger on one rank (`up` leads to the caller); the others wait until it goes on.

    All ranks call it.  skip: how many calls to pass by; timeout_s: how long the others wait
    """
    global _calls
    _calls += 1
    if _calls <= skip:
        return
    group = default_group()
    if group.rank() == rank:
        import pdb  # not with every import of dtorch.distributed

        pdb.Pdb().set_trace()
    group.barrier().wait(timeout_s)
