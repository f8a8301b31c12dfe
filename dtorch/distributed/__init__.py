"""Communication between the ranks of a job, under torch.distributed's names.

Tensors may be of any dtype, on any device (those on a GPU travel through the host's memory), and
need not be contiguous.  Reductions have the same bits whatever the transport: they are summed over
a fixed binary tree of the ranks, float16 and bfloat16 in float32.

Every collective is first compared between the ranks: one that differs in op, shape, dtype,
reduction or root raises on all of them, naming each side and its line, before any data has moved.
That costs an exchange of 8 bytes (5 us over common memory, 15 over MPI); DTORCH_CHECK_COLLECTIVES=off
saves it.

A rank that waits for a minute (DTORCH_STALL_TIMEOUT) prints who holds it up, and where.  After a
failure each rank's latest collectives are in a file: see docs/when-it-hangs.md.

All raise ValueError before init_process_group, DistError where the ranks disagree and after the
group's timeout.  On a rank outside of the group that is given they only warn.
"""

from datetime import timedelta

from ..parallel.arguments import get_global_rank, get_group_rank
from ..parallel.backends import (
    Backend,
    BackendConfig,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_mpi_available,
    is_nccl_available,
)
from ..parallel.buckets import GradBucket
from ..parallel.collectives import (
    all_gather,
    all_gather_coalesced,
    all_gather_into_tensor,
    all_gather_single,
    all_reduce,
    all_reduce_coalesced,
    all_to_all,
    all_to_all_single,
    barrier,
    broadcast,
    gather,
    monitored_barrier,
    reduce,
    reduce_scatter,
    reduce_scatter_single,
    reduce_scatter_tensor,
    scatter,
)
from ..parallel.comm_hooks import BuiltinCommHookType
from ..parallel.debugging import (
    DebugLevel,
    breakpoint,
    get_debug_level,
    set_debug_level,
    set_debug_level_from_env,
)
from ..parallel.device_mesh import DeviceMesh, init_device_mesh
from ..parallel.group import Group
from ..parallel.ledger import ReplicaLedger
from ..parallel.membership import (
    GroupMember,
    get_backend,
    get_backend_config,
    get_default_backend_for_device,
    get_node_local_rank,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    new_group,
    new_subgroups,
    new_subgroups_by_enumeration,
    record_comm,
    split_group,
)
from ..parallel.messages import (
    P2POp,
    batch_isend_irecv,
    irecv,
    isend,
    recv,
    recv_object_list,
    send,
    send_object_list,
)
from ..parallel.objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    scatter_object_list,
)
from ..parallel.progress import report
from ..parallel.reductions import ReduceOp, _make_nccl_premul_sum, supports_complex
from ..parallel.rehearsal import Rehearsal
from ..parallel.rendezvous import register_rendezvous_handler
from ..parallel.store import (
    DistNetworkError,
    DistStoreError,
    FileStore,
    HashStore,
    PrefixStore,
    Store,
    TCPStore,
)
from ..parallel.work import DistError, Work
from ..parallel.world import (
    TIMEOUT,
    destroy_process_group,
    dump_flight_record,
    init_process_group,
    is_initialized,
    run_local,
)

ProcessGroup = Group
DistBackendError = DistError
GroupName = str
default_pg_timeout = timedelta(seconds=TIMEOUT)
reduce_op = ReduceOp  # torch's old name

__all__ = [
    "Backend", "BackendConfig", "BuiltinCommHookType", "DebugLevel", "DeviceMesh",
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore",
    "GradBucket", "Group", "GroupMember", "GroupName", "HashStore", "P2POp", "PrefixStore",
    "ProcessGroup", "ReduceOp", "ReplicaLedger", "Rehearsal", "Store", "TCPStore", "Work", "all_gather",
    "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_gather_single",
    "all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier",
    "batch_isend_irecv", "breakpoint", "broadcast", "broadcast_object_list", "default_pg_timeout",
    "destroy_process_group", "dump_flight_record", "gather", "gather_object", "get_backend",
    "get_backend_config", "get_debug_level", "get_default_backend_for_device", "get_global_rank",
    "get_group_rank", "get_node_local_rank", "get_process_group_ranks", "get_rank",
    "get_world_size", "group", "init_device_mesh", "init_process_group", "irecv", "is_available",
    "is_backend_available", "is_gloo_available", "is_initialized", "is_mpi_available",
    "is_nccl_available", "isend", "monitored_barrier", "new_group", "new_subgroups",
    "new_subgroups_by_enumeration", "record_comm", "recv", "recv_object_list", "reduce",
    "reduce_op", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor",
    "register_rendezvous_handler", "report", "run_local", "scatter", "scatter_object_list", "send",
    "send_object_list", "set_debug_level", "set_debug_level_from_env", "split_group",
    "supports_complex",
]  # fmt: skip
