"""Learning rate schedulers against torch: the same rates, states, warnings and checkpoints."""

import copy
import warnings

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn, optim

# As in torch, a combination in a combination makes its first step before the optimizer does.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")

SCHEDULERS = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 0.9**e),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "step": lambda s, o: s.StepLR(o, 3, 0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 2, 7], 0.5),
    "constant": lambda s, o: s.ConstantLR(o, 0.5, 4),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 8),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, 12, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 4, 0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 3, 5, mode="triangular2"),
    "cyclic exp": lambda s, o: s.CyclicLR(o, 0.01, 0.3, 3, mode="exp_range", gamma=0.9),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=20),
    "one cycle 3": lambda s, o: s.OneCycleLR(
        o, [0.3, 0.2], epochs=4, steps_per_epoch=5, anneal_strategy="linear", three_phase=True
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 10), s.ExponentialLR(o, 0.5)],
        [4, 12],
    ),
    "nested": lambda s, o: s.SequentialLR(
        o, [s.SequentialLR(o, [s.LinearLR(o, 0.5, 1.0, 3), s.ExponentialLR(o, 0.9)], [4]),
            s.StepLR(o, 2, 0.5)],
        [9],
    ),
    "chained in sequence": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.9)]),
            s.OneCycleLR(o, 0.2, total_steps=14)],
        [6],
    ),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (e + 1)]),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.9)]),
}  # fmt: skip


def rates(lib, make, opt_name="SGD", restart_at=None):
    p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    options = {"momentum": 0.9} if opt_name == "SGD" else {}
    groups = [{"params": p}, {"params": q, "lr": 0.05}]
    opt = getattr(lib.optim, opt_name)(groups, lr=0.1, **options)
    scheduler = make(lib.optim.lr_scheduler, opt)
    rows = []
    for step in range(18):
        if step == restart_at:
            saved = copy.deepcopy((opt.state_dict(), scheduler.state_dict()))
            scheduler = make(lib.optim.lr_scheduler, opt)
            opt.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])
        rows.append([(g["lr"], g.get("momentum"), g.get("betas")) for g in opt.param_groups])
        opt.step()
        scheduler.step()
        assert scheduler.get_last_lr() == [g["lr"] for g in opt.param_groups]
    return rows


def flat(rows):
    return [
        x for row in rows for lr, m, b in row for x in (lr, *([] if m is None else [m]), *(b or ()))
    ]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_learning_rates(name, optimizer):
    ours = flat(rates(dtorch, SCHEDULERS[name], optimizer))
    np.testing.assert_allclose(ours, flat(rates(torch, SCHEDULERS[name], optimizer)), 1e-9, 1e-15)
    again = flat(rates(dtorch, SCHEDULERS[name], optimizer, restart_at=7))
    np.testing.assert_allclose(again, ours, 1e-12)


@pytest.mark.parametrize("options", [
    {"patience": 1, "factor": 0.5, "cooldown": 1}, {"mode": "max", "patience": 0, "min_lr": 0.02},
    {"threshold_mode": "abs", "threshold": 1.5, "patience": 1},
])  # fmt: skip
def test_plateau(options):
    def run(lib):
        opt = lib.optim.SGD([lib.nn.Parameter(lib.ones(1))], lr=0.1)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(opt, **options)
        rows = []
        for metric in (5, 4, 4, 4, 4, 3, 3, 6, 7, 7, 7, 1, 1, 1):
            opt.step()
            scheduler.step(metric)
            rows.append(scheduler.get_last_lr())
        return rows

    np.testing.assert_allclose(run(dtorch), run(torch), 1e-12)


def test_scheduler_before_optimizer_warns_and_tensor_rates_stay_tensors():
    p = nn.Parameter(dtorch.ones(1))
    lr = dtorch.tensor(0.5)
    opt = optim.SGD([p], lr=lr)
    scheduler = optim.lr_scheduler.ExponentialLR(opt, 0.5)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    assert opt.param_groups[0]["lr"] is lr
    assert lr.item() == 0.25
    with warnings.catch_warnings(), pytest.raises(TypeError, match="int is not an Optimizer"):
        optim.lr_scheduler.StepLR(1, 2)


# ---- as torch does it ------------------------------------------------------------------------


def trained(lib, make, lr=0.1):
    p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    groups = [{"params": p}, {"params": q, "lr": lr * 0.5}]
    opt = lib.optim.SGD(groups, lr=lr, momentum=0.9)
    return opt, make(lib.optim.lr_scheduler, opt)


def followed(opt, scheduler, steps, epochs=None):
    """The rates after each step, and what was warned about."""
    rows = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for i in range(steps):
            opt.step()
            scheduler.step(*([] if epochs is None else [epochs[i]]))
            rows.append([float(g["lr"]) for g in opt.param_groups])
    return rows, {str(w.message)[:30] for w in seen}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_state_is_continued_by_the_other_library(name):
    for lib, other in ((dtorch, torch), (torch, dtorch)):
        opt, scheduler = trained(lib, SCHEDULERS[name])
        followed(opt, scheduler, 7)
        saved = copy.deepcopy(scheduler.state_dict())
        rates = [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups]
        rates = copy.deepcopy(rates)
        opt2, scheduler2 = trained(other, SCHEDULERS[name])
        assert set(saved) == set(scheduler2.state_dict())
        scheduler2.load_state_dict(saved)
        for group, values in zip(opt2.param_groups, rates):
            group.update(values)
        np.testing.assert_allclose(followed(opt2, scheduler2, 6)[0], followed(opt, scheduler, 6)[0])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_that_are_tensors(name):
    ours, warned = followed(*trained(dtorch, SCHEDULERS[name], dtorch.tensor(0.1)), 14)
    theirs, torch_warned = followed(*trained(torch, SCHEDULERS[name], torch.tensor(0.1)), 14)
    np.testing.assert_allclose(ours, theirs, 1e-5, 1e-8)
    assert warned == torch_warned


COMBINED = ("chained", "sequential", "nested", "chained in sequence")


@pytest.mark.parametrize("name", [n for n in SCHEDULERS if n not in COMBINED])
def test_jumps_to_an_epoch_and_get_lr_warn(name):
    epochs = [3, 1, 7, 8, 12]
    (ours, warned), (theirs, torch_warned) = (
        followed(*trained(lib, SCHEDULERS[name]), 5, epochs) for lib in (dtorch, torch)
    )
    np.testing.assert_allclose(ours, theirs, 1e-9, 1e-12)
    assert warned == torch_warned
    lrs = []
    for lib in (dtorch, torch):
        with pytest.warns(UserWarning, match="please use `get_last_lr"):
            lrs.append(trained(lib, SCHEDULERS[name])[1].get_lr())
    np.testing.assert_allclose(*lrs, 1e-9)


def test_schedulers_of_users():
    """get_lr from the base rates, from the schedule of a parent, and under the old name."""

    def run(lib):
        s = lib.optim.lr_scheduler

        class Halving(s._LRScheduler):
            def get_lr(self):
                return [base * 0.5**self.last_epoch for base in self.base_lrs]

        class Floored(s.CosineAnnealingLR):
            def get_lr(self):
                return [max(lr, 0.04) for lr in super().get_lr()]

        class Warm(s.LambdaLR):
            def __init__(self, optimizer):
                super().__init__(optimizer, lambda epoch: min(1, (epoch + 1) / 4))

        makes = (lambda s, o: Halving(o)), (lambda s, o: Floored(o, 5)), (lambda s, o: Warm(o))
        return [followed(*trained(lib, make), 8) for make in makes]

    for (ours, warned), (theirs, torch_warned) in zip(run(dtorch), run(torch)):
        np.testing.assert_allclose(ours, theirs, 1e-12)
        assert warned == torch_warned == set()


def test_objects_that_compute_rates_are_part_of_the_state():
    class Decay:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, epoch):
            return self.factor**epoch

    for make in (
        lambda s, o, fn: s.LambdaLR(o, fn),
        lambda s, o, fn: s.CyclicLR(o, 0.01, 0.1, 2, scale_fn=fn),
    ):
        opt, saved = trained(dtorch, lambda s, o: make(s, o, Decay(0.5)))  # noqa: B023
        opt2, loaded = trained(dtorch, lambda s, o: make(s, o, Decay(0.9)))  # noqa: B023
        loaded.load_state_dict(saved.state_dict())
        assert followed(opt2, loaded, 5) == followed(opt, saved, 5)


def test_plateau_grows_with_the_optimizer():
    opt, scheduler = trained(dtorch, lambda s, o: s.ReduceLROnPlateau(o, patience=0))
    opt.add_param_group({"params": nn.Parameter(dtorch.ones(1)), "lr": 1.0})
    scheduler.step(1.0)
    scheduler.step(1.0)
    np.testing.assert_allclose(scheduler.get_last_lr(), [0.01, 0.005, 0.1])
    opt, scheduler = trained(dtorch, lambda s, o: s.ReduceLROnPlateau(o, patience=0, min_lr=[0, 0]))
    opt.add_param_group({"params": nn.Parameter(dtorch.ones(1))})
    scheduler.step(1.0)
    with pytest.raises(RuntimeError, match="The number of param groups"):
        scheduler.step(1.0)
