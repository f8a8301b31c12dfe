"""How DDP communicates gradients, where it is not simply averaged: `ddp.register_comm_hook`.

A hook is a function (state, bucket: GradBucket) -> Future of a tensor like bucket.buffer(), which
then are the gradients.  `state` is what was registered with it.  Buckets are under way at the same
time: DDP calls the hook with each as it is sent, and takes what the futures give when backward ends.
What a hook does then(), when an exchange is done, waits until there, so that hooks that communicate
again do so in one order on all ranks.  The states of the hooks here are groups, the default one if
None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import dtorch
from dtorch.core.tensor import Tensor

from .arguments import the_group
from .buckets import GradBucket
from .collectives import all_reduce
from .future import Future
from .power_sgd import PowerSGDState, batched_powerSGD_hook, powerSGD_hook
from .quantization import quantization_perchannel_hook, quantization_pertensor_hook
from .reductions import ReduceOp

CommHook = Callable[[Any, GradBucket], Future[Tensor]]


def _average(x: Tensor, group: Any) -> Future[Tensor]:
    work = all_reduce(x, ReduceOp.AVG, the_group(group), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[union-attr]


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average, as without a hook."""
    return _average(bucket.buffer(), process_group)


def compressed(dtype: dtorch.dtype, process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of the gradients rounded to a dtype; halves are summed in float32."""
    given = bucket.buffer().dtype
    half = _average(bucket.buffer().to(dtype), process_group)
    return half.then(lambda done: done.value().to(given))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of the gradients rounded to float16, itself summed in float32."""
    return compressed(dtorch.float16, process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of the gradients rounded to bfloat16, itself summed in float32."""
    return compressed(dtorch.bfloat16, process_group, bucket)


def _wrapper(hook: CommHook, dtype: dtorch.dtype) -> CommHook:
    def wrapped(state: Any, bucket: GradBucket) -> Future[Tensor]:
        given = bucket.buffer().dtype
        bucket.set_buffer(bucket.buffer().to(dtype))
        return hook(state, bucket).then(lambda done: done.value().to(given))

    return wrapped


def fp16_compress_wrapper(hook: CommHook) -> CommHook:
    """The hook, on gradients rounded to float16."""
    return _wrapper(hook, dtorch.float16)


def bf16_compress_wrapper(hook: CommHook) -> CommHook:
    """The hook, on gradients rounded to bfloat16."""
    return _wrapper(hook, dtorch.bfloat16)


def noop_hook(_: Any, bucket: GradBucket) -> Future[Tensor]:
    """No communication: gradients stay their rank's.  For measuring what it costs."""
    future: Future[Tensor] = Future()
    future.set_result(bucket.buffer())
    return future


@dataclass(frozen=True)
class _Registers:
    """Registers a hook with a model, whose state is made of a group."""

    hook: CommHook
    state: Callable[[Any], Any] = staticmethod(lambda group: group)

    def __call__(self, model: Any, state: Any = None) -> None:
        model.register_comm_hook(self.state(state), self.hook)


def _of_rank(rank: int) -> Callable[[Any], PowerSGDState]:
    return lambda group: PowerSGDState(group, matrix_approximation_rank=rank)


class DDPCommHookType(Enum):
    """Hooks by name; DDPCommHookType.ALLREDUCE.value(model, state) registers one."""

    ALLREDUCE = _Registers(allreduce_hook)
    FP16_COMPRESS = _Registers(fp16_compress_hook)
    BF16_COMPRESS = _Registers(bf16_compress_hook)
    QUANTIZE_PER_TENSOR = _Registers(quantization_pertensor_hook)
    QUANTIZE_PER_CHANNEL = _Registers(quantization_perchannel_hook)
    POWER_SGD = _Registers(powerSGD_hook, _of_rank(1))
    POWER_SGD_RANK2 = _Registers(powerSGD_hook, _of_rank(2))
    BATCHED_POWER_SGD = _Registers(batched_powerSGD_hook, _of_rank(1))
    BATCHED_POWER_SGD_RANK2 = _Registers(batched_powerSGD_hook, _of_rank(2))
    NOOP = _Registers(noop_hook)


def register_ddp_comm_hook(comm_hook_type: DDPCommHookType, model: Any, state: Any = None) -> None:
    """Register a hook of this module with a DistributedDataParallel; `state` is its group."""
    comm_hook_type.value(model, state)


class BuiltinCommHookType(Enum):
    """What DistributedDataParallel._register_builtin_comm_hook takes."""

    ALLREDUCE = _Registers(allreduce_hook)
    FP16_COMPRESS = _Registers(fp16_compress_hook)
