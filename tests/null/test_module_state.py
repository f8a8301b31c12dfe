"""What modules hold, save and load: each program is run with torch too and must give the same."""

import copy
import io
import pickle
import warnings
from collections import OrderedDict

import pytest

from tests.both import assert_same

PROGRAMS = []


def same(program):
    PROGRAMS.append(pytest.param(program, id=program.__name__))
    return program


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_torch(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(program, 300)


def net(lib):
    """Shared parts, a place that is empty, and both kinds of buffers."""
    m = lib.nn.Sequential(OrderedDict(a=lib.nn.Linear(2, 2), b=lib.nn.BatchNorm1d(2)))
    m.c = m.a
    m.register_module("none", None)
    m.register_parameter("empty", None)
    m.register_buffer("kept", lib.ones(2))
    m.register_buffer("scratch", lib.zeros(1), persistent=False)
    m.w = m.a.weight
    return m


def raised(log, call, *args, **kwargs):
    try:
        log.append(call(*args, **kwargs))
    except Exception as error:  # noqa: BLE001  any: it is what is compared
        log.append((type(error).__name__, str(error).replace("dtorch", "torch")))


@same
def names(lib, log):
    m = net(lib)
    log.append(list(m.state_dict()))
    for duplicates in (True, False):
        log.append([n for n, _ in m.named_parameters(remove_duplicate=duplicates)])
        log.append([n for n, _ in m.named_buffers("pre", remove_duplicate=duplicates)])
        log.append([n for n, _ in m.named_modules(remove_duplicate=duplicates)])
    log.append([n for n, _ in m.named_parameters(recurse=False)])
    log.append([n for n, _ in m.named_children()])
    log.append([n for n in dir(m) if n in ("a", "w", "kept", "forward", "empty", "none")])
    log.append(dict(m.state_dict()._metadata))
    return sorted(m._non_persistent_buffers_set)


@same
def members_by_dotted_names(lib, log):
    m = net(lib)
    for target in ("", "a", "a.weight", "b.no", "no.a", "kept"):
        raised(log, lambda t=target: type(m.get_submodule(t)).__name__)
    for target in ("a.weight", "a", "kept", "b.running_mean", "a.no"):
        raised(log, lambda t=target: list(m.get_parameter(t).shape))
        raised(log, lambda t=target: list(m.get_buffer(t).shape))
    raised(log, m.set_submodule, "a", lib.nn.Identity())
    raised(log, m.set_submodule, "", lib.nn.Identity())
    raised(log, m.set_submodule, "kept", lib.nn.Identity())
    raised(log, m.set_submodule, "b", 1)
    raised(log, m.set_submodule, "new", lib.nn.Identity(), strict=True)
    raised(log, m.set_submodule, "new", lib.nn.Identity())
    return repr(m)


@same
def keys_and_shapes_that_do_not_fit(lib, log):
    m = net(lib)
    state = m.state_dict()
    del state["a.bias"]
    del state["kept"]
    state["more"] = lib.ones(1)
    state["b.more.deep"] = lib.ones(1)
    state["scratch"] = lib.ones(1)
    log.append(repr(m.load_state_dict(state, strict=False)))
    raised(log, m.load_state_dict, state)
    state["a.weight"] = lib.ones(3, 2)
    state["b.bias"] = 3
    raised(log, m.load_state_dict, state)
    raised(log, m.load_state_dict, state, strict=False)
    raised(log, m.load_state_dict, [1])


@same
def a_state_that_fits_needs_no_metadata(lib, log):
    m = net(lib)
    log.append(repr(m.load_state_dict(dict(m.state_dict()))))
    scalar = lib.nn.Module()
    scalar.s = lib.nn.Parameter(lib.tensor(1.0))
    scalar.load_state_dict({"s": lib.tensor([3.0])})  # as older versions saved a scalar
    return scalar.s


@same
def assigning(lib, log):
    m = lib.nn.BatchNorm1d(2)
    m.bias.requires_grad_(False)
    state = {
        "weight": lib.nn.Parameter(lib.ones(2, dtype=lib.float64), requires_grad=False),
        "bias": lib.zeros(2),
        "running_mean": lib.ones(2),
        "running_var": lib.ones(2),
        "num_batches_tracked": lib.tensor(4),
    }
    m.load_state_dict(state, assign=True)
    log.append([(n, p.requires_grad, type(p).__name__) for n, p in m.named_parameters()])
    log.append([m.weight is state["weight"], m.running_mean is state["running_mean"]])
    log.append(str(m.weight.dtype)[-7:])
    raised(log, m.load_state_dict, {**state, "bias": lib.ones(3)}, assign=True)
    return m.num_batches_tracked


@same
def extra_state(lib, log):
    class Extra(lib.nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    m, plain = Extra(), lib.nn.Module()
    m.count = 3
    log.append(m.state_dict())
    fresh = Extra()
    fresh.load_state_dict(m.state_dict())
    log.append(fresh.count)
    raised(log, fresh.load_state_dict, {})
    raised(log, plain.load_state_dict, m.state_dict())


@same
def older_versions(lib, log):
    class Versioned(lib.nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.new = lib.nn.Parameter(lib.zeros(1))

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            log.append((prefix, local_metadata.get("version")))
            if (local_metadata.get("version") or 1) < 2:
                state_dict[prefix + "new"] = state_dict.pop(prefix + "old")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    m = lib.nn.Sequential(Versioned())
    state = OrderedDict({"0.old": lib.ones(1)})
    m.load_state_dict(state)
    log.append((m[0].new, list(state)))
    raised(log, m.load_state_dict, OrderedDict({"0.new": lib.ones(1)}))
    norm = lib.nn.BatchNorm1d(1)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    raised(log, norm.load_state_dict, state)
    del state._metadata
    raised(log, lambda: repr(norm.load_state_dict(state)))


@same
def one_module_alone_is_loaded_at_once(lib, log):
    m = lib.nn.Linear(1, 1)
    missing, unexpected, errors = [], [], []
    state = {"x.weight": lib.full((1, 1), 5.0), "x.bias": lib.ones(2), "x.no": lib.ones(1)}
    m._load_from_state_dict(state, "x.", {}, True, missing, unexpected, errors)
    return m.weight, missing, unexpected, [e.replace("dtorch", "torch") for e in errors]


@same
def load_hooks_that_return_something(lib, log):
    m = lib.nn.Linear(1, 1)
    m.register_load_state_dict_post_hook(lambda m, keys: keys)
    m.load_state_dict(m.state_dict())


@same
def state_dict_into_a_dict_of_ones_own(lib, log):
    m, own = net(lib), OrderedDict()
    m.state_dict(destination=own, prefix="p.")
    log.append((list(own), hasattr(own, "_metadata")))
    kept = m.state_dict(keep_vars=True)
    log.append([kept["a.weight"] is m.a.weight, kept["w"] is m.a.weight])
    return [v.requires_grad for v in m.state_dict(OrderedDict(), "q.").values()]


@same
def conversions(lib, log):
    m = net(lib)
    m(lib.ones(3, 2)).sum().backward()
    held = list(m.parameters())
    for change in (
        lambda m: m.double(), lambda m: m.to(lib.float16), lambda m: m.bfloat16(),
        lambda m: m.float(), lambda m: m.to("cpu", lib.float64), lambda m: m.half(),
        lambda m: m.to(lib.ones(1)), lambda m: m.type(lib.float64), lambda m: m.cpu(),
        lambda m: m.to_empty(device="cpu"),
    ):  # fmt: skip
        m = change(m)
        tensors = [*m.parameters(), *m.buffers(), m.a.weight.grad]
        log.append([str(t.dtype).split(".")[1] for t in tensors])
        log.append([a is b for a, b in zip(held, m.parameters())])
    for wrong in ((lib.int64,), ("cpu", lib.bool), ("nowhere",), (3.5,)):
        try:
            m.to(*wrong)
        except (TypeError, RuntimeError) as error:
            log.append(type(error).__name__)
    return m.w is m.a.weight


@same
def a_conversion_that_fails_changes_nothing(lib, log):
    m = lib.nn.Linear(1, 1)
    m(lib.ones(1)).backward()

    def failing(t):
        raise ValueError("no")

    raised(log, m._apply, failing)
    return m.weight.grad, m.bias.grad


@same
def copies(lib, log):
    m = net(lib)
    m.w.data.fill_(3)
    stream = io.BytesIO()
    lib.save(m.state_dict(), stream)
    stream.seek(0)
    fresh = net(lib)
    fresh.load_state_dict(lib.load(stream))
    for each in (copy.deepcopy(m), pickle.loads(pickle.dumps(m)), fresh):  # noqa: S301
        log.append((each.w, each.w is each.a.weight, each.c is each.a, each is m))
        log.append(list(each.state_dict()))
    shallow = copy.copy(m)
    return shallow.w is m.w, shallow._parameters is m._parameters


@same
def a_pickle_of_an_older_version(lib, log):
    m = lib.nn.Linear(1, 1)
    new = ("_with_kwargs", "_always_called", "_pre_hooks", "dict_post_hooks", "_set", "_hook")
    state = {k: v for k, v in m.__dict__.items() if not k.endswith(new)}
    old = lib.nn.Linear.__new__(lib.nn.Linear)
    old.__setstate__(state)
    old.register_forward_hook(lambda m, args, out: log.append("called"))
    old(lib.ones(1))
    return sorted(old._non_persistent_buffers_set), old._is_full_backward_hook


@same
def assigning_to_attributes(lib, log):
    m = net(lib)
    raised(log, setattr, m, "w", lib.ones(1))
    raised(log, setattr, m, "kept", 1)
    raised(log, setattr, m, "a", lib.ones(1))
    m.kept = lib.nn.Parameter(lib.ones(1))
    m.a = None
    m.w = None
    m.scratch = lib.ones(3)
    log.append([n for n, _ in m.named_parameters()])
    log.append([list(m._buffers), sorted(m._non_persistent_buffers_set), list(m._modules)])
    del m.scratch, m.kept, m.b
    raised(log, delattr, m, "kept")
    raised(log, getattr, m, "kept")
    log.append([list(m._buffers), sorted(m._non_persistent_buffers_set), list(m._modules)])
    for register in (m.register_buffer, m.register_parameter, m.add_module):
        for name in (1, "", "a.b", "forward"):
            try:
                register(name, None)
            except (TypeError, KeyError) as error:
                log.append(type(error).__name__)
        raised(log, register, "x", "text")
    raised(log, m.register_parameter, "y", lib.nn.Parameter(lib.ones(1)) * 2)


@same
def before_init(lib, log):
    class Early(lib.nn.Module):
        def __init__(self, value):
            self.x = value

    for value in (lib.nn.Parameter(lib.ones(1)), lib.nn.Identity(), lib.nn.Buffer(lib.ones(1)), 1):
        raised(log, lambda v=value: type(Early(v)).__name__)


@same
def training_and_gradients(lib, log):
    m = net(lib)
    log.append([c.training for c in m.eval().modules()])
    raised(log, m.train, 1)
    m.train().requires_grad_(False)
    log.append([p.requires_grad for p in m.parameters()])
    m.requires_grad_()
    m(lib.ones(3, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    log.append([p.grad for p in m.parameters()])
    m.zero_grad()
    return [p.grad is None for p in m.parameters()]


@same
def text(lib, log):
    class Named(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = lib.nn.ModuleList([lib.nn.Linear(1, 2), lib.nn.Linear(1, 2)])

        def extra_repr(self):
            return "first=1\nsecond=2"

    log.append(repr(Named()))
    log.append(repr(lib.nn.Sequential(Named(), lib.nn.Sequential(), lib.nn.ReLU())))
    raised(log, lib.nn.Module(), 1)
    return repr(lib.nn.Module()), lib.nn.Module()._get_name()
