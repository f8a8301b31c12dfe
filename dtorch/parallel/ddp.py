"""DistributedDataParallel: a copy of a model on each rank, trained on its share of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from dtorch.core.modes import grad_on
from dtorch.core.tensor import Tensor
from dtorch.nn.modules.module import Module

from .accumulation import Accumulation, backward_with_weight
from .comm_hooks import BuiltinCommHookType, compressed
from .device_mesh import DeviceMesh
from .finite import FiniteCheck
from .group import Group
from .join import Join, Joinable, JoinHook
from .mixed_precision import _MixedPrecision
from .reducer import Reducer
from .replicas import (
    broadcast_arrays,
    check_module,
    check_same_model,
    the_device,
    the_group,
)
from .scatter_gather import to_device
from .virtual_shards import VirtualShards
from .world import default_group

_MB = 1 << 20


class DistributedDataParallel(Module, Joinable):
    """Wraps a module so that backward leaves the same gradients on every rank: their average.

    Training a copy on each rank, with equal shares of each batch and a loss that is a mean, then is
    training one model on whole batches.  All ranks make it, with modules of the same parameters;
    they start with rank 0's values.

    module: the model; its parameters are laid out for good, so move, cast and freeze it before
    device_ids, output_device: None, or the one GPU that the module is on; inputs are moved to it
    broadcast_buffers, forward_sync_buffers: each forward starts with rank 0's buffers (batch norm's
        running statistics); these are torch's old and new name for it, True if both are None
    init_sync: start with rank 0's parameters and buffers
    process_group, device_mesh: the ranks, a group or a grid of one dimension; the default group if
        both are None
    bucket_cap_mb: gradients are communicated in buckets of about so many MiB (25 if None)
    mixed_precision: dtypes to compute and communicate in, see mixed_precision.py
    virtual_shards: a power of two, at least the number of ranks: batches are cut into so many
        shards, and loss and weights are the same, bit for bit, on any number of ranks; see shards()
    error_if_nonfinite: a backward raises RuntimeError on all ranks where gradients of one are not
        finite, and names that rank and the parameters (not torch's; clip_grad_norm_'s word for it)

    torch's other arguments change nothing: unused parameters need no flag, gradients are always
    views of buckets, models are compared whether or not init_sync, and all parameters are averaged
    by the end of backward.  bucket_cap_mb_list must be None.

    Parameters and buffers named in module._ddp_params_and_buffers_to_ignore are left alone.

    Raises RuntimeError where the ranks' models differ (it names the first difference), nothing
    requires a gradient or the module holds a DistributedDataParallel already, ValueError for
    device_ids that don't fit the module.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Group | None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = True,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: _MixedPrecision | None = None,
        device_mesh: DeviceMesh | None = None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: None = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
        virtual_shards: int | None = None,
        error_if_nonfinite: bool = False,
    ) -> None:
        super().__init__()
        if bucket_cap_mb_list is not None:
            raise ValueError("bucket_cap_mb_list is not supported: use bucket_cap_mb")
        if mixed_precision is not None and virtual_shards is not None:
            raise ValueError("virtual_shards are summed in one precision: use dtorch.autocast")
        if not isinstance(mixed_precision, (_MixedPrecision, type(None))):
            raise TypeError(f"expected a _MixedPrecision, got {type(mixed_precision)}")
        group = the_group(process_group, device_mesh)
        check_module(module, DistributedDataParallel)
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        params = [(n, p) for n, p in module.named_parameters() if n not in ignored]
        trained = [p for _, p in params if p.requires_grad]
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters "
                "that require a gradient."
            )
        self.device = the_device(device_ids, output_device, trained)
        cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * _MB)
        if cap <= 0:
            raise ValueError(f"expected a positive bucket_cap_mb, got {bucket_cap_mb}")
        self._ignored = ignored
        self.module = module
        check_same_model(params, self._shared_buffers(), group)
        self.process_group = group
        self.dim = dim
        self.device_ids, self.output_device = device_ids, output_device
        given = [flag for flag in (broadcast_buffers, forward_sync_buffers) if flag is not None]
        self.broadcast_buffers = all(given)
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.static_graph = static_graph
        self.mixed_precision = mixed_precision
        self.error_if_nonfinite = error_if_nonfinite
        self.require_backward_grad_sync = True
        # Whether a forward may have changed them since the last broadcast.
        self._buffers_differ = True
        self._announced = -1  # the reducer's round that the ranks of a Join were told of
        self._cap = cap
        if init_sync:
            self._broadcast_all(0)
        if mixed_precision is not None:
            mixed_precision.cast_buffers(module, ignored)
        self.virtual_shards: VirtualShards | None = None
        if virtual_shards is not None:
            self.virtual_shards = VirtualShards(virtual_shards, module, group)
        self._reducer: Reducer | None = None
        _ = self.reducer

    @property
    def reducer(self) -> Reducer:
        """What averages the gradients.  All ranks ask for it at once: it may need them all."""
        if self._reducer is None:
            named = list(self.module.named_parameters())
            trained = [(n, p) for n, p in named if p.requires_grad and n not in self._ignored]
            # What forward looks for is a parameter of these modules, or in a new one, that is
            # unknown.
            self._known = {id(p) for n, p in named if p.requires_grad or n in self._ignored}
            self._parts = list(self.module.modules())
            self._known_children = self._children()
            names, params = zip(*trained)
            first = min(self._cap, _MB)
            self._reducer = Reducer(names, params, self.process_group, self._cap, first)
            if self.error_if_nonfinite:
                self._reducer.finite = FiniteCheck(self.process_group, names)
            mixed = self.mixed_precision
            dtype = None if mixed is None else mixed.communicated
            if dtype is not None and any(p.dtype != dtype for p in params):
                self.register_comm_hook(self.process_group, partial(compressed, dtype))
        return self._reducer

    def rejoin(self, group: Group) -> None:
        """Be one of the ranks of another group, without gradients.  All of its ranks call it.

        They have, or are about to get, the same parameters and buffers.
        """
        self.process_group = group
        self._reducer = None
        self._buffers_differ = False
        for p in self.module.parameters():
            p._grad = None
        _ = self.reducer

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: without the group, the buckets and the communication hook."""
        left = {"process_group", "_known", "_parts", "_join"}
        kept = {name: value for name, value in self.__dict__.items() if name not in left}
        return {**kept, "_reducer": None, "_announced": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The ranks are those of the default group, as in torch.

        A copy that one rank alone makes is of use there as long as it isn't trained.
        """
        super().__setstate__(state)
        self.process_group = default_group()

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's output for this rank's share of the batch."""
        recording = grad_on()
        averages = recording and self.require_backward_grad_sync and self.reducer.averages_next
        if averages and self.virtual_shards is not None:
            raise RuntimeError(
                "with virtual_shards, train in `for batch in ddp.shards(batches):`, and evaluate "
                "under no_grad()"
            )
        if self._join is None:
            if self._buffers_differ:
                self._broadcast_buffers()
        elif averages:
            self._share_in_join()
        if recording:
            # As in torch, the forward decides; backward may come outside of no_sync().
            self._buffers_differ = averages
            self.reducer.begin(self.require_backward_grad_sync)
            self._check_parameters()
        if self.device is not None:
            inputs, kwargs = to_device(inputs, self.device), to_device(kwargs, self.device)
        if self.mixed_precision is not None:
            return self.mixed_precision.call(self.module, inputs, kwargs, self._ignored)
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of forwards, and of backwards, in here accumulate on their rank.

        They are averaged with those of the first backward whose forward is outside, too.
        """
        reducer = self.reducer
        if reducer.every > 1:
            raise RuntimeError("no_sync() inside of accumulate(), which counts backwards itself")
        before = self.require_backward_grad_sync, reducer.held
        self.require_backward_grad_sync, reducer.held = False, True
        try:
            yield
        finally:
            self.require_backward_grad_sync, reducer.held = before

    def accumulate(self, k: int) -> Accumulation:
        """`with ddp.accumulate(k):` only every k-th backward in here averages gradients.

        Around the k batches of one step, or around a loop over many; it counts itself.  At the end
        of the block what has not been averaged is, so that the last batches may be fewer than k, on
        some ranks or on all.  RuntimeError where an optimizer's step() comes before the average.

        Gradients are sums over the batches, as always; backward(loss, weight=...) makes one mean.
        """
        return Accumulation(self, k)

    def backward(self, loss: Tensor, weight: Any) -> None:
        """loss.backward() for a loss that is a mean over `weight` samples, or tokens, of this rank.

        Gradients then are those of the mean over all samples of all ranks, and of all batches since
        the last average (no_sync, accumulate), however they are shared out.  The weights travel with
        the gradients.  All ranks give one, in each backward until the average.

        weight: a number, or a tensor of one, not negative; 0 for a batch that does not count, whose
            loss may be nan.  Gradients are multiplied by it and later divided by the mean weight;
            in float16, weights near 1 (the number over a typical one) keep them from overflowing

        ValueError for another weight, RuntimeError where loss is not one number, where gradients
        without a weight are there, and (on all ranks) where some ranks gave none.
        """
        if self.virtual_shards is not None:
            raise RuntimeError(
                "virtual_shards are of one size: call loss.backward(), without a weight"
            )
        backward_with_weight(self.reducer, loss, weight)

    def shards(self, batches: Iterable[Any] | None = None) -> Iterator[Any]:
        """`for batch in ddp.shards(batches):` over this rank's shards of one global batch.

        In the loop, compute the mean loss of the shard and call its backward(); once it has ended,
        the gradients are those of the mean over all shards of all ranks.  What is drawn in the loop
        from the default generator depends on the seed, the global batch and the shard alone.  Each
        shard starts with the same buffers; batch norm has the statistics of one shard, and its
        running statistics become the mean over all.  See docs/same-bits.md.

        batches: one for each of this rank's shards, as a DataLoader with a ShardSampler gives them;
            None: the loop is over the shards' numbers, and draws its own

        Ranks that do the same number of batches must call it as often.  Raises RuntimeError without
        virtual_shards and where a shard has given no gradient, ValueError for a wrong number of
        batches.  A loop that raises or is left early leaves gradients and buffers as they were.
        """
        return self._virtual_shards("shards()").loop(self, batches)

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        """The mean over all shards of all ranks, as losses; the same bits on any number of ranks.

        values: floating tensors of one shape, one for each of this rank's shards, in their order
        """
        return self._virtual_shards("mean()").mean(self.process_group, values)

    def _virtual_shards(self, caller: str) -> VirtualShards:
        if self.virtual_shards is None:
            raise RuntimeError(
                f"{caller} needs shards: make the DistributedDataParallel with virtual_shards=8, say"
            )
        return self.virtual_shards

    def register_comm_hook(self, state: Any, hook: Callable[..., Any]) -> None:
        """Have hook(state, bucket: GradBucket) communicate the gradients: see comm_hooks.py.

        Once, before the first backward.  TypeError unless it is callable.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.virtual_shards is not None:
            raise RuntimeError("virtual_shards are averaged in one order, without a hook")
        self.reducer.register_comm_hook(state, hook)

    def _register_builtin_comm_hook(self, comm_hook_type: BuiltinCommHookType) -> None:
        """register_comm_hook of one of torch's two that are not in Python there."""
        comm_hook_type.value(self, self.process_group)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Module.load_state_dict; names may also be the bare module's, without "module."."""
        names = self.module.state_dict().keys()
        bare = [n in names and f"module.{n}" not in state_dict for n in state_dict]
        if any(bare) and not any(f"module.{n}" in state_dict for n in names):
            state_dict = {f"module.{name}": value for name, value in state_dict.items()}
        return super().load_state_dict(state_dict, strict, assign)

    def _shared_buffers(self) -> list[tuple[str, Tensor]]:
        return [(n, b) for n, b in self.module.named_buffers() if n not in self._ignored]

    def _broadcast_buffers(self) -> None:
        if not self.broadcast_buffers:
            return
        buffers = [b._a for _, b in self._shared_buffers()]
        broadcast_arrays(buffers, self.process_group, "buffers", self._leader)

    def _broadcast_all(self, source: int) -> None:
        params = [p for n, p in self.module.named_parameters() if n not in self._ignored]
        arrays = [t._a for t in (*params, *(b for _, b in self._shared_buffers()))]
        broadcast_arrays(arrays, self.process_group, "parameters", source)

    def _children(self) -> int:
        return sum(len(part._modules) for part in self._parts)

    def _check_parameters(self) -> None:
        """RuntimeError if a parameter needs a gradient now that would not be averaged.

        Before each forward, so it looks at the modules' own tables: a tenth of named_parameters().
        """
        known = self._known
        if self._children() == self._known_children and not any(
            id(p) not in known and p is not None and p.requires_grad
            for part in self._parts
            for p in part._parameters.values()
        ):
            return
        for name, p in self.module.named_parameters():
            if p.requires_grad and id(p) not in known:
                raise RuntimeError(
                    f"parameter {name!r} requires a gradient, but it didn't, or wasn't there, when "
                    "DistributedDataParallel was made: its gradients would differ between ranks.  "
                    "Make a new DistributedDataParallel of the module."
                )

    # ---- ranks with different numbers of batches -------------------------------------------------

    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Join:
        """`with ddp.join():` around a loop over batches, whose number may differ between ranks.

        A rank that has run out takes part in the others' exchanges until all have.  Then all have
        the model of those that ran longest, and no gradients on ranks that ran out.  In here buffers
        are shared once a backward.

        As in torch, what else counts steps does so on the ranks that step: an optimizer's momentum,
        a schedule, a GradScaler.  To train on afterwards, load those of a rank that ran longest.

        divide_by_initial_world_size: gradients are means over all ranks, those that have run out
            counting as zeros; else over the ranks that still have inputs
        enable: whether to do anything
        throw_on_early_termination: RuntimeError on all ranks once one has run out
        """
        return Join(
            [self],
            enable,
            throw_on_early_termination,
            divide_by_initial_world_size=divide_by_initial_world_size,
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:
        return _TakesPart(self, kwargs.get("divide_by_initial_world_size", True))

    @property
    def join_device(self) -> Any:
        return next(self.module.parameters()).device

    @property
    def join_process_group(self) -> Group:
        return self.process_group

    def _share_in_join(self) -> None:
        """In a Join: tell the ranks that have run out of an average that will come, once for each."""
        if self._join is None or self._announced == self.reducer.rounds:
            return
        self._announced = self.reducer.rounds
        work = Join.notify_join_context(self)
        if work is not None:
            work.wait()
        self._follow(self._join.active)
        self._broadcast_buffers()

    def _follow(self, active: Sequence[int]) -> None:
        """The lowest rank with inputs leads; averages may be over ranks with inputs only."""
        self._leader = self.reducer.leader = active[0]

    _leader = 0  # inside of a Join


class _TakesPart(JoinHook):
    """What a rank without inputs does for a DistributedDataParallel."""

    def __init__(self, ddp: DistributedDataParallel, by_initial_size: bool) -> None:
        self._ddp = ddp
        ddp.reducer.by_active = not by_initial_size

    def main_hook(self) -> None:
        ddp = self._ddp
        assert ddp._join is not None
        ddp._follow(ddp._join.active)
        ddp._broadcast_buffers()
        ddp.reducer.shadow()

    def post_hook(self, is_last_joiner: bool) -> None:
        ddp = self._ddp
        ddp._leader = ddp.reducer.leader = 0
        ddp.reducer.by_active = False
        ddp._broadcast_all(ddp.process_group.all_gather_objects(is_last_joiner).index(True))
        if not is_last_joiner:  # its gradients are of steps that it has not taken: none to add to
            for name, p in ddp.module.named_parameters():
                if name not in ddp._ignored:
                    p._grad = None
