"""Hooks of modules: each program is run with torch too and must log and return the same."""

import copy
import pickle
import warnings

import pytest

import dtorch
from tests.both import assert_same, leaf

PROGRAMS = []


def same(program):
    PROGRAMS.append(pytest.param(program, id=program.__name__))
    return program


@pytest.mark.parametrize("program", PROGRAMS)
def test_as_torch(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(program, 60)


def doubling(lib):
    class Doubling(lib.nn.Module):
        def forward(self, x, *, plus=0, fail=False):
            if fail:
                raise ValueError("failed")
            return x * 2 + plus

    return Doubling()


@same
def the_tables_hold_the_functions(lib, log):
    m = doubling(lib)

    def hook(*args):
        pass

    handles = [
        m.register_forward_hook(hook, with_kwargs=True, always_call=True),
        m.register_forward_pre_hook(hook, with_kwargs=True),
        m.register_full_backward_hook(hook),
        m.register_full_backward_pre_hook(hook),
        m.register_state_dict_pre_hook(hook),
        m.register_load_state_dict_post_hook(hook),
        m._register_state_dict_hook(hook),
    ]
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
             "_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_hooks")  # fmt: skip
    notes = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called",
             "_forward_pre_hooks_with_kwargs")  # fmt: skip
    for name, handle in zip(names, handles):
        log.append((name, getattr(m, name)[handle.id] is hook))
    log.append([list(getattr(m, name).values()) for name in notes])
    log.append(m._is_full_backward_hook)
    for handle in handles:
        handle.remove()
    return [len(getattr(m, name)) for name in (*names, *notes)]


@same
def the_order_of_forward_hooks(lib, log):
    m = doubling(lib)
    for i in range(3):
        m.register_forward_pre_hook(lambda m, args, i=i: log.append(("pre", i)), prepend=i == 2)
        m.register_forward_hook(lambda m, args, out, i=i: log.append((i, out)), prepend=i == 2)
    module = lib.nn.modules.module
    handles = [
        module.register_module_forward_pre_hook(lambda m, args: log.append("global pre")),
        module.register_module_forward_hook(lambda m, args, out: log.append("global")),
        module.register_module_forward_hook(
            lambda m, args, kwargs, out: log.append(kwargs), with_kwargs=True
        ),
    ]
    try:
        m(leaf(lib), plus=1)
    finally:
        for handle in handles:
            handle.remove()
    return m(leaf(lib))


@same
def hooks_change_arguments_and_output(lib, log):
    m = doubling(lib)
    m.register_forward_pre_hook(lambda m, args: args[0] + 1)
    m.register_forward_pre_hook(lambda m, args, kw: (args, {"plus": 10}), with_kwargs=True)
    m.register_forward_hook(lambda m, args, out: out * 100)
    m.register_forward_hook(lambda m, args, kw, out: out + kw["plus"], with_kwargs=True)
    return m(leaf(lib))


@same
def a_pre_hook_with_kwargs_returns_both(lib, log):
    m = doubling(lib)
    m.register_forward_pre_hook(lambda m, args, kw: args, with_kwargs=True)
    return m(leaf(lib))


@same
def always_called_hooks_of_a_failing_forward(lib, log):
    m = doubling(lib)
    m.register_forward_hook(lambda m, args, out: log.append("not called"))
    m.register_forward_hook(
        lambda m, args, kw, out: log.append((kw, out)), with_kwargs=True, always_call=True
    )
    return m(leaf(lib), fail=True)


@same
def always_called_hooks_of_a_failing_hook(lib, log):
    m = doubling(lib)

    def failing(m, args, out):
        log.append("failing")
        raise RuntimeError("of the hook")

    m.register_forward_hook(lambda m, args, out: log.append(1), always_call=True)
    m.register_forward_hook(failing, always_call=True)
    m.register_forward_hook(lambda m, args, out: log.append((2, out)), always_call=True)
    return m(leaf(lib))


@same
def always_called_hooks_that_fail_too(lib, log):
    m = doubling(lib)

    def failing(m, args, out):
        raise RuntimeError("of the hook")

    m.register_forward_hook(failing, always_call=True)
    m.register_forward_hook(lambda m, args, out: log.append(out), always_call=True)
    return m(leaf(lib), fail=True)


@same
def a_hook_that_removes_itself(lib, log):
    m = doubling(lib)
    handle = m.register_forward_hook(lambda m, args, out: (log.append(1), handle.remove())[1])
    m.register_forward_hook(lambda m, args, out: log.append(2))
    m(leaf(lib))
    m(leaf(lib))


@same
def backward_hooks(lib, log):
    m, x = doubling(lib), leaf(lib)
    module = lib.nn.modules.module
    m.register_full_backward_hook(lambda m, gi, go: log.append(("own", gi, go)))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,), prepend=True)
    m.register_full_backward_pre_hook(lambda m, go: (go[0] + 1,))
    m.register_full_backward_pre_hook(lambda m, go: log.append(("pre", go)))
    handles = [
        module.register_module_full_backward_hook(lambda m, gi, go: log.append(("global", gi))),
        module.register_module_full_backward_pre_hook(lambda m, go: log.append(("all", go))),
    ]
    try:
        m(x).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    return x.grad


@same
def backward_hooks_where_some_inputs_are_not_differentiable(lib, log):
    m, x = lib.nn.Bilinear(2, 2, 1).double(), leaf(lib)
    for p in m.parameters():
        p.data.fill_(0.5)
    m.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    m(x, lib.ones(2, dtype=lib.float64)).sum().backward()
    return x.grad


@same
def backward_hook_that_wants_a_gradient_where_there_is_none(lib, log):
    m = lib.nn.Linear(2, 1)
    m.register_full_backward_hook(lambda m, gi, go: (lib.ones(2),))
    m(lib.ones(2)).sum().backward()


@same
def backward_hook_with_too_many_gradients(lib, log):
    m = doubling(lib)
    m.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    m(leaf(lib)).sum().backward()


@same
def full_and_other_backward_hooks_do_not_mix(lib, log):
    m = doubling(lib)
    m.register_full_backward_hook(lambda m, gi, go: None)
    m.register_backward_hook(lambda m, gi, go: None)


@same
def the_deprecated_backward_hook_sees_the_last_node(lib, log):
    m, x = doubling(lib), leaf(lib)
    m.register_backward_hook(lambda m, gi, go: log.append((type(m).__name__, gi, go)))
    m.register_backward_hook(lambda m, gi, go: (gi[0] * 5, *gi[1:]))
    log.append(m._is_full_backward_hook)
    m(x).sum().backward()
    return x.grad


@same
def an_output_that_is_no_tensor(lib, log):
    class Listed(lib.nn.Module):
        def forward(self, x):
            return [x * 2]

    m, x = Listed(), leaf(lib)
    m.register_full_backward_hook(lambda m, gi, go: log.append("never"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        m(x)[0].sum().backward()
    log.append([str(w.message)[:60] for w in seen])
    return x.grad


@same
def hooks_on_registration(lib, log):
    module = lib.nn.modules.module
    handles = [
        module.register_module_parameter_registration_hook(
            lambda m, name, p: log.append(("parameter", name))
        ),
        module.register_module_buffer_registration_hook(
            lambda m, name, b: log.append(("buffer", name)) or b + 1
        ),
        module.register_module_module_registration_hook(
            lambda m, name, c: log.append(("module", name))
        ),
    ]
    try:
        m = lib.nn.Module()
        m.weight = lib.nn.Parameter(lib.zeros(1))
        m.weight = None
        m.register_parameter("other", None)
        m.register_buffer("mean", lib.zeros(1))
        m.mean = lib.ones(1)
        m.child = lib.nn.Identity()
        m.child = None
        m.add_module("last", lib.nn.Identity())
    finally:
        for handle in handles:
            handle.remove()
    return m.mean


@same
def arguments_of_module(lib, log):
    class Base:
        def __init__(self, size):
            self.size = size

    class Both(lib.nn.Module, Base):
        call_super_init = True

    log.append(Both(3).size)
    for args, kwargs in (((1,), {}), ((), {"size": 1})):
        try:
            lib.nn.Module(*args, **kwargs)
        except TypeError as error:
            log.append(str(error))


@same
def state_hooks_of_a_copy_are_given_the_copy(lib, log):
    m = lib.nn.Linear(1, 1)
    m.register_load_state_dict_pre_hook(note_the_bias)
    m.bias.data.fill_(3)
    twin = copy.deepcopy(m)
    twin.bias.data.fill_(4)
    again = pickle.loads(pickle.dumps(twin))  # noqa: S301
    SEEN.clear()
    for each in (m, twin, again):
        each.load_state_dict(m.state_dict())
    log.extend(SEEN)


SEEN = []


def note_the_bias(module, state, prefix, metadata, strict, missing, unexpected, errors):
    SEEN.append((module.bias.item(), prefix, strict, missing, unexpected, errors))


@same
def a_load_hook_without_the_module(lib, log):
    m = lib.nn.Linear(1, 1)
    m._register_load_state_dict_pre_hook(lambda state, prefix, *rest: log.append(len(rest)))
    m._register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: log.append(module is m), with_module=True
    )
    for hook in m._load_state_dict_pre_hooks.values():  # as overrides of the loading method do
        hook({}, "", {}, True, [], [], [])
    m.load_state_dict(m.state_dict())


def test_the_handle_has_torchs_name():
    from dtorch.utils.hooks import RemovableHandle

    handle = dtorch.nn.Identity().register_forward_hook(lambda *args: None)
    assert isinstance(handle, RemovableHandle)


def test_a_module_without_hooks_is_called_directly():
    calls = []

    class Noted(dtorch.nn.Module):
        def forward(self, *args, **kwargs):
            calls.append((args, kwargs))

    Noted()(1, a=2)
    assert calls == [((1,), {"a": 2})]
