"""Optimizers against torch: the same steps and states."""

import copy
import pickle

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn, optim

CONFIGS = {
    "SGD": [{"lr": 0.1}, {"momentum": 0.9},
            {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}],
    "Adam": [{}, {"weight_decay": 0.1, "amsgrad": True}, {"maximize": True, "betas": (0.5, 0.7)}],
    "AdamW": [{}, {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}],
    "Adagrad": [{}, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}],
    "RMSprop": [{}, {"centered": True, "momentum": 0.5, "weight_decay": 0.1, "alpha": 0.6}],
    "Adadelta": [{}, {"rho": 0.5, "weight_decay": 0.1, "maximize": True}],
    "Adamax": [{}, {"weight_decay": 0.1}],
    "NAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}],
    "RAdam": [{}, {"betas": (0.5, 0.6), "weight_decay": 0.1, "decoupled_weight_decay": True}],
    "ASGD": [{}, {"t0": 3, "lambd": 0.1, "weight_decay": 0.1}],
    "Rprop": [{}, {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}],
}  # fmt: skip
ALL = [(name, config) for name, configs in CONFIGS.items() for config in configs]


def values(name="float64"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(name) for shape in ((3, 4), (5,), ())]


def parameters(lib, dtype="float64"):
    return [lib.nn.Parameter(lib.from_numpy(np.array(v)).to(getattr(lib, dtype))) for v in values()]


def descend(lib, opt, params, steps, start=0):
    """Steps with gradients that depend on the parameters and on the step; one comes late."""
    for step in range(start, start + steps):
        for i, p in enumerate(params):
            a = p.detach().to(lib.float64).numpy()
            g = np.asarray(np.sin(3 * a + i + step))
            p.grad = None if i == 2 and step < 2 else lib.from_numpy(g).to(p.dtype)
        opt.step()


def assert_same(got, expected, rtol=1e-9, atol=1e-12):
    if isinstance(expected, torch.Tensor):
        assert isinstance(got, dtorch.Tensor)
        assert str(got.dtype).split(".")[1] == str(expected.dtype).split(".")[1]
        exact = got.detach().to(dtorch.float64).numpy()
        np.testing.assert_allclose(exact, expected.detach().double().numpy(), rtol, atol)
    elif isinstance(expected, dict):
        assert list(got) == list(expected) or set(got) == set(expected)
        for k in expected:
            assert_same(got[k], expected[k], rtol, atol)
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same(g, e, rtol, atol)
    else:
        assert got == expected


@pytest.mark.parametrize(("name", "config"), ALL)
def test_trajectory_and_state(name, config):
    ours, theirs = parameters(dtorch), parameters(torch)
    opt = getattr(optim, name)(ours, **config)
    reference = getattr(torch.optim, name)(theirs, **config)
    descend(dtorch, opt, ours, 6)
    descend(torch, reference, theirs, 6)
    # torch's counts that are not steps are float32: eta of ASGD, mu_product of NAdam
    rtol = 1e-6 if name in ("ASGD", "NAdam") else 1e-9
    assert_same([p.data for p in ours], [p.data for p in theirs], rtol)
    assert_same(opt.state_dict(), reference.state_dict(), rtol, 1e-8)

    resumed = [nn.Parameter(p.detach().clone()) for p in ours]
    again = getattr(optim, name)(resumed, **config)
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    descend(dtorch, again, resumed, 3, start=6)
    descend(dtorch, opt, ours, 3, start=6)
    for a, b in zip(resumed, ours):
        assert a.tolist() == b.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    ours, theirs = parameters(dtorch, dtype), parameters(torch, dtype)
    opt, reference = optim.SGD(ours, 0.1, 0.9), torch.optim.SGD(theirs, 0.1, 0.9)
    descend(dtorch, opt, ours, 5)
    descend(torch, reference, theirs, 5)
    assert_same([p.data for p in ours], [p.data for p in theirs], 2e-2, 2e-2)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "Rprop"])
def test_complex_parameters(name):
    runs = []
    for lib in (dtorch, torch):
        p = lib.nn.Parameter(lib.from_numpy(np.array([1 + 2j, -0.5j])))
        opt = getattr(lib.optim, name)([p], lr=0.1)
        for step in range(4):
            p.grad = lib.from_numpy(np.array([0.3 - 1j, 1j]) * (step - 1.5))
            opt.step()
        runs.append(p.detach().numpy())
    np.testing.assert_allclose(*runs, 1e-9)


def test_a_step_bumps_the_version_and_keeps_the_memory():
    p = nn.Parameter(dtorch.ones(3))
    y = (p * p).sum()
    where, version = p.data_ptr(), p._version
    p.grad = dtorch.ones(3)
    optim.SGD([p], lr=0.1).step()
    assert p.data_ptr() == where
    assert p._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_groups_and_names():
    a, b = nn.Parameter(dtorch.ones(1)), nn.Parameter(dtorch.ones(1))
    opt = optim.SGD([{"params": a, "lr": 1.0}, {"params": [b]}], lr=0.5, momentum=0.1)
    assert [g["lr"] for g in opt.param_groups] == [1.0, 0.5]
    a.grad, b.grad = dtorch.ones(1), dtorch.ones(1)
    opt.step()
    assert (a.item(), b.item()) == (0, 0.5)
    assert [g["params"] for g in opt.state_dict()["param_groups"]] == [[0], [1]]
    named = optim.SGD([("a", a), ("b", b)])
    assert named.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]
    assert "Parameter Group 0" in repr(opt)


def test_bad_arguments_raise_torchs_errors():
    p = nn.Parameter(dtorch.ones(2))
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        optim.SGD([])
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optim.SGD([{"params": p}, {"params": [p]}])
    with pytest.raises(TypeError, match="one of the params is int"):
        optim.SGD([1])
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts"):
        optim.SGD(p)
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {p}}])
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1"):
        optim.Adam([p], lr=-1)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 1: 1.0"):
        optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum"):
        optim.SGD([p], nesterov=True)
    state = optim.SGD([p]).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.SGD([{"params": p}, {"params": nn.Parameter(dtorch.ones(1))}]).load_state_dict(state)
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        optim.SGD([p, nn.Parameter(dtorch.ones(1))]).load_state_dict(state)


def test_closure_hooks_zero_grad_and_pickle():
    p = nn.Parameter(dtorch.ones(2))
    opt = optim.Adam([p], lr=0.1)
    seen = []
    opt.register_step_pre_hook(lambda *a: seen.append("pre"))
    handle = opt.register_step_post_hook(lambda *a: seen.append("post"))

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with dtorch.no_grad():
        assert opt.step(closure).item() == 2
    handle.remove()
    opt.step()
    assert seen == ["pre", "post", "pre"]
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    opt.zero_grad()
    assert p.grad is None
    again = pickle.loads(pickle.dumps(opt))
    assert again.state_dict()["state"][0]["step"].item() == 2
    again.step()
