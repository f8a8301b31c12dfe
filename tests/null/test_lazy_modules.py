"""Lazy modules and tensors without a shape: each program is run with torch too."""

import copy
import pickle
import warnings

import pytest

from tests.both import assert_same

LAZY = [
    ("LazyLinear", (3,), (2, 5)),
    *((f"LazyConv{n}d", (4, 3), (2, 6, *[5] * n)) for n in (1, 2, 3)),
    *((f"LazyConvTranspose{n}d", (4, 3), (2, 6, *[5] * n)) for n in (1, 2, 3)),
    *((f"LazyBatchNorm{n}d", (), (2, 6, *[5] * n)) for n in (1, 2, 3)),
    *((f"LazyInstanceNorm{n}d", (), (2, 6, *[5] * n)) for n in (1, 2, 3)),
]


def shapes(module):
    return {k: list(v.shape) for k, v in module.state_dict().items()}


@pytest.mark.parametrize(("name", "args", "shape"), LAZY, ids=[case[0] for case in LAZY])
def test_a_first_input_gives_the_shapes(name, args, shape):
    def program(lib, log):
        m = getattr(lib.nn, name)(*args)
        log.append((list(m.state_dict()), repr(m), m.has_uninitialized_params()))
        held = list(m.parameters())
        m = m.double()
        m(lib.ones(*shape, dtype=lib.float64))
        log.append((type(m).__name__, repr(m), shapes(m), len(m._forward_pre_hooks)))
        log.append([type(p).__name__ for p in m.parameters()])
        log.append([a is b for a, b in zip(held, m.parameters())])
        return [str(t.dtype)[-7:] for t in m.state_dict().values()]

    assert_same(program)


@pytest.mark.parametrize(("name", "args", "shape"), LAZY, ids=[case[0] for case in LAZY])
def test_states_copies_and_pickles(name, args, shape):
    def program(lib, log):
        def make():
            return getattr(lib.nn, name)(*args)

        known = make()
        known(lib.ones(*shape))
        copied = make() if "Norm" in name else copy.deepcopy(make())  # torch can't copy the buffers
        for fresh in (make(), copied, pickle.loads(pickle.dumps(make()))):  # noqa: S301
            fresh.load_state_dict(make().state_dict())
            log.append(fresh.has_uninitialized_params())
            log.append(repr(fresh.load_state_dict(known.state_dict())))
            log.append((type(fresh).__name__, shapes(fresh)))
            out = fresh(lib.ones(*shape))
            log.append((type(fresh).__name__, list(out.shape), repr(fresh)))
        known.load_state_dict(make().state_dict())

    assert_same(program)


REFUSED = {
    "shape": lambda lib, p: p.shape,
    "add": lambda lib, p: p + 1,
    "other operand": lambda lib, p: lib.ones(2) * p,
    "method": lambda lib, p: p.sum(),
    "function": lambda lib, p: lib.add(p, 1),
    "nn.functional": lambda lib, p: lib.nn.functional.relu(p),
    "in place": lambda lib, p: p.zero_(),
    "detach": lambda lib, p: p.detach(),
    "numel": lambda lib, p: p.numel(),
    "len": lambda lib, p: len(p),
    "index": lambda lib, p: p[0],
    "share_memory_": lambda lib, p: p.share_memory_(),
    "requires_grad_": lambda lib, p: p.requires_grad_(False),
}
ALLOWED = {
    "to": lambda lib, p: type(p.to(lib.float64)).__name__,
    "half": lambda lib, p: str(p.half().dtype)[-7:],
    "device": lambda lib, p: str(p.device),
    "floating": lambda lib, p: p.is_floating_point(),
    "repr": lambda lib, p: repr(p),
    "materialize": lambda lib, p: (p.materialize((2, 3)), type(p).__name__, list(p.shape))[1:],
    "materialize as": lambda lib, p: (p.materialize((2,), dtype=lib.float64), str(p.dtype)[-7:])[1],
    "copy": lambda lib, p: repr(copy.deepcopy(p)),
    "pickle": lambda lib, p: repr(pickle.loads(pickle.dumps(p))),  # noqa: S301
}


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        (kind, use)
        for kind in ("UninitializedParameter", "UninitializedBuffer")
        for use in (*REFUSED, *ALLOWED)
        if (kind, use) != ("UninitializedBuffer", "copy")  # torch can't
    ],
)
def test_a_tensor_without_a_shape(kind, use):
    def program(lib, log):
        p = getattr(lib.nn, kind)()
        log.append((p.requires_grad, lib.nn.parameter.is_lazy(p)))
        return {**REFUSED, **ALLOWED}[use](lib, p)

    assert_same(program, 32)


def of_one_own(lib):
    class Scale(lib.nn.modules.lazy.LazyModuleMixin, lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = lib.nn.UninitializedParameter()
            self.mean = lib.nn.UninitializedBuffer()

        def initialize_parameters(self, x, *, buffer=True):
            self.scale.materialize(x.shape[-1:])
            self.scale.data.fill_(2)
            if buffer:
                self.mean.materialize(x.shape[-1:])

        def forward(self, x, *, buffer=True):
            return x * self.scale

    return Scale()


@pytest.mark.parametrize("buffer", [True, False])
def test_a_lazy_module_of_ones_own(buffer):
    def program(lib, log):
        m = of_one_own(lib)
        log.append(sorted(m.state_dict()))
        log.append(m(lib.ones(2, 3), buffer=buffer))
        return type(m).__name__

    assert_same(program)


WRONG = {
    "conv of another rank": ("LazyConv2d", (3, 2), (5,)),
    "channels that do not divide": ("LazyConv1d", (4, 2, 1, 0, 1, 4), (1, 6, 5)),
    "no dimension": ("LazyLinear", (3,), ()),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_first_input_leaves_the_module_lazy(case):
    name, args, shape = WRONG[case]

    def program(lib, log):
        m = getattr(lib.nn, name)(*args)
        try:
            m(lib.ones(shape))
        finally:
            log.append((repr(m), m.has_uninitialized_params()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case == "channels that do not divide":  # torch's module says in_channels=6 from now on
            from dtorch import nn, ones

            m = getattr(nn, name)(*args)
            with pytest.raises(ValueError, match="divisible by groups"):
                m(ones(*shape))
            assert m.in_channels == 0
            assert m.has_uninitialized_params()
        else:
            assert_same(program)
