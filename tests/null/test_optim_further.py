"""Optimizers against torch where it gets harder: layouts, recorded steps, LBFGS, averages."""

import warnings

import numpy as np
import pytest
import torch

import dtorch

KINDS = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"maximize": True},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "Adafactor": {"weight_decay": 0.1},
    "Adamax": {},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"betas": (0.5, 0.6), "decoupled_weight_decay": True, "weight_decay": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "ASGD": {"t0": 3},
    "Rprop": {},
}
SHAPES = [(3, 4), (7,), (), (2, 3, 5), (1, 1)]


def gradient(a, step):
    return np.asarray(np.sin(3.0 * a + step) + 0.1)


def trajectory(lib, name, options, shapes, dtype="float64", steps=15, layout=None):
    """The parameters after some steps with gradients that depend on them; float64."""
    rng = np.random.default_rng(0)
    params = []
    for shape in shapes:
        a = np.array(rng.standard_normal(shape))
        p = lib.from_numpy(a.copy() if layout is None else layout(a)).to(getattr(lib, dtype))
        params.append(lib.nn.Parameter(p))
    opt = getattr(lib.optim, name)(params, **options)
    for step in range(steps):
        for p in params:
            g = lib.from_numpy(gradient(p.detach().to(lib.float64).numpy(), step))
            p.grad = g.to(p.dtype)
        opt.step()
    return [p.detach().to(lib.float64).numpy() for p in params]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float64", 2e-6), ("float32", 2e-4), ("bfloat16", 0.1)]
)
def test_fifteen_steps_of_odd_shapes(name, dtype, rtol):
    args = name, KINDS[name], SHAPES, dtype
    steps = 5 if dtype == "bfloat16" else 15
    for ours, theirs in zip(trajectory(dtorch, *args, steps), trajectory(torch, *args, steps)):
        np.testing.assert_allclose(ours, theirs, rtol, rtol)


@pytest.mark.parametrize("name", [n for n in KINDS if n != "Adafactor"])
def test_large_and_oddly_laid_out_parameters_are_stepped_slice_by_slice(name):
    """A size beyond the slices that fit the cache, and more than one of them in any layout."""
    shapes = [(70, 1000), (1, 66_000)]
    for layout in (None, np.asfortranarray):
        ours = trajectory(dtorch, name, KINDS[name], shapes, steps=2, layout=layout)
        theirs = trajectory(torch, name, KINDS[name], shapes, steps=2)
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a, b, 1e-6, 1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_empty_parameters_and_steps_in_inference_mode(name):
    empty, p = dtorch.nn.Parameter(dtorch.zeros(0, 3)), dtorch.nn.Parameter(dtorch.ones(2))
    opt = getattr(dtorch.optim, name)([empty, p])
    empty.grad, p.grad = dtorch.zeros(0, 3), dtorch.ones(2)
    with dtorch.inference_mode():
        opt.step()
    opt.step()
    assert p.tolist() != [1, 1]
    assert opt.state_dict()["state"].get(1, {}).get("step", 2) == 2


@pytest.mark.parametrize("name", KINDS)
def test_complex_parameters(name):
    def run(lib):
        p = lib.nn.Parameter(lib.from_numpy(np.array([[1 + 2j, -0.5j], [0.3, 1j - 1]]).T))
        opt = getattr(lib.optim, name)([p], lr=0.1)
        for step in range(4):
            p.grad = lib.from_numpy(np.array([[0.3 - 1j, 1j], [2, 0.1j]]) * (step - 1.5))
            opt.step()
        return p.detach().numpy()

    if name == "Adafactor":
        with pytest.raises(RuntimeError, match="does not support complex parameters"):
            run(dtorch)
    else:
        np.testing.assert_allclose(run(dtorch), run(torch), 1e-6)


# ---- recorded steps --------------------------------------------------------------------------


def through_a_step(lib, name, options):
    """d loss / d(start, gradient's scale), the loss a function of the parameter after a step."""
    start = lib.tensor([0.5, -1.0, 2.0], dtype=lib.float64, requires_grad=True)
    scale = lib.tensor(1.5, dtype=lib.float64, requires_grad=True)
    p = start.clone()
    opt = getattr(lib.optim, name)([p], differentiable=True, **options)
    p.grad = scale * start.cos()
    opt.step()
    (p * p).sum().backward()
    return [np.array(g.grad.tolist()) for g in (start, scale)]


# torch cuts the history of the first momentum in SGD.
RECORDED = {k: v for k, v in KINDS.items() if k != "Adafactor"} | {"SGD": {"weight_decay": 0.1}}


@pytest.mark.parametrize("name", RECORDED)
def test_differentiable_steps(name):
    """Rprop and sign-like first steps have zero gradients; torch agrees on those too."""
    for ours, theirs in zip(
        *(through_a_step(lib, name, RECORDED[name]) for lib in (dtorch, torch))
    ):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-9)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "NAdam"])
def test_several_differentiable_steps(name):
    """The state of a step that backward needs is still there after the next one."""

    def loss(scale):
        p = dtorch.tensor([0.5, -1.0, 2.0], dtype=dtorch.float64) * 1
        opt = getattr(dtorch.optim, name)([p], differentiable=True, **KINDS[name])
        for step in range(3):
            p.grad = scale * dtorch.tensor([1.0, -0.5, 0.1 + step], dtype=dtorch.float64)
            opt.step()
        return (p * p).sum()

    scale = dtorch.tensor(1.5, dtype=dtorch.float64, requires_grad=True)
    assert dtorch.autograd.gradcheck(loss, (scale,))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_learning_rate_that_is_learned(name):
    def run(lib):
        lr = lib.tensor(0.1, dtype=lib.float64, requires_grad=True)
        p = lib.tensor([0.5, -1.0], dtype=lib.float64, requires_grad=True).clone()
        p.grad = p.detach().cos()
        getattr(lib.optim, name)([p], lr=lr, differentiable=True).step()
        (p * p).sum().backward()
        return lr.grad.item()

    np.testing.assert_allclose(run(dtorch), run(torch), 1e-4)


def test_a_leaf_cannot_be_stepped_differentiably():
    p = dtorch.nn.Parameter(dtorch.ones(2))
    p.grad = dtorch.ones(2)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        dtorch.optim.SGD([p], differentiable=True).step()


# ---- LBFGS -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"lr": 0.1, "max_iter": 5}, {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 7, "max_eval": 9, "history_size": 3},
    {"lr": 5.0, "line_search_fn": "strong_wolfe", "max_iter": 4},
])  # fmt: skip
def test_lbfgs_minimizes_rosenbrocks_function_as_torch_does(options):
    def run(lib):
        x = lib.nn.Parameter(lib.tensor([-1.5, 2.0], dtype=lib.float64))
        y = lib.nn.Parameter(lib.tensor([[0.3]], dtype=lib.float64))
        opt = lib.optim.LBFGS([x, y], **options)
        losses = []

        def closure():
            opt.zero_grad()
            loss = (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2 + (y * y).sum()
            loss.backward()
            losses.append(loss.item())
            return loss

        returned = [opt.step(closure).item() for _ in range(4)]
        state = opt.state_dict()["state"][0]
        return returned, losses, [state["n_iter"], state["func_evals"], len(state["ro"])]

    (ours, our_losses, counts), (theirs, their_losses, their_counts) = run(dtorch), run(torch)
    np.testing.assert_allclose(ours, theirs, 1e-6, 1e-9)
    np.testing.assert_allclose(our_losses, their_losses, 1e-6, 1e-9)
    assert counts == their_counts


def test_lbfgs_goes_on_from_its_state():
    def run(stop):
        p = dtorch.nn.Parameter(dtorch.tensor([3.0, -1.0], dtype=dtorch.float64))
        opt = dtorch.optim.LBFGS([p], lr=0.1, max_iter=3)

        def closure():
            p.grad = (p.detach() ** 3 - 1) * 0.5
            return ((p.detach() ** 4).sum() / 8) - p.detach().sum() / 2

        for step in range(4):
            if step == stop:
                saved, opt = opt.state_dict(), dtorch.optim.LBFGS([p])
                opt.load_state_dict(saved)
            opt.step(closure)
        return p.tolist()

    assert run(2) == run(None)


# ---- hooks and swapping ----------------------------------------------------------------------


def test_hooks_of_all_optimizers_run_around_those_of_one():
    from dtorch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    seen = []
    p = dtorch.nn.Parameter(dtorch.ones(1))
    opt = dtorch.optim.SGD([p])
    opt.register_step_pre_hook(lambda *a: seen.append("pre"))
    opt.register_step_post_hook(lambda *a: seen.append("post"))
    with (
        register_optimizer_step_pre_hook(lambda *a: seen.append("all pre")),
        register_optimizer_step_post_hook(lambda *a: seen.append("all post")),
    ):
        opt.step()
    opt.step()
    assert seen == ["all pre", "pre", "post", "all post", "pre", "post"]


def test_swapped_parameters_and_state_are_stepped_and_put_back():
    p, q = dtorch.nn.Parameter(dtorch.ones(2)), dtorch.nn.Parameter(dtorch.zeros(2))
    opt = dtorch.optim.SGD([p], lr=0.5, momentum=0.5)
    p.grad = dtorch.ones(2)
    with pytest.raises(RuntimeError, match="requires initialized optimizer state"):
        opt_swap(opt, {"q": q}, opt.state_dict()).__enter__()
    opt.step()
    given = opt.state_dict()
    given = {
        "state": {0: {"momentum_buffer": dtorch.full((2,), 4.0)}},
        "param_groups": [{**given["param_groups"][0], "lr": 1.0}],
    }
    q.grad = dtorch.ones(2)
    with opt_swap(opt, {"q": q}, given):
        opt.step()
    assert q.tolist() == [-3, -3]
    assert given["state"][0]["momentum_buffer"].tolist() == [3, 3]
    assert opt.param_groups[0]["params"][0] is p
    assert opt.param_groups[0]["lr"] == 0.5
    assert opt.state[p]["momentum_buffer"].tolist() == [1, 1]
    for bad in ({"state": 1}, {**given, "param_groups": []}, {**given, "state": {9: {}}}, 3):
        with pytest.raises(RuntimeError):
            opt_swap(opt, {"q": q}, bad).__enter__()
    with pytest.raises(RuntimeError, match="match optimizer.param_groups ordering"):
        opt_swap(opt, {}, given).__enter__()


opt_swap = dtorch.optim.swap_in_optimizer_params_and_state


# ---- averages --------------------------------------------------------------------------------


def averaged(lib, make):
    swa = lib.optim.swa_utils
    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4))
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data.copy_(lib.from_numpy(rng.standard_normal(tuple(p.shape)).astype("float32")))
    average = swa.AveragedModel(model, **make(swa))
    for _ in range(4):
        model(lib.from_numpy(rng.standard_normal((5, 3)).astype("float32")))
        for p in model.parameters():
            noise = rng.standard_normal(tuple(p.shape)).astype("float32")
            p.data.add_(lib.from_numpy(noise))
        average.update_parameters(model)
    batches = [lib.from_numpy(rng.standard_normal((5, 3)).astype("float32")) for _ in range(3)]
    states = [average.state_dict()]
    swa.update_bn([(b, None) for b in batches], average)
    states.append(average.state_dict())
    return [{k: np.array(v.tolist()) for k, v in s.items()} for s in states]


@pytest.mark.parametrize("make", [
    lambda swa: {}, lambda swa: {"avg_fn": swa.get_ema_avg_fn(0.9)},
    lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.5)},
    lambda swa: {"multi_avg_fn": swa.get_swa_multi_avg_fn(), "use_buffers": False},
    lambda swa: {"use_buffers": True},
    lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.5), "use_buffers": True},
    lambda swa: {"avg_fn": swa.get_swa_avg_fn()},
    lambda swa: {"avg_fn": lambda average, current, n: 0.3 * average + 0.7 * current},
])  # fmt: skip
def test_averaged_models(make):
    for ours, theirs in zip(averaged(dtorch, make), averaged(torch, make)):
        assert list(ours) == list(theirs)
        for k, v in theirs.items():
            np.testing.assert_allclose(ours[k], v, 1e-4, 1e-5)


def test_averages_refuse_bad_arguments():
    swa = dtorch.optim.swa_utils
    with pytest.raises(ValueError, match="Invalid decay value 1.5"):
        swa.get_ema_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa.AveragedModel(dtorch.nn.ReLU(), avg_fn=max, multi_avg_fn=max)
    opt = dtorch.optim.SGD([dtorch.nn.Parameter(dtorch.ones(1))])
    for options in ({"anneal_strategy": "no"}, {"anneal_epochs": -1}, {"anneal_epochs": 1.5}):
        with pytest.raises(ValueError, match="anneal_"):
            swa.SWALR(opt, 0.1, **options)
    assert "swa_lr" not in opt.param_groups[0]


@pytest.mark.parametrize("options", [
    {}, {"anneal_strategy": "linear", "anneal_epochs": 3}, {"anneal_epochs": 0},
])  # fmt: skip
def test_swalr_takes_the_rates_over(options):
    def run(lib):
        p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
        opt = lib.optim.SGD([{"params": p, "lr": 0.1}, {"params": q, "lr": 0.4}])
        first = lib.optim.lr_scheduler.ExponentialLR(opt, 0.9)
        swa = lib.optim.swa_utils.SWALR(opt, [0.05, 0.01], **options)
        rows = []
        for step in range(20):
            opt.step()
            (first if step < 4 else swa).step()
            rows.append([g["lr"] for g in opt.param_groups])
        return rows

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(run(dtorch), run(torch), 1e-12)


# ---- options that are tensors ----------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_rate_that_is_a_tensor_and_changes(name):
    def run(lib):
        lr = lib.tensor([0.1])
        p = lib.nn.Parameter(lib.from_numpy(np.array([0.5, -1.0])))
        opt = getattr(lib.optim, name)([p], lr=lr, **KINDS[name])
        for step in range(4):
            p.grad = lib.from_numpy(gradient(p.detach().numpy(), step))
            opt.step()
            lr.mul_(0.5)
        assert opt.param_groups[0]["lr"] is lr
        return p.detach().numpy()

    np.testing.assert_allclose(run(dtorch), run(torch), 1e-5)


def test_betas_that_are_tensors():
    def run(lib):
        p = lib.nn.Parameter(lib.ones(2))
        opt = lib.optim.Adam([p], betas=(lib.tensor(0.5), lib.tensor(0.7)))
        for _ in range(3):
            p.grad = p.detach().cos()
            opt.step()
        return p.tolist()

    np.testing.assert_allclose(run(dtorch), run(torch), 1e-6)
