"""Bad input for optimizers and schedulers: torch's types of errors, and nothing changed by them."""

import copy
import importlib

import pytest

import dtorch
from tests.both import assert_same, plain


def weight(lib, *shape):
    return lib.nn.Parameter(lib.ones(*(shape or (2,))))


def sparse(lib):
    return lib.sparse_coo_tensor(lib.tensor([[0]]), lib.tensor([1.0]), (2,))


def required(lib):
    return importlib.import_module(f"{lib.__name__}.optim.optimizer").required


def make(name, *args, **options):
    return lambda lib, log: getattr(lib.optim, name)([weight(lib)], *args, **options)


def schedule(name, *args, **options):
    def program(lib, log):
        opt = lib.optim.SGD([weight(lib)], lr=0.1)
        getattr(lib.optim.lr_scheduler, name)(opt, *args, **options)

    return program


def other(lib, **options):
    return lib.optim.SGD([weight(lib)], lr=0.1, **options)


CONSTRUCTION = {
    "negative lr": make("SGD", lr=-1.0),
    "lr of two elements": lambda lib, log: lib.optim.Adam([weight(lib)], lr=lib.ones(2)),
    "negative momentum": make("SGD", momentum=-0.1),
    "negative weight decay": make("AdamW", weight_decay=-1),
    "nesterov": make("SGD", nesterov=True),
    "nesterov and dampening": make("SGD", nesterov=True, momentum=0.9, dampening=0.1),
    "beta 0": make("Adam", betas=(1.0, 0.9)),
    "beta 1": make("NAdam", betas=(0.9, -0.1)),
    "betas that are integers": make("Adam", betas=(0, 0)),
    "one beta a tensor": lambda lib, log: lib.optim.Adam(
        [weight(lib)], betas=(lib.tensor(0.9), 0.99)
    ),
    "negative eps": make("RMSprop", eps=-1e-8),
    "negative alpha": make("RMSprop", alpha=-1),
    "rho": make("Adadelta", rho=1.5),
    "etas": make("Rprop", etas=(1.5, 0.5)),
    "lr_decay": make("Adagrad", lr_decay=-1),
    "initial accumulator": make("Adagrad", initial_accumulator_value=-1),
    "momentum decay": make("NAdam", momentum_decay=-1),
    "beta2_decay": make("Adafactor", beta2_decay=0.5),
    "epsilon1": make("Adafactor", eps=(-1, 1)),
    "epsilon2": make("Adafactor", eps=(None, -1)),
    "d": make("Adafactor", d=0.5),
    "Muon's vector": make("Muon"),
    "Muon's lr": make("Muon", lr=-1),
    "Muon's adjustment": make("Muon", adjust_lr_fn="other"),
    "SparseAdam's lr": make("SparseAdam", lr=0.0),
    "SparseAdam's complex": lambda lib, log: lib.optim.SparseAdam(
        [lib.ones(2, dtype=lib.complex64)]
    ),
    "LBFGS's groups": lambda lib, log: lib.optim.LBFGS(
        [{"params": [weight(lib)]}, {"params": [weight(lib)]}]
    ),
    "fused and foreach": make("Adam", fused=True, foreach=True),
    "fused and differentiable": make("SGD", fused=True, differentiable=True),
    "no parameters": lambda lib, log: lib.optim.SGD([]),
    "a tensor": lambda lib, log: lib.optim.SGD(weight(lib)),
    "numbers": lambda lib, log: lib.optim.SGD([1, 2]),
    "None": lambda lib, log: lib.optim.SGD(None),
    "a set": lambda lib, log: lib.optim.SGD([{"params": {weight(lib)}}]),
    "a group without params": lambda lib, log: lib.optim.SGD([{"lr": 1}]),
    "groups among tensors": lambda lib, log: lib.optim.SGD([weight(lib), {"params": weight(lib)}]),
    "not a leaf": lambda lib, log: lib.optim.SGD([weight(lib) * 2]),
    "no lr": lambda lib, log: lib.optim.Optimizer([weight(lib)], {"lr": required(lib)}),
    "some names": lambda lib, log: lib.optim.SGD([("a", weight(lib)), weight(lib)]),
}
SCHEDULES = {
    "not an optimizer": lambda lib, log: lib.optim.lr_scheduler.StepLR(3, 1),
    "resumed without rates": schedule("ExponentialLR", 0.9, last_epoch=3),
    "lambdas for no groups": schedule("LambdaLR", [abs, abs]),
    "constant factor": schedule("ConstantLR", factor=2.0),
    "start factor": schedule("LinearLR", start_factor=0),
    "end factor": schedule("LinearLR", end_factor=-1),
    "T_0": schedule("CosineAnnealingWarmRestarts", 0),
    "T_mult": schedule("CosineAnnealingWarmRestarts", 2, 0.5),
    "eta_min": schedule("CosineAnnealingWarmRestarts", 2, eta_min="0"),
    "cyclic mode": schedule("CyclicLR", 0.1, 0.2, mode="other", cycle_momentum=False),
    "cyclic rates": schedule("CyclicLR", [0.1, 0.2], 0.3, cycle_momentum=False),
    "momentum of Rprop": lambda lib, log: lib.optim.lr_scheduler.CyclicLR(
        lib.optim.Rprop([weight(lib)]), 0.1, 0.2
    ),
    "one cycle without steps": schedule("OneCycleLR", 0.1),
    "one cycle of no steps": schedule("OneCycleLR", 0.1, total_steps=0),
    "one cycle's epochs": schedule("OneCycleLR", 0.1, epochs=-1, steps_per_epoch=2),
    "pct_start": schedule("OneCycleLR", 0.1, total_steps=3, pct_start=2.0),
    "anneal strategy": schedule("OneCycleLR", 0.1, total_steps=3, anneal_strategy="step"),
    "plateau factor": schedule("ReduceLROnPlateau", factor=1.0),
    "plateau mode": schedule("ReduceLROnPlateau", mode="mean"),
    "threshold mode": schedule("ReduceLROnPlateau", threshold_mode="mean"),
    "min_lr": schedule("ReduceLROnPlateau", min_lr=[0, 0]),
    "nothing in sequence": schedule("SequentialLR", [], []),
    "swa strategy": lambda lib, log: lib.optim.swa_utils.SWALR(
        other(lib), 0.1, anneal_strategy="x"
    ),
    "chained of nothing": lambda lib, log: lib.optim.lr_scheduler.ChainedScheduler([]),
    "chained plateau": lambda lib, log: lib.optim.lr_scheduler.ChainedScheduler(
        [lib.optim.lr_scheduler.ReduceLROnPlateau(other(lib))]
    ),
    "chained of two optimizers": lambda lib, log: lib.optim.lr_scheduler.ChainedScheduler(
        [lib.optim.lr_scheduler.ExponentialLR(other(lib), 0.9) for _ in range(2)]
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTION | SCHEDULES)
def test_arguments(name):
    program = (CONSTRUCTION | SCHEDULES)[name]

    def raises(lib, log):
        program(lib, log)
        return "nothing was raised"

    assert_same(raises, letters=24)
    with pytest.raises((AssertionError, LookupError, RuntimeError, TypeError, ValueError)):
        program(dtorch, [])


def steps_with(name, grad, **options):
    def change(lib, opt, p):
        p.grad = grad(lib)
        opt.step()

    return name, options, change


def loads(change):
    def run(lib, opt, p):
        state = copy.deepcopy(opt.state_dict())
        change(state)
        opt.load_state_dict(state)

    return "Adam", {}, run


def adds(group):
    return "SGD", {"momentum": 0.9}, lambda lib, opt, p: opt.add_param_group(group(lib, p))


ON_AN_OPTIMIZER = {
    "a sparse gradient": steps_with("Adam", sparse),
    "a sparse gradient with decay": steps_with("Adagrad", sparse, weight_decay=0.1),
    "a dense gradient": steps_with("SparseAdam", lambda lib: lib.ones(2)),
    "a gradient of another dtype": steps_with("SGD", lambda lib: lib.ones(2, dtype=lib.float64)),
    "a gradient of another shape": steps_with("SGD", lambda lib: lib.ones(3)),
    "a step without closure": ("LBFGS", {}, lambda lib, opt, p: opt.step()),
    "another line search": (
        "LBFGS", {"line_search_fn": "newton"}, lambda lib, opt, p: opt.step(lambda: (p * p).sum())
    ),
    "a closure that raises": ("SGD", {}, lambda lib, opt, p: opt.step(lambda: {}["loss"])),
    "a hook with a bad result": (
        "SGD", {},
        lambda lib, opt, p: (opt.register_step_pre_hook(lambda *a: 3), opt.step()),
    ),
    "more groups in the state": loads(lambda s: s["param_groups"].append(s["param_groups"][0])),
    "fewer parameters in the state": loads(lambda s: s["param_groups"][0].update(params=[])),
    "no groups in the state": loads(lambda s: s.pop("param_groups")),
    "no state in the state": loads(lambda s: s.pop("state")),
    "a group of another type": adds(lambda lib, p: [p]),
    "a parameter twice": adds(lambda lib, p: {"params": p}),
    "a number to optimize": adds(lambda lib, p: {"params": [weight(lib), 3]}),
    "no leaf": adds(lambda lib, p: {"params": [weight(lib), p * 2]}),
    "names": adds(lambda lib, p: {"params": [("b", weight(lib))]}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", ON_AN_OPTIMIZER)
def test_an_optimizer_is_as_it_was_after_an_error(name):
    kind, options, change = ON_AN_OPTIMIZER[name]

    def run(lib, log):
        first, p = weight(lib), weight(lib)
        opt = getattr(lib.optim, kind)([first, p], lr=0.1, **options)
        for q in (first, p):
            q.grad = sparse(lib) if kind == "SparseAdam" else lib.ones(2)
        if kind != "LBFGS":
            opt.step()
        before = plain(opt.state_dict()), plain(first), plain(p)
        try:
            change(lib, opt, p)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            text = str(error).replace("dtorch", "torch").replace("Optimizer.step", "SGD.step")
            log.append((type(error).__name__, text[:18]))
        if lib is dtorch:
            assert (plain(opt.state_dict()), plain(first), plain(p)) == before
        assert log

    assert_same(run)


def test_state_of_another_shape_is_refused_when_it_is_loaded():
    """torch takes it, and fails in the middle of a step."""
    for name in ("SGD", "Adam", "Adafactor"):
        options = {"momentum": 0.9} if name == "SGD" else {}
        made = []
        for shape in ((3, 2), (2, 3)):
            p = weight(dtorch, *shape)
            made.append(getattr(dtorch.optim, name)([p], **options))
            p.grad = dtorch.ones(*shape)
            made[-1].step()
        before = plain(made[0].state_dict())
        with pytest.raises(ValueError, match=r"of shape .* for parameter 0, expected"):
            made[0].load_state_dict(made[1].state_dict())
        assert plain(made[0].state_dict()) == before


def test_a_scheduler_that_is_refused_changes_no_rate():
    for program in (
        lambda s, opt: s.OneCycleLR(opt, 0.5, total_steps=3, anneal_strategy="no"),
        lambda s, opt: s.OneCycleLR(opt, [0.5, 0.1], total_steps=3),
        lambda s, opt: s.CyclicLR(opt, 0.1, [0.2, 0.1]),
        lambda s, opt: s.CyclicLR(opt, 0.1, 0.2, base_momentum=[1, 2]),
        lambda s, opt: s.CyclicLR(opt, 0.1, 0.2, mode="no"),
        lambda s, opt: s.SequentialLR(opt, [s.ExponentialLR(opt, 0.5)] * 2, []),
        lambda s, opt: dtorch.optim.swa_utils.SWALR(opt, [0.1, 0.2]),
    ):
        opt = dtorch.optim.SGD([weight(dtorch)], lr=0.3, momentum=0.7)
        with pytest.raises(ValueError, match=r"."):
            program(dtorch.optim.lr_scheduler, opt)
        group = {k: v for k, v in opt.param_groups[0].items() if k in ("lr", "momentum")}
        assert group == {"lr": 0.3, "momentum": 0.7}
        assert "swa_lr" not in opt.param_groups[0]
