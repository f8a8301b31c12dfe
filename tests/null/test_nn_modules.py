"""Modules: registration, state, hooks, text."""

import copy
import gc
import importlib
import pickle
import weakref

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 3)
        self.b = nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))
        self.shared = self.a
        self.scale = nn.Parameter(dtorch.ones(1))
        self.register_buffer("count", dtorch.zeros(1))
        self.register_buffer("scratch", dtorch.zeros(2), persistent=False)
        self.marker = nn.Buffer(dtorch.ones(1))

    def forward(self, x):
        return self.b(self.a(x)) * self.scale


def test_registration_and_walking():
    m = Net()
    assert [k for k, _ in m.named_parameters()] == ["scale", "a.weight", "a.bias", "b.1.weight"]
    assert [k for k, _ in m.named_parameters(remove_duplicate=False)][-2:] == [
        "shared.weight", "shared.bias",
    ]  # fmt: skip
    assert [k for k, _ in m.named_buffers()] == ["count", "scratch", "marker"]
    assert [k for k, _ in m.named_modules()] == ["", "a", "b", "b.0", "b.1"]
    assert [k for k, _ in m.named_children()] == ["a", "b"]
    assert list(m.state_dict()) == ["scale", "count", "marker", "a.weight", "a.bias", "b.1.weight",
                                    "shared.weight", "shared.bias"]  # fmt: skip
    assert m.get_submodule("b.1") is m.b[1]
    assert m.get_parameter("a.bias") is m.a.bias
    assert m.get_buffer("count") is m.count
    with pytest.raises(AttributeError, match="has no attribute `nope`"):
        m.get_submodule("b.nope")
    m.a.bias = None
    assert [k for k, _ in m.a.named_parameters()] == ["weight"]
    del m.scale
    assert not hasattr(m, "scale")
    m.count = nn.Linear(1, 1)
    assert "count" not in m._buffers
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'missing'"):
        m.missing  # noqa: B018


def test_wrong_assignments_raise_and_change_nothing():
    m = Net()
    with pytest.raises(TypeError, match=r"cannot assign 'dtorch.FloatTensor' as parameter 'scale'"):
        m.scale = dtorch.ones(1)
    with pytest.raises(TypeError, match=r"cannot assign 'int' as child module 'a'"):
        m.a = 1
    with pytest.raises(TypeError, match=r"cannot assign 'str' as buffer 'count'"):
        m.count = "x"
    with pytest.raises(KeyError, match="contain"):
        m.register_parameter("a.b", None)
    with pytest.raises(KeyError, match="already exists"):
        m.register_buffer("a", dtorch.ones(1))
    with pytest.raises(TypeError, match="is not a Module subclass"):
        m.add_module("z", 1)
    assert isinstance(m.scale, nn.Parameter)
    assert isinstance(m.a, nn.Linear)

    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
        Early()
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


def test_load_state_dict_names_everything_wrong_and_changes_nothing():
    m = Net()
    before = {k: v.tolist() for k, v in m.state_dict().items()}
    state = {k: v + 1 for k, v in m.state_dict().items()}
    state["extra"] = state.pop("scale")
    state["b.1.weight"] = dtorch.ones(2, 2)
    with pytest.raises(RuntimeError) as error:
        m.load_state_dict(state)
    reference = (
        "Error(s) in loading state_dict for Net:\n\t"
        'Missing key(s) in state_dict: "scale". \n\t'
        'Unexpected key(s) in state_dict: "extra". \n\t'
        "size mismatch for b.1.weight: copying a param with shape dtorch.Size([2, 2]) from "
        "checkpoint, the shape in current model is dtorch.Size([1, 3])."
    )
    assert str(error.value) == reference
    assert {k: v.tolist() for k, v in m.state_dict().items()} == before
    state["b.1.weight"] = dtorch.ones(1, 3)
    keys = m.load_state_dict(state, strict=False)
    assert keys == (["scale"], ["extra"])
    assert m.b[1].weight.tolist() == [[1, 1, 1]]
    assert str(Net().load_state_dict(m.state_dict())) == "<All keys matched successfully>"
    with pytest.raises(TypeError, match="dict-like"):
        m.load_state_dict([1])


def test_assign_takes_the_given_tensors_and_state_shares_memory():
    m = nn.Linear(2, 2)
    given = dtorch.zeros(2, 2)
    m.load_state_dict({"weight": given, "bias": m.bias}, assign=True)
    assert isinstance(m.weight, nn.Parameter)
    assert m.weight.data_ptr() == given.data_ptr()
    m.state_dict()["bias"].fill_(5)
    assert m.bias.tolist() == [5, 5]
    assert m.state_dict()._metadata[""] == {"version": 1}


def test_conversions_keep_the_parameter_objects():
    m = Net()
    m.a.bias.data.fill_(5)  # keeps the ReLU open
    kept, opt = list(m.parameters()), dtorch.optim.SGD(m.parameters(), lr=1.0)
    m(dtorch.ones(1, 2)).sum().backward()
    assert m.double() is m
    assert [id(p) for p in m.parameters()] == [id(p) for p in kept]
    assert {p.dtype for p in m.parameters()} == {p.grad.dtype for p in kept} == {dtorch.float64}
    assert m.count.dtype is dtorch.float64
    before = m.scale.item()
    opt.step()
    assert m.scale.item() != before
    assert m.to(dtorch.float32).scale.dtype is dtorch.float32
    assert m.to("cpu", dtorch.bfloat16).half().scale.dtype is dtorch.float16
    assert m.to(dtorch.ones(1, dtype=dtorch.float64)).scale.dtype is dtorch.float64
    with pytest.raises(TypeError, match="only accepts floating point"):
        m.to(dtorch.int64)
    assert type(m.scale.data) is dtorch.Tensor


def test_modes_and_gradients():
    m = Net()
    assert not m.eval().b[0].training
    m.train()
    assert all(child.training for child in m.modules())
    m(dtorch.ones(1, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.scale.grad.tolist() == [0]
    m.zero_grad()
    assert m.scale.grad is None
    m.requires_grad_(False)
    assert not m(dtorch.ones(1, 2)).requires_grad
    seen = []
    m.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]
    m.compile()


def test_copies_are_independent_and_keep_sharing():
    m = Net()
    for again in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert again.shared is again.a
        assert again.scale.requires_grad
        assert again(dtorch.ones(1, 2)).tolist() == m(dtorch.ones(1, 2)).tolist()
        again.scale.data.fill_(9)
        assert m.scale.item() == 1


def test_a_module_is_freed_by_counting():
    m = Net()
    gone = weakref.ref(m)
    gc.disable()
    try:
        m(dtorch.ones(1, 2)).sum().backward()
        del m
        assert gone() is None
    finally:
        gc.enable()


def test_repr_nests_as_torchs():
    def make(nn):
        return nn.Sequential(
            nn.Linear(1, 2), nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()]),
            nn.ModuleDict({"a": nn.Sequential(nn.Identity())}), nn.Module(),
        )  # fmt: skip

    assert repr(make(nn)) == repr(make(torch.nn))
    assert repr(nn.Parameter(dtorch.ones(1))).startswith("Parameter containing:\ntensor([1.]")


def test_forward_hooks():
    m, seen = nn.Linear(1, 1, bias=False), []
    m.weight.data.fill_(2)
    one = dtorch.ones(1, 1)
    m.register_forward_pre_hook(lambda m, args: (args[0] * 10,))
    second = m.register_forward_hook(lambda m, args, out: out + args[0])
    assert m(one).item() == 30
    m.register_forward_hook(lambda m, args, out: seen.append(out.item()), prepend=True)
    assert m(one).item() == 30
    assert seen == [20]
    second.remove()
    assert m(one).item() == 20
    m.register_forward_pre_hook(
        lambda m, args, kwargs: ((), {"input": args[0] + 1}), with_kwargs=True
    )
    m.register_forward_hook(
        lambda m, args, kwargs, out: seen.append(kwargs["input"].item()), with_kwargs=True
    )
    assert m(one).item() == 22
    assert seen[-1] == 11
    m.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    m.forward = None
    with pytest.raises(TypeError):
        m(one)
    assert seen[-1] is None


def test_backward_hooks_equal_torchs():
    def run(lib):
        m = lib.nn.Bilinear(2, 3, 2).double()
        for i, p in enumerate(m.parameters()):
            p.data.fill_(0.5 + i)
        seen = []

        def keep(module, grad_input, grad_output):
            seen.append([None if g is None else g.tolist() for g in (*grad_input, *grad_output)])
            return (grad_input[0] * 2, *grad_input[1:])

        m.register_full_backward_hook(keep)
        m.register_full_backward_pre_hook(lambda module, g: (g[0] * 3,))
        a = lib.ones(1, 2, dtype=lib.float64, requires_grad=True)
        b = lib.ones(1, 3, dtype=lib.float64)
        m(a, b).sum().backward()
        return seen, a.grad.tolist(), [p.grad.tolist() for p in m.parameters()]

    assert run(dtorch) == run(torch)


def test_backward_hook_without_gradients_for_the_inputs():
    m, seen = nn.Linear(2, 1), []
    m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    m(dtorch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_state_hooks():
    m = nn.Linear(1, 1)
    handle = m.register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    with pytest.raises(RuntimeError, match="must return None"):
        m.state_dict()
    handle.remove()
    m.register_state_dict_post_hook(lambda m, state, prefix, meta: state.__delitem__("bias"))
    assert list(m.state_dict()) == ["weight"]
    seen = []
    m.register_load_state_dict_pre_hook(lambda m, state, *rest: state.update(bias=dtorch.ones(1)))
    m.register_load_state_dict_post_hook(lambda m, keys: seen.append(m.bias.item()))
    m.load_state_dict(m.state_dict())
    assert seen == [1]
    forgiving = nn.Linear(1, 1)
    forgiving.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    forgiving.load_state_dict({"weight": dtorch.ones(1, 1)})


def test_containers():
    s = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Tanh())
    assert isinstance(s[-1], nn.Tanh)
    assert len(s[:2]) == 2
    del s[0]
    assert list(s._modules) == ["0", "1"]
    s.insert(0, nn.Identity()).append(nn.ReLU())
    assert [type(m).__name__ for m in s] == ["Identity", "ReLU", "Tanh", "ReLU"]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        s[9]
    items = nn.ModuleList([nn.ReLU()]) + [nn.Tanh()]
    assert len(items) == 2
    named = nn.ModuleDict([["a", nn.ReLU()]])
    named.update({"b": nn.Linear(1, 1)})
    assert list(named) == ["a", "b"]
    assert isinstance(named.pop("a"), nn.ReLU)
    params = nn.ParameterList([dtorch.ones(2), nn.Parameter(dtorch.ones(1))])
    assert [k for k, _ in params.named_parameters()] == ["0", "1"]
    table = nn.ParameterDict({"w": dtorch.ones(2)})
    assert isinstance(table["w"], nn.Parameter)
    assert list(table.state_dict()) == ["w"]


def test_initial_values_have_torchs_spread():
    dtorch.manual_seed(0)
    for layer, fan in ((nn.Linear(400, 100), 400), (nn.Conv2d(16, 50, 5), 400)):
        for p in layer.parameters():
            bound = 1 / fan**0.5
            assert 0.95 * bound < float(p.abs().max()) <= bound
    w = dtorch.zeros(300, 200)
    assert abs(float(nn.init.kaiming_normal_(w, nonlinearity="relu").std()) * 10 - 1) < 0.02
    assert abs(float(nn.init.xavier_normal_(w).std()) * 250**0.5 - 1) < 0.02
    q = nn.init.orthogonal_(dtorch.zeros(5, 3, dtype=dtorch.float64))
    np.testing.assert_allclose((q.t() @ q).numpy(), np.eye(3), atol=1e-12)
    t = nn.init.trunc_normal_(dtorch.zeros(1000), std=2.0, a=-1.0, b=1.5)
    assert -1 <= float(t.min()) < -0.9
    assert 1.4 < float(t.max()) <= 1.5
    both = []
    for lib in (dtorch, torch):
        init = lib.nn.init
        made = [init.eye_(lib.zeros(2, 3)), init.dirac_(lib.ones(4, 2, 3), 2)]
        both.append([t.tolist() for t in made] + [init.calculate_gain("leaky_relu", 0.2)])
    assert both[0] == both[1]


def test_clipping_and_vectors():
    for norm in (1, 2.0, float("inf")):
        results = []
        for lib in (dtorch, torch):
            params = [lib.nn.Parameter(lib.zeros(2, dtype=lib.float64)) for _ in range(2)]
            params[0].grad = lib.from_numpy(np.array([3.0, -4.0]))
            params[1].grad = lib.from_numpy(np.array([0.5, 1.0]))
            total = lib.nn.utils.clip_grad_norm_(params, 1.5, norm)
            lib.nn.utils.clip_grad_value_(params, 0.4)
            results.append([float(total), *[p.grad.tolist() for p in params]])
        np.testing.assert_allclose(results[0][0], results[1][0])
        np.testing.assert_allclose(results[0][1:], results[1][1:])
    m = nn.Linear(2, 3)
    vec = nn.utils.parameters_to_vector(m.parameters())
    assert vec.shape == (9,)
    nn.utils.vector_to_parameters(vec.detach() * 0 + 2, m.parameters())
    assert m.bias.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="has 3 elements, the parameters have 9"):
        nn.utils.vector_to_parameters(dtorch.ones(3), m.parameters())


# What layers elsewhere import from files of torch.nn.
IMPORTED = {
    "modules.batchnorm": "_BatchNorm _NormBase",
    "modules.conv": "_ConvNd _ConvTransposeNd",
    "modules.dropout": "_DropoutNd",
    "modules.loss": "_Loss _WeightedLoss",
    "modules.module": "Module register_module_forward_hook register_module_full_backward_hook",
    "modules.pooling": "_MaxPoolNd _AvgPoolNd",
    "modules.lazy": "LazyModuleMixin",
    "modules.utils": "_single _pair _triple _quadruple _ntuple",
    "common_types": "_size_2_t _size_any_t _ratio_3_t",
    "parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer is_lazy",
    "attention": "SDPBackend sdpa_kernel",
}


@pytest.mark.parametrize("file", IMPORTED)
def test_what_is_imported_from_files_of_nn(file):
    ours, theirs = (importlib.import_module(f"{lib}.nn.{file}") for lib in ("dtorch", "torch"))
    for name in IMPORTED[file].split():
        assert hasattr(theirs, name)
        assert hasattr(ours, name)


def test_isinstance_of_families():
    assert isinstance(nn.ConvTranspose2d(1, 1, 1), nn.modules.conv._ConvNd)
    assert isinstance(nn.BatchNorm3d(1), nn.modules.batchnorm._BatchNorm)
    assert not isinstance(nn.InstanceNorm1d(1), nn.modules.batchnorm._BatchNorm)
    assert nn.modules.utils._pair(3) == (3, 3)
    assert nn.modules.utils._ntuple(2)([1, 2]) == (1, 2)


def test_kernels_of_attention_are_checked():
    backends = nn.attention.SDPBackend
    with nn.attention.sdpa_kernel([backends.MATH, backends.FLASH_ATTENTION]):
        nn.functional.scaled_dot_product_attention(*[dtorch.ones(1, 2, 3)] * 3)
    with pytest.raises(AssertionError, match="instance of SDPBackend"):
        nn.attention.sdpa_kernel("math").__enter__()


@pytest.mark.parametrize("size", [3, 4, 5])
def test_cross_map_lrn_is_torchs_in_value_and_gradient(size: int) -> None:
    x = np.random.default_rng(size).normal(0, 3, (2, 7, 3, 2))
    g = np.random.default_rng(0).normal(size=x.shape)
    both = []
    for lib in (torch, dtorch):
        t = lib.tensor(x.tolist(), dtype=lib.float64, requires_grad=True)
        y = lib.nn.CrossMapLRN2d(size, 0.3, 0.75, 2.0)(t)
        y.backward(lib.tensor(g.tolist(), dtype=lib.float64))
        both.append((y.detach().numpy(), t.grad.numpy()))
    for theirs, mine in zip(*both):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
