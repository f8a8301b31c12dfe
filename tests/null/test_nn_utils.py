"""nn.utils against torch: parametrizations, norms, pruning, fusion, functional_call."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.utils.prune

import dtorch

LIBS = [torch, dtorch]


def pair(make: Any) -> tuple[Any, Any]:
    """The same module in torch and in dtorch, with torch's values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs, mine = make(torch).double(), make(dtorch).double()
    load(mine, theirs)
    return theirs, mine


def load(mine: Any, theirs: Any) -> None:
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict(
        {k: dtorch.tensor(v.tolist(), dtype=dtorch.float64) for k, v in theirs.state_dict().items()}
    )


def same(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), 1e-6, 1e-7)


def steps(lib: Any, module: Any, x: list[Any], times: int = 3) -> Any:
    """The outputs of a few steps of SGD."""
    optimizer = lib.optim.SGD(module.parameters(), lr=0.1)
    outs = []
    for _ in range(times):
        out = module(lib.tensor(x, dtype=lib.float64))
        optimizer.zero_grad()
        (out**2).sum().backward()
        optimizer.step()
        outs.append(out)
    return lib.stack(outs)


X = np.random.default_rng(0).normal(size=(5, 3)).round(2).tolist()
IMAGES = np.random.default_rng(1).normal(size=(2, 3, 4, 4)).round(2).tolist()


def conv(lib: Any) -> Any:
    return lib.nn.Conv2d(3, 4, 3)


TRAINED = {
    "weight_norm": (lambda lib, m: lib.nn.utils.parametrizations.weight_norm(m), X),
    "weight_norm of all": (lambda lib, m: lib.nn.utils.parametrizations.weight_norm(m, dim=None), X),
    "spectral_norm": (lambda lib, m: lib.nn.utils.parametrizations.spectral_norm(m), X),
    "old weight_norm": (lambda lib, m: lib.nn.utils.weight_norm(m), X),
    "old spectral_norm": (lambda lib, m: lib.nn.utils.spectral_norm(m), X),
    "conv weight_norm": (
        lambda lib, m: lib.nn.utils.parametrizations.weight_norm(conv(lib)), IMAGES
    ),
    "conv spectral_norm": (
        lambda lib, m: lib.nn.utils.parametrizations.spectral_norm(
            lib.nn.ConvTranspose2d(3, 2, 2), n_power_iterations=2
        ), IMAGES,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", TRAINED)
def test_norms_train_as_in_torch(case: str) -> None:
    wrap, x = TRAINED[case]
    theirs, mine = pair(lambda lib: wrap(lib, lib.nn.Linear(3, 4)))
    same(steps(dtorch, mine, x), steps(torch, theirs, x))
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        same(mine.state_dict()[key], value)
    assert repr(mine) == repr(theirs)


@pytest.mark.parametrize("map_", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 5), (5, 3)])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_stays_orthogonal(map_: str, sizes: tuple[int, int], trivial: bool) -> None:
    theirs, mine = pair(
        lambda lib: lib.nn.utils.parametrizations.orthogonal(
            lib.nn.Linear(*sizes), orthogonal_map=map_, use_trivialization=trivial
        )
    )
    x = np.random.default_rng(2).normal(size=(4, sizes[0])).round(2).tolist()
    same(steps(dtorch, mine, x), steps(torch, theirs, x))
    w = mine.weight.detach()
    gram = w @ w.T if sizes[1] <= sizes[0] else w.T @ w
    np.testing.assert_allclose(gram.numpy(), np.eye(min(sizes)), atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_norms_are_removed_with_their_value(name: str) -> None:
    layer = getattr(dtorch.nn.utils, name)(dtorch.nn.Linear(3, 4)).eval()
    x = dtorch.tensor(X)
    before = layer(x)
    getattr(dtorch.nn.utils, f"remove_{name}")(layer)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    same(layer(x), before)
    with pytest.raises(ValueError, match="not found in"):
        getattr(dtorch.nn.utils, f"remove_{name}")(layer)


# ---- parametrize ---------------------------------------------------------------------------------


def modules(lib: Any) -> Any:
    class Symmetric(lib.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).mT

        def right_inverse(self, a: Any) -> Any:
            return a.triu()

    class Double(lib.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return 2 * x

        def right_inverse(self, x: Any) -> Any:
            return x / 2

    class Wider(lib.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return lib.cat([x, x])

    return Symmetric, Double, Wider


@pytest.mark.parametrize("lib", LIBS)
def test_parametrize(lib: Any) -> None:
    parametrize = lib.nn.utils.parametrize
    symmetric, double, wider = modules(lib)
    layer = lib.nn.Linear(3, 3)
    start = layer.weight.detach().clone()
    held = layer.weight
    assert parametrize.register_parametrization(layer, "weight", symmetric()) is layer
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is lib.nn.Linear
    assert type(layer).__name__ == "ParametrizedLinear"
    assert layer.parametrizations.weight.original is held
    assert lib.equal(layer.weight, start.triu() + start.triu(1).mT)
    parametrize.register_parametrization(layer, "weight", double())
    assert lib.equal(layer.weight, 2 * (start.triu() + start.triu(1).mT))
    assert "parametrizations.weight.original" in layer.state_dict()
    layer.weight = lib.ones(3, 3)
    assert lib.equal(layer.parametrizations.weight.original, lib.ones(3, 3).triu() / 2)
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    twin = copy.deepcopy(layer)
    assert lib.equal(twin.weight, layer.weight)
    other = lib.nn.Linear(3, 3)
    parametrize.transfer_parametrizations_and_params(twin, other, "weight")
    assert lib.equal(other.weight, twin.weight)
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)
    parametrize.remove_parametrizations(layer, "weight")
    if lib is dtorch:  # in torch both have one class, and so the copy loses its weight
        assert lib.equal(twin.weight, lib.ones(3, 3))
    assert type(layer) is lib.nn.Linear
    assert lib.equal(layer.weight, lib.ones(3, 3))
    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(layer, "weight", wider())
    assert type(layer) is lib.nn.Linear
    assert lib.equal(layer.weight, lib.ones(3, 3))
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(layer, "wait", double())
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(layer, "weight")


# ---- pruning -------------------------------------------------------------------------------------


def pruned(lib: Any, how: str, values: list[Any]) -> Any:
    prune = lib.nn.utils.prune
    layer = lib.nn.Linear(4, 3, bias=False)
    layer.weight.data = lib.tensor(values)
    if how == "l1":
        prune.l1_unstructured(layer, "weight", 0.4)
    elif how == "ln":
        prune.ln_structured(layer, "weight", 1, n=2, dim=0)
    elif how == "mask":
        prune.custom_from_mask(layer, "weight", lib.tensor(values) > 0)
    elif how == "twice":
        prune.l1_unstructured(layer, "weight", 3)
        prune.ln_structured(layer, "weight", 1, n=1, dim=1)
        prune.l1_unstructured(layer, "weight", 2)
    elif how == "global":
        other = lib.nn.Linear(2, 2, bias=False)
        other.weight.data = lib.tensor([[0.1, 5.0], [0.2, 7.0]])
        prune.global_unstructured(
            [(layer, "weight"), (other, "weight")], prune.L1Unstructured, amount=5
        )
        assert other.weight.tolist()[0][0] == 0
    return layer


@pytest.mark.parametrize("how", ["l1", "ln", "mask", "twice", "global"])
def test_pruning(how: str) -> None:
    values = np.random.default_rng(5).normal(size=(3, 4)).tolist()
    theirs, mine = (pruned(lib, how, values) for lib in LIBS)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    same(mine.weight_mask, theirs.weight_mask)
    x = np.eye(4).tolist()
    same(mine(dtorch.tensor(x)), theirs(torch.tensor(x)))
    mine(dtorch.tensor(x)).sum().backward()
    theirs(torch.tensor(x)).sum().backward()
    same(mine.weight_orig.grad, theirs.weight_orig.grad)
    assert dtorch.nn.utils.prune.is_pruned(mine)
    dtorch.nn.utils.prune.remove(mine, "weight")
    torch.nn.utils.prune.remove(theirs, "weight")
    assert not dtorch.nn.utils.prune.is_pruned(mine)
    assert list(mine.state_dict()) == ["weight"]
    same(mine.weight, theirs.weight)


def test_random_pruning_takes_as_many_as_asked() -> None:
    prune = dtorch.nn.utils.prune
    layer = dtorch.nn.Linear(8, 6)
    prune.random_unstructured(layer, "weight", 10)
    assert int((layer.weight_mask == 0).sum()) == 10
    prune.random_structured(layer, "weight", 2, dim=0)
    assert sorted((layer.weight_mask != 0).any(1).tolist()) == [False] * 2 + [True] * 4
    prune.identity(layer, "bias")
    assert layer.bias_mask.tolist() == [1.0] * 6


@pytest.mark.parametrize("lib", LIBS)
def test_pruning_refuses_wrong_amounts(lib: Any) -> None:
    prune, layer = lib.nn.utils.prune, lib.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="amount=1.5 should"):
        prune.l1_unstructured(layer, "weight", 1.5)
    with pytest.raises(ValueError, match="amount=9 should be smaller"):
        prune.l1_unstructured(layer, "weight", 9)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(layer, "weight")
    assert sorted(layer.state_dict()) == ["bias", "weight"]


# ---- fusion, skip_init, functional_call ----------------------------------------------------------


@pytest.mark.parametrize("transpose", [False, True])
def test_fused_conv_and_batch_norm(transpose: bool) -> None:
    nn = dtorch.nn
    layer = nn.ConvTranspose2d(3, 4, 2) if transpose else nn.Conv2d(3, 4, 2, bias=False)
    bn = nn.BatchNorm2d(4)
    x = dtorch.tensor(IMAGES)
    for _ in range(3):
        bn(layer(x))
    nn.init.uniform_(bn.weight)
    nn.init.uniform_(bn.bias)
    layer.eval(), bn.eval()
    same(nn.utils.fuse_conv_bn_eval(layer, bn, transpose)(x), bn(layer(x)))


def test_fused_linear_and_batch_norm() -> None:
    nn = dtorch.nn
    layer, bn = nn.Linear(3, 4), nn.BatchNorm1d(4)
    x = dtorch.tensor(X)
    bn(layer(x))
    with pytest.raises(AssertionError, match="only for eval"):
        nn.utils.fuse_linear_bn_eval(layer, bn)
    layer.eval(), bn.eval()
    same(nn.utils.fuse_linear_bn_eval(layer, bn)(x), bn(layer(x)))


def test_skip_init() -> None:
    layer = dtorch.nn.utils.skip_init(dtorch.nn.Linear, 3, 4, bias=False)
    assert layer.weight.shape == (4, 3)
    with pytest.raises(RuntimeError, match="Expected a Module"):
        dtorch.nn.utils.skip_init(int)


@pytest.mark.parametrize("lib", LIBS)
def test_functional_call(lib: Any) -> None:
    call = lib.func.functional_call
    net = lib.nn.Sequential(lib.nn.Linear(3, 3), lib.nn.BatchNorm1d(3))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    w = lib.zeros(3, 3, requires_grad=True)
    out = call(net, {"0.weight": w}, (lib.tensor(X),))
    assert lib.allclose(out, lib.zeros(5, 3), atol=1e-4)
    out.sum().backward()
    assert w.grad is not None
    assert net[0].weight.grad is None
    assert lib.equal(net[0].weight, before["0.weight"])
    with pytest.raises(RuntimeError, match="Unexpected key"):
        call(net, {"0.wait": w}, (lib.tensor(X),), strict=True)
    with pytest.raises(ValueError, match="appear.* in multiple dictionaries"):
        call(net, ({"0.weight": w}, {"0.weight": w}), (lib.tensor(X),))


@pytest.mark.parametrize("lib", LIBS)
def test_functional_call_with_tied_weights(lib: Any) -> None:
    call = lib.func.functional_call
    net = lib.nn.Sequential(lib.nn.Linear(3, 3, False), lib.nn.Linear(3, 3, False))
    net[1].weight = net[0].weight
    x, two = lib.eye(3), 2 * lib.eye(3)
    assert lib.equal(call(net, {"0.weight": two}, x), 4 * x)
    with pytest.raises(ValueError, match="multiple values"):
        call(net, {"0.weight": two, "1.weight": 3 * x}, x)
    assert net[1].weight is net[0].weight
