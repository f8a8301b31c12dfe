"""Averages of a model's weights over training: stochastic weight averaging, moving averages.

Izmailov et al., "Averaging weights leads to wider optima and better generalization" (2018).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from copy import deepcopy
from itertools import chain
from math import cos, pi

from ..core.dtype import int64
from ..core.modes import no_grad
from ..core.ops.create import zeros
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.modules.module import Module
from ._lr_base import LRScheduler, each_group

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
    "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip


def get_ema_avg_fn(decay=0.999):
    """fn(average, current, num_averaged) = decay average + (1 - decay) current."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """fn(average, current, num_averaged) = the mean of all so far."""

    @no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay=0.999):
    """get_ema_avg_fn for lists of tensors, the averages changed in place."""
    return _on_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn():
    """get_swa_avg_fn for lists of tensors, the averages changed in place."""
    return _on_lists(get_swa_avg_fn())


def _check_decay(decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _on_lists(average):
    @no_grad()
    def update(averaged_params, current_params, num_averaged):
        for averaged, current in zip(averaged_params, current_params, strict=True):
            averaged.copy_(average(averaged, current, num_averaged))

    return update


class AveragedModel(Module):
    """A copy of a model whose parameters become averages of the model's, by update_parameters.

    avg_fn(average, current, num_averaged) -> the new average, a tensor; or
    multi_avg_fn(averages, currents, num_averaged), which changes lists of tensors of one dtype in
        place; by default the mean of all that were given
    use_buffers: average buffers as well; else they are the model's latest

    It is called as the model is.  The functions are not part of state_dict.
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", zeros((), dtype=int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model):
        """Count the parameters of `model` in; the first time they are copied."""
        pairs = [
            (ours.detach(), theirs.detach().to(ours.device))
            for ours, theirs in zip(_averaged(self.module, self.use_buffers),
                                    _averaged(model, self.use_buffers), strict=True)
        ]  # fmt: skip
        if self.n_averaged == 0:
            for ours, theirs in pairs:
                ours.copy_(theirs)
        elif self.multi_avg_fn is not None:
            for group in _by_dtype(pairs):
                self.multi_avg_fn(*map(list, zip(*group)), self.n_averaged.to(group[0][0].device))
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for ours, theirs in pairs:
                ours.copy_(average(ours, theirs, self.n_averaged.to(ours.device)))
        if not self.use_buffers:
            for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                ours.copy_(theirs)
        self.n_averaged += 1


def _averaged(module, use_buffers):
    return chain(module.parameters(), module.buffers() if use_buffers else ())


def _by_dtype(pairs):
    """The pairs of tensors in lists, one for each device and dtype."""
    groups: dict = {}
    for pair in pairs:
        groups.setdefault((pair[0].device, pair[0].dtype), []).append(pair)
    return groups.values()


@no_grad()
def update_bn(loader, model, device=None):
    """Compute the statistics of a model's batch norm layers anew, by a pass over a loader's data.

    A batch is a tensor, or a list or tuple whose first element is one.
    """
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # a mean over all batches
    try:
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """From the present rates to swa_lr in anneal_epochs epochs, and constant from then on.

    anneal_strategy: "cos" or "linear"
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        rates = each_group("swa_lr", optimizer, swa_lr)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for rate, group in zip(rates, optimizer.param_groups):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, step):
        """How much of the way is done after so many steps: from 0 to 1."""
        part = max(0, min(1, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - cos(pi * part)) / 2

    def next_lrs(self):
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        lrs = []
        for group in self.optimizer.param_groups:
            end, lr = group["swa_lr"], group["lr"]
            start = end if before == 1 else (lr - before * end) / (1 - before)
            lrs.append(end * now + start * (1 - now))
        return lrs
