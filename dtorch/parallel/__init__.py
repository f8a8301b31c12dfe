"""The data-parallel core; public as dtorch.distributed and dtorch.nn.parallel.

What is imported here is about groups, which do without dtorch.nn.
"""

from .group import Group
from .membership import new_group
from .overview import explain
from .work import DistError, Work
from .world import (
    default_group,
    destroy_process_group,
    get_rank,
    get_world_size,
    init_process_group,
    is_initialized,
    run_local,
)

__all__ = [
    "DistError", "Group", "Work", "default_group", "destroy_process_group", "explain",
    "get_rank", "get_world_size", "init_process_group", "is_initialized", "new_group", "run_local",
]  # fmt: skip
