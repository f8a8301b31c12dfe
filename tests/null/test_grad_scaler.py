"""GradScaler, beside torch's on the CPU."""

import copy
import pickle

import numpy as np
import pytest
import torch

import dtorch


def setting(T, **options):
    """A parameter of two elements, its optimizer, and a scaler."""
    p = T.nn.Parameter(T.tensor([1.0, -2.0]))
    options = {"init_scale": 8.0, "growth_interval": 2} | options
    return p, T.optim.SGD([p], lr=0.5), T.amp.GradScaler("cpu", **options)


def iterate(T, factors, **options):
    """(weights, scale, growth tracker) after each step on a loss sum(p * factor)."""
    p, optimizer, scaler = setting(T, **options)
    seen = []
    for factor in factors:
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append((p.tolist(), scaler.get_scale(), scaler.state_dict()["_growth_tracker"]))
    return seen


def test_scales_grow_and_shrink_as_in_torch():
    factors = [1.0, 2.0, float("inf"), 1.0, float("nan"), 1.0, 1.0, 1.0, 3e38, 1.0]
    assert iterate(dtorch, factors) == iterate(torch, factors)
    options = {"growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 1}
    assert iterate(dtorch, factors, **options) == iterate(torch, factors, **options)


def test_a_scale_does_not_grow_to_infinity():
    options = {"init_scale": 2.0**127, "growth_interval": 1}
    assert iterate(dtorch, [1e-30] * 2, **options) == iterate(torch, [1e-30] * 2, **options)


def test_gradients_are_unscaled_before_they_are_clipped():
    p, optimizer, scaler = setting(dtorch)
    scaler.scale((p * 3).sum()).backward()
    assert p.grad.tolist() == [24, 24]
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="unscale_\\(\\) has already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert p.tolist() == [-0.5, -3.5]
    with pytest.raises(RuntimeError, match="step\\(\\) has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="being called after step"):
        scaler.unscale_(optimizer)
    scaler.update()
    assert scaler.get_scale() == 8


def test_several_outputs_and_sparse_gradients():
    scaler = dtorch.GradScaler("cpu", init_scale=4.0)
    a, (b,) = scaler.scale([dtorch.ones(()), (dtorch.ones(2),)])
    assert a.item() == 4
    assert b.tolist() == [4, 4]
    with pytest.raises(ValueError, match="outputs must be a Tensor"):
        scaler.scale(3)
    e = dtorch.nn.Embedding(3, 2, sparse=True)
    optimizer = dtorch.optim.SGD(e.parameters(), lr=1.0)
    before = e.weight.detach().clone()
    scaler.scale(e(dtorch.tensor([1, 1])).sum()).backward()
    scaler.step(optimizer)
    change = (before - e.weight.detach()).tolist()
    np.testing.assert_allclose(change, [[0, 0], [2, 2], [0, 0]], rtol=1e-6)


def test_float16_gradients_are_refused_untouched():
    p, h = (dtorch.nn.Parameter(dtorch.ones(1, dtype=d)) for d in (dtorch.float32, dtorch.float16))
    optimizer = dtorch.optim.SGD([p, h], lr=1.0)
    scaler = dtorch.GradScaler("cpu", init_scale=2.0)
    scaler.scale(p.sum() + h.sum()).backward()
    with pytest.raises(ValueError, match="unscale FP16 gradients"):
        scaler.step(optimizer)
    assert p.grad.item() == 2
    assert p.item() == 1


def test_out_of_order():
    p, optimizer, scaler = setting(dtorch)
    for call in (lambda: scaler.step(optimizer), lambda: scaler.unscale_(optimizer), scaler.update):
        with pytest.raises(AssertionError, match="_scale is None"):
            call()
    scaler.scale(p.sum())
    with pytest.raises(AssertionError, match="No inf checks were recorded prior to update"):
        scaler.update()
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)  # no parameter has a gradient
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: None)
    scaler.update(2.5)
    assert scaler.get_scale() == 2.5
    scaler.update(dtorch.tensor([4.0]))
    assert scaler.get_scale() == 4
    with pytest.raises(AssertionError, match="new_scale should be"):
        scaler.update(dtorch.ones(2))
    with pytest.raises(AssertionError, match="growth factor"):
        dtorch.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(AssertionError, match="backoff factor"):
        dtorch.GradScaler("cpu", backoff_factor=1.0)


def test_state_goes_to_and_fro():
    theirs = setting(torch)[2]
    state = theirs.state_dict() | {"scale": 32.0, "_growth_tracker": 1}
    p, optimizer, scaler = setting(dtorch)
    scaler.load_state_dict(state)
    assert scaler.state_dict() == state
    for again in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
        assert again.state_dict() == state
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled"):
        pickle.dumps(scaler)
    scaler.update()
    assert scaler.get_scale() == 64
    assert pickle.loads(pickle.dumps(scaler)).get_scale() == 64
    with pytest.raises(RuntimeError, match="The source state dict is empty"):
        scaler.load_state_dict({})


def test_switched_off_it_does_nothing():
    p, optimizer, scaler = setting(dtorch, enabled=False)
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [0.5, -2.5]
    assert scaler.get_scale() == 1
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()
    if not dtorch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            assert not dtorch.GradScaler().is_enabled()
