"""dtorch.func does what torch.func does: numbers, shapes, nesting, history, and errors."""

from __future__ import annotations

from typing import Any

import pytest

import dtorch
from dtorch import func, nn
from tests.both import assert_same

# torch's forward mode warns of what it does within
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Attempted to insert")


def x3(lib: Any) -> Any:
    return lib.tensor([0.5, 1.0, 2.0], dtype=lib.float64)


def x23(lib: Any) -> Any:
    return lib.tensor([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]], dtype=lib.float64)


def cube(x: Any) -> Any:
    return (x**3).sum()


# ---- derivatives -----------------------------------------------------------------------------

DERIVATIVES: dict[str, Any] = {
    "grad": lambda f, lib, x: f.grad(cube)(x),
    "grad of some": lambda f, lib, x: f.grad(lambda a, b: (a * b).sum(), (1, 0))(x, x + 1),
    "grad of the last": lambda f, lib, x: f.grad(lambda a, b: (a * b).sum(), -1)(x, x + 1),
    "grad of a nest": lambda f, lib, x: f.grad(lambda d: (d["a"] * d["b"][0]).sum())(
        {"a": x, "b": [x + 1]}
    ),
    "grad of what is not used": lambda f, lib, x: f.grad(lambda a, b: b.sum())(x, x),
    "grad with aux": lambda f, lib, x: f.grad(lambda a: (cube(a), {"b": a * 2}), has_aux=True)(x),
    "grad and value": lambda f, lib, x: f.grad_and_value(cube)(x),
    "grad and value with aux": lambda f, lib, x: f.grad_and_value(
        lambda a: (cube(a), (a,)), has_aux=True
    )(x),
    "vjp": lambda f, lib, x: f.vjp(lambda a, b: (a * b, a.sum()), x, x + 1)[1](
        (x, lib.ones((), dtype=x.dtype))
    ),
    "vjp of dicts": lambda f, lib, x: f.vjp(lambda a: {"b": a * a}, x)[1]({"b": x}),
    "jvp": lambda f, lib, x: f.jvp(lambda a, b: (a * b.exp(), a.sum()), (x, x), (x, x + 1)),
    "jvp with aux": lambda f, lib, x: f.jvp(lambda a: (a * a, a), (x,), (x,), has_aux=True),
    "jvp of a constant": lambda f, lib, x: f.jvp(lambda a: lib.ones(2), (x,), (x,)),
    "linearize": lambda f, lib, x: [
        f.linearize(lambda a: a.sin() * a, x)[1](v) for v in (x, x * 2)
    ],
    "jacrev": lambda f, lib, x: f.jacrev(lambda a: {"b": a * a, "c": (a.sum(),)})(x),
    "jacrev of two": lambda f, lib, x: f.jacrev(lambda a, b: a * b.sum(), (0, 1))(x, x + 1),
    "jacfwd": lambda f, lib, x: f.jacfwd(lambda a: {"b": a * a, "c": (a.sum(),)})(x),
    "jacfwd of two": lambda f, lib, x: f.jacfwd(lambda a, b: a * b.sum(), (0, 1))(x, x + 1),
    "jacfwd with aux": lambda f, lib, x: f.jacfwd(lambda a: (a * a, a), has_aux=True)(x),
    "hessian": lambda f, lib, x: f.hessian(cube)(x),
    "hessian of two": lambda f, lib, x: f.hessian(lambda a, b: (a**2 * b).sum(), (0, 1))(x, x),
    "complex vjp": lambda f, lib, x: f.vjp(lambda a: a * a * 1j, x + 1j * x)[1](x - 2j * x),
    "complex jvp": lambda f, lib, x: f.jvp(
        lambda a: a * a.conj() * 1j, (x + 1j * x,), (x - 2j * x,)
    ),
}

NESTED: dict[str, Any] = {
    "grad of grad": lambda f, lib, x: f.grad(lambda a: f.grad(cube)(a).sum())(x),
    "third derivative": lambda f, lib, x: f.grad(
        lambda a: f.grad(lambda b: f.grad(cube)(b).sum())(a).sum()
    )(x),
    "perturbations are not confused": lambda f, lib, x: f.grad(
        lambda a: (a * f.grad(lambda b: (a * b).sum())(a)).sum()
    )(x),
    "jacrev of jacfwd": lambda f, lib, x: f.jacrev(f.jacfwd(lambda a: a.sin() * a))(x),
    "jacfwd of jacrev": lambda f, lib, x: f.jacfwd(f.jacrev(lambda a: a.sin() * a))(x),
    "jacfwd of jacfwd": lambda f, lib, x: f.jacfwd(f.jacfwd(lambda a: a.sin() * a))(x),
    "jvp of grad": lambda f, lib, x: f.jvp(f.grad(cube), (x,), (x + 1,)),
    "grad of jvp": lambda f, lib, x: f.grad(
        lambda a: f.jvp(lambda b: b.sin() * b, (a,), (a,))[1].sum()
    )(x),
    "jvp of jvp": lambda f, lib, x: f.jvp(
        lambda a: f.jvp(lambda b: b**3, (a,), (a * 2,))[1], (x,), (x,)
    ),
    "vjp of vjp": lambda f, lib, x: f.vjp(lambda a: f.vjp(lambda b: b**3, a)[1](a)[0], x)[1](x),
    "vmap of grad": lambda f, lib, x: f.vmap(f.grad(cube))(x23(lib)),
    "vmap of jacrev": lambda f, lib, x: f.vmap(f.jacrev(lambda a: a * a.sum()))(x23(lib)),
    "grad of vmap": lambda f, lib, x: f.grad(lambda a: f.vmap(cube)(a).prod())(x23(lib)),
    "jacfwd of vmap": lambda f, lib, x: f.jacfwd(f.vmap(lambda a: a.sum() ** 2))(x23(lib)),
    "gradients of each sample": lambda f, lib, x: f.vmap(
        f.grad(lambda w, a: ((w * a).sum() - 1) ** 2), in_dims=(None, 0)
    )(x, x23(lib)),
    "products through vmap": lambda f, lib, x: f.vmap(f.vjp(lambda a: a.exp() * a, x)[1])(x23(lib)),
}


@pytest.mark.parametrize("name", DERIVATIVES | NESTED)
def test_derivatives_are_torchs(name: str) -> None:
    assert_same(lambda lib, log: (DERIVATIVES | NESTED)[name](lib.func, lib, x3(lib)))


def history(lib: Any, log: list[Any]) -> Any:
    f, x = lib.func, x3(lib)
    w = x3(lib).requires_grad_()
    log.append(f.grad(cube)(x).requires_grad)
    log.append(f.grad(lambda a: (a * a * w).sum())(x).requires_grad)
    value = f.grad_and_value(lambda a: (a * a * w).sum())(x)[1]
    log.append(lib.autograd.grad(value, w))
    log.append(lib.autograd.grad(f.grad(cube)(w).sum(), w))
    log.append(lib.autograd.grad(f.jvp(lambda a: a**3, (w,), (x,))[1].sum(), w))
    log.append(lib.autograd.grad(f.vjp(lambda a: a**3, x)[1](w)[0].sum(), w))
    log.append(f.jacrev(lambda a: a * 2)(x).requires_grad)
    log.append(f.hessian(cube)(x).requires_grad)
    with lib.no_grad():
        log.append(f.grad(cube)(w))
        log.append(f.grad(cube)(w).requires_grad)
    with lib.no_grad():
        log.append(f.grad(lambda a: (a * f.grad(cube)(a)).sum())(x))


def test_results_have_a_history_where_torchs_have_one() -> None:
    assert_same(history)


# ---- vmap ------------------------------------------------------------------------------------

MAPS: dict[str, Any] = {
    "rows": lambda v, lib, x: v(lambda a: a.sum())(x),
    "columns": lambda v, lib, x: v(lambda a: a.sum(), in_dims=1)(x),
    "from the end": lambda v, lib, x: v(lambda a: a * 2, -1, -1)(x),
    "a nest": lambda v, lib, x: v(lambda d, k: d["a"][0] * k, ({"a": 1}, None))({"a": [x]}, 3),
    "two results": lambda v, lib, x: v(lambda a: (a, a.sum()), out_dims=(1, 0))(x),
    "a nest of results": lambda v, lib, x: v(lambda a: {"b": a, "c": [a]}, out_dims=1)(x),
    "a result that is the same in all": lambda v, lib, x: v(lambda a: lib.ones(2), out_dims=None)(
        x
    ),
    "a constant": lambda v, lib, x: v(lambda a: lib.ones(2))(x),
    "keywords": lambda v, lib, x: v(lambda a, b=None: a + b)(x, b=x),
    "no sample": lambda v, lib, x: v(lambda a: a * 2)(x[:0]).shape == (0, 3),
    "maps of maps": lambda v, lib, x: v(v(lambda a: a * 2))(x),
    "an outer product": lambda v, lib, x: v(v(lambda a, b: a * b, (None, 0)), (0, None))(
        x[0], x[1]
    ),
    "a write": lambda v, lib, x: v(lambda a: a.add_(1))(x),
    "chunks": lambda v, lib, x: v(lambda a: a * 2, chunk_size=3)(x),
    # errors
    "nothing to map": lambda v, lib, x: v(lambda a: a, in_dims=None)(x),
    "a list of dims": lambda v, lib, x: v(lambda a: a, in_dims=[0])(x),
    "too few dims": lambda v, lib, x: v(lambda a, b: a, in_dims=(0,))(x, x),
    "other keys": lambda v, lib, x: v(lambda a: a, in_dims=({"b": 0},))({"a": x}),
    "a dim of 0.5": lambda v, lib, x: v(lambda a: a, in_dims=(0.5,))(x),
    "no argument": lambda v, lib, x: v(lambda: 1)(),
    "sizes that differ": lambda v, lib, x: v(lambda a, b: a)(x, x[:1]),
    "no such dim": lambda v, lib, x: v(lambda a: a, in_dims=2)(x),
    "a number": lambda v, lib, x: v(lambda a: a)(1),
    "no such result dim": lambda v, lib, x: v(lambda a: a, out_dims=2)(x),
    "too many result dims": lambda v, lib, x: v(lambda a: a, out_dims=(0, 1))(x),
    "a sample where one for all is asked": lambda v, lib, x: v(lambda a: a, out_dims=None)(x),
    "a result that is no tensor": lambda v, lib, x: v(lambda a: None)(x),
    "random numbers": lambda v, lib, x: v(lambda a: a + lib.rand(3))(x),
    "unknown randomness": lambda v, lib, x: v(lambda a: a, randomness="some")(x),
    "a chunk of none": lambda v, lib, x: v(lambda a: a, chunk_size=0)(x),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_torchs(name: str) -> None:
    assert_same(lambda lib, log: MAPS[name](lib.vmap, lib, x23(lib)), letters=60)


def test_randomness() -> None:
    x = dtorch.zeros(4, 2)
    same = func.vmap(lambda a: a + dtorch.rand(2), randomness="same")(x)
    different = func.vmap(lambda a: a + dtorch.rand(2), randomness="different")(x)
    assert (same == same[0]).all()
    assert not (different == different[0]).all()


# ---- errors of derivatives -------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "not a scalar": lambda f, lib, x: f.grad(lambda a: a * 2)(x),
    "not a tensor": lambda f, lib, x: f.grad(lambda a: 1.0)(x),
    "no aux": lambda f, lib, x: f.grad(cube, has_aux=True)(x),
    "aux of numbers": lambda f, lib, x: f.grad(lambda a: (cube(a), 1), has_aux=True)(x),
    "a number": lambda f, lib, x: f.grad(cube)(1.0),
    "integers": lambda f, lib, x: f.grad(lambda a: a.sum())(lib.arange(3)),
    "no such argument": lambda f, lib, x: f.grad(cube, 1)(x),
    "argnums twice": lambda f, lib, x: f.grad(cube, (0, 0))(x),
    "no argnums": lambda f, lib, x: f.grad(cube, ())(x),
    "argnums of letters": lambda f, lib, x: f.grad(cube, "a")(x),
    "cotangents in a tuple": lambda f, lib, x: f.vjp(lambda a: a, x)[1]((x,)),
    "too few cotangents": lambda f, lib, x: f.vjp(lambda a: (a, a), x)[1](x),
    "cotangents of another shape": lambda f, lib, x: f.vjp(lambda a: a * 1, x)[1](x[:1]),
    "vjp of a number": lambda f, lib, x: f.vjp(lambda a: 1.0, x),
    "primals that are no tuple": lambda f, lib, x: f.jvp(cube, x, x),
    "tangents nested otherwise": lambda f, lib, x: f.jvp(cube, (x,), ((x,),)),
    "tangents of another shape": lambda f, lib, x: f.jvp(cube, (x,), (x[:1],)),
    "jvp of a number": lambda f, lib, x: f.jvp(lambda a: 1, (x,), (x,)),
    "no primals": lambda f, lib, x: f.jvp(lambda: 1, (), ()),
    "a chunk of none": lambda f, lib, x: f.jacrev(cube, chunk_size=0)(x),
    "linearized at another shape": lambda f, lib, x: f.linearize(cube, x)[1](x[:1]),
    "linearized at another dtype": lambda f, lib, x: f.linearize(cube, x)[1](x.float()),
    "linearized at two": lambda f, lib, x: f.linearize(cube, x)[1](x, x),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_are_refused_as_in_torch(name: str) -> None:
    assert_same(lambda lib, log: WRONG[name](lib.func, lib, x3(lib)), letters=45)


# ---- modules ---------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = self.a
        self.register_buffer("calls", dtorch.zeros(()))

    def forward(self, x: Any) -> Any:
        self.calls = self.calls + 1
        return self.b(self.a(x))


def test_functional_call() -> None:
    m, x = Tied(), dtorch.ones(1, 2)
    own = m.a.weight
    eye = dtorch.eye(2)
    assert func.functional_call(m, {"a.weight": eye * 2}, x).tolist() == [[4.0, 4.0]]
    assert func.functional_call(m, ({"a.weight": eye}, {"calls": x}), (x,)).tolist() == [[1.0, 1.0]]
    once = func.functional_call(m, {"b.weight": eye * 3}, x, tie_weights=False)
    assert once.tolist() == [[9.0, 9.0]]  # one submodule under two names
    state = {"a.weight": eye, "calls": dtorch.zeros(())}
    func.functional_call(m, state, x)
    assert (state["calls"].item(), m.calls.item(), m.a.weight is own) == (1.0, 2.0, True)


@pytest.mark.parametrize(
    ("names", "strict", "words"),
    [
        ({"a.weight": 1, "b.weight": 2}, False, "multiple values for keys"),
        ({"a.weight": 1}, True, "Missing key.*calls"),
        ({"a.weight": 1, "calls": 1, "other": 1}, True, "Unexpected key.*other"),
    ],
)
def test_functional_call_checks_names(names: Any, strict: bool, words: str) -> None:
    tensors = {name: dtorch.eye(2) * k for name, k in names.items()}
    with pytest.raises((RuntimeError, ValueError), match=words):
        func.functional_call(Tied(), tensors, dtorch.ones(1, 2), strict=strict)


def test_an_error_in_forward_leaves_the_module_its_own() -> None:
    m = nn.Linear(2, 2)
    own = m.weight
    with pytest.raises(RuntimeError):
        func.functional_call(m, {"weight": dtorch.ones(2, 2)}, dtorch.ones(3))
    assert m.weight is own


def test_an_ensemble_is_a_map_over_stacked_state() -> None:
    models = [nn.Linear(3, 2) for _ in range(4)]
    params, buffers = func.stack_module_state(models)
    x = dtorch.ones(5, 3)
    out = func.vmap(lambda p, b: func.functional_call(models[0], (p, b), x))(params, buffers)
    assert out.shape == (4, 5, 2)
    assert dtorch.allclose(out[2], models[2](x))
    out.sum().backward()
    assert params["weight"].grad.shape == (4, 2, 3)
    for wrong in ([], [nn.Linear(1, 1), nn.ReLU()], [nn.Linear(1, 1), nn.Linear(1, 1).eval()]):
        with pytest.raises(RuntimeError, match="stack_module_state"):
            func.stack_module_state(wrong)


def test_batch_norms_can_do_without_running_statistics() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert func.replace_all_batch_norm_modules_(net) is net
    assert net[1].running_mean is None
    assert net(dtorch.randn(4, 2)).shape == (4, 3)


# ---- rearrange -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "lengths"),
    [
        ("a b c -> c a b", {}),
        ("a b c -> (a b) c", {}),
        ("a (b d) c -> d a (c b)", {"d": 2}),
        ("a b c -> a 1 (b c) ()", {}),
        ("... c -> c ...", {}),
        ("a ... -> (...) a", {}),
    ],
)
def test_rearrange(pattern: str, lengths: dict[str, int]) -> None:
    def program(lib: Any, log: list[Any]) -> Any:
        got = lib.func.rearrange(lib.arange(24.0).reshape(2, 4, 3), pattern, **lengths)
        return tuple(got.shape), got

    assert_same(program)


@pytest.mark.parametrize(
    ("pattern", "lengths", "words"),
    [
        ("a b c -> a b", {}, "only on one side"),
        ("a b -> a b", {}, "Number of dimensions"),
        ("a b a -> a b", {}, "twice"),
        ("a (b d) c -> a b c d", {}, "must be given"),
        ("a (b d) c -> a b c d", {"d": 3}, "can't be split"),
        ("a b c d -> a b c d", {}, "Number of dimensions"),
        ("a b c", {}, "left -> right"),
        ("a b c -> a, b c", {}, "no list of names"),
        ("a b c -> a b c", {"d": 3}, "not in the pattern"),
    ],
)
def test_patterns_that_are_none(pattern: str, lengths: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        func.rearrange(dtorch.zeros(2, 4, 3), pattern, **lengths)


# ---- forward_ad ------------------------------------------------------------------------------


def dual_program(lib: Any, log: list[Any]) -> Any:
    fw = lib.autograd.forward_ad
    x, v = x3(lib), x3(lib) + 1
    with lib.no_grad(), fw.dual_level():
        d = fw.make_dual(x, v)
        log.append(fw.unpack_dual((d.exp() * d).sum()))
        log.append(fw.unpack_dual(d))
        log.append(fw.unpack_dual(x))
        log.append(fw.unpack_dual(d.detach()))
        y = d * 1
        y[:2].mul_(d[1:])
        log.append(fw.unpack_dual(y))
        both = fw.unpack_dual(fw.make_dual(x, x) * d)
        log.append((both, [t.requires_grad for t in both]))
    log.append(fw.unpack_dual(d).tangent)
    w = x3(lib).requires_grad_()
    with fw.dual_level():
        primal, tangent = fw.unpack_dual(fw.make_dual(w, v) ** 3)
        log.append(lib.autograd.grad(tangent.sum() + primal.sum(), w))


DUALS_REFUSED: dict[str, Any] = {
    "no level": lambda fw, lib, x: (fw.exit_dual_level(), fw.make_dual(x, x)),
    "a level in a level": lambda fw, lib, x: fw.enter_dual_level(),
    "another shape": lambda fw, lib, x: fw.make_dual(x, x[:1]),
    "integers": lambda fw, lib, x: fw.make_dual(lib.arange(3), x),
    "a tangent with a tangent": lambda fw, lib, x: fw.make_dual(x, fw.make_dual(x, x)),
    "a dual of a dual": lambda fw, lib, x: fw.make_dual(fw.make_dual(x, x), x),
}


def test_duals_are_torchs() -> None:
    assert_same(dual_program)


@pytest.mark.parametrize("name", DUALS_REFUSED)
def test_wrong_duals_are_refused_as_in_torch(name: str) -> None:
    def program(lib: Any, log: list[Any]) -> Any:
        fw = lib.autograd.forward_ad
        fw.enter_dual_level()
        try:
            DUALS_REFUSED[name](fw, lib, x3(lib))
        finally:
            if name != "no level":
                fw.exit_dual_level()

    assert_same(program)
