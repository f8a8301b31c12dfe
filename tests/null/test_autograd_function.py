"""Functions of the user's own: everything a Function may do or get wrong, as in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtorch
from tests.both import assert_same, leaf


def make(lib: Any, forward: Any, backward: Any = None, **more: Any) -> Any:
    """A Function of these static methods."""
    methods = {"forward": forward, "backward": backward, **more}
    table = {name: staticmethod(f) for name, f in methods.items() if f is not None}
    return type("Mine", (lib.autograd.Function,), table)


def double(ctx: Any, x: Any) -> Any:
    return x * 2


def saving(ctx: Any, x: Any) -> Any:
    ctx.save_for_backward(x)
    return x**3


def cubes(ctx: Any, g: Any) -> Any:
    (x,) = ctx.saved_tensors
    return 3 * x * x * g


def doing(action: Callable[[Any, Any], Any]) -> Any:
    """A forward that does something with ctx and its argument, and returns twice the argument."""

    def forward(ctx: Any, x: Any) -> Any:
        action(ctx, x)
        return x * 2

    return forward


def run(lib: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
    """The gradient of the sum of the first output of f(x, *args)."""
    x = leaf(lib)
    out = f.apply(x, *args, **kwargs)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    return x.grad


def in_place(ctx: Any, x: Any) -> Any:
    x.mul_(2)
    ctx.mark_dirty(x)
    return x


def with_index(ctx: Any, x: Any) -> Any:
    y, positive = x * 2, x > 1
    ctx.mark_non_differentiable(positive)
    return y, positive


def materialize(on: bool) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.set_materialize_grads(on)
        return x * 2, x * 3

    return forward


def once(lib: Any) -> Any:
    return lib.autograd.function.once_differentiable(cubes)


CASES: dict[str, Any] = {
    "second derivative": lambda lib, log: second(lib, make(lib, saving, cubes)),
    "only one derivative": lambda lib, log: second(lib, make(lib, saving, once(lib))),
    "vjp in place of backward": lambda lib, log: run(lib, make(lib, saving, vjp=cubes)),
    "vjp beside backward": lambda lib, log: run(lib, make(lib, saving, cubes, vjp=cubes)),
    "keywords": lambda lib, log: run(
        lib, make(lib, lambda ctx, x, k=1: x * k, lambda ctx, g: (g * 5, None)), k=3
    ),
    "defaults in setup_context": lambda lib, log: run(
        lib,
        make(
            lib,
            lambda x, k=2: x * k,
            lambda ctx, g: (g, None),
            setup_context=lambda ctx, inputs, output: log.append(len(inputs)),
        ),
    ),
    "needs_input_grad": lambda lib, log: run(
        lib,
        make(lib, lambda ctx, x, y, k: x * 2,
             lambda ctx, g: (log.append(ctx.needs_input_grad) or g, None, None)),
        lib.ones(2), 3,
    ),
    "an input as output": lambda lib, log: run(lib, make(lib, lambda ctx, x: x, lambda ctx, g: g * 5)),
    "a view as output": lambda lib, log: run(
        lib, make(lib, lambda ctx, x: x.view(2, 1), lambda ctx, g: g.view(2) * 5)
    ),
    "outputs that are no tensors": lambda lib, log: run(
        lib, make(lib, lambda ctx, x: (x * 2, 1, "s"), lambda ctx, *gs: log.append(gs[1:]) or gs[0])
    ),
    "an output without gradient": lambda lib, log: run(
        lib, make(lib, with_index, lambda ctx, g, h: log.append(h) or g * 2)
    ),
    "zeros for None": lambda lib, log: run(
        lib, make(lib, materialize(True), lambda ctx, g, h: log.append(h) or g)
    ),
    "None for None": lambda lib, log: run(
        lib, make(lib, materialize(False), lambda ctx, g, h: log.append(h) or g)
    ),
    "in place": lambda lib, log: written(lib, lambda h: h),
    "in place on a view": lambda lib, log: written(lib, lambda h: h[:1]),
    "in place on a leaf": lambda lib, log: run(lib, make(lib, in_place, double)),
    "dirty but not returned": lambda lib, log: run(
        lib, make(lib, doing(lambda ctx, x: ctx.mark_dirty(x)), double)
    ),
    "what the node needs": lambda lib, log: make(lib, saving, cubes)
    .apply(leaf(lib)).grad_fn.needs_input_grad,
    "saved tensors of the node": lambda lib, log: make(lib, saving, cubes)
    .apply(leaf(lib)).grad_fn.saved_tensors,
    "saved tensors that are freed": lambda lib, log: freed(lib),
    "the last save counts": lambda lib, log: run(
        lib,
        make(lib, doing(lambda ctx, x: (ctx.save_for_backward(x), ctx.save_for_backward(x, x))),
             lambda ctx, g: log.append(len(ctx.saved_tensors)) or g),
    ),
    "a gradient of another dtype": lambda lib, log: run(
        lib, make(lib, double, lambda ctx, g: g.float())
    ).dtype == lib.float64,
    "a gradient that expands": lambda lib, log: run(
        lib, make(lib, double, lambda ctx, g: g.expand(3, 2))
    ),
    # errors
    "too few gradients": lambda lib, log: run(
        lib, make(lib, lambda ctx, x, y: x * y, lambda ctx, g: g), leaf(lib)
    ),
    "too many gradients": lambda lib, log: run(lib, make(lib, double, lambda ctx, g: (g, g))),
    "None too many": lambda lib, log: run(lib, make(lib, double, lambda ctx, g: (g, None))),
    "a gradient that is a number": lambda lib, log: run(lib, make(lib, double, lambda ctx, g: 1.0)),
    "a gradient of another shape": lambda lib, log: run(
        lib, make(lib, double, lambda ctx, g: g[:1].expand(3))
    ),
    "no backward": lambda lib, log: run(lib, make(lib, double)),
    "no forward": lambda lib, log: lib.autograd.Function.apply(leaf(lib)),
    "called as an object": lambda lib, log: make(lib, double)()(leaf(lib)),
    "a number saved": lambda lib, log: run(
        lib, make(lib, doing(lambda ctx, x: ctx.save_for_backward(x, 1)), double)
    ),
    "a number marked": lambda lib, log: run(
        lib, make(lib, doing(lambda ctx, x: ctx.mark_non_differentiable(1)), double)
    ),
    "an error within": lambda lib, log: run(lib, make(lib, double, lambda ctx, g: int("x"))),
}  # fmt: skip


def second(lib: Any, f: Any) -> Any:
    x = leaf(lib)
    (g,) = lib.autograd.grad(f.apply(x).sum(), x, create_graph=True)
    return lib.autograd.grad(g.sum(), x)


def written(lib: Any, part: Any) -> Any:
    x = leaf(lib)
    h = x * 3
    make(lib, in_place, lambda ctx, g: g * 2).apply(part(h))
    (h * h).sum().backward()
    return h, x.grad


def freed(lib: Any) -> Any:
    y = make(lib, saving, cubes).apply(leaf(lib))
    y.sum().backward()
    return y.grad_fn.saved_tensors


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, where it goes on to raise
@pytest.mark.parametrize("name", CASES)
def test_functions_do_as_in_torch(name: str) -> None:
    assert_same(CASES[name])


@pytest.mark.parametrize("name", ["grad", "jvp", "jacrev", "jacfwd", "hessian"])
def test_functions_go_through_transforms(name: str) -> None:
    cube = make(dtorch, saving, cubes)

    def f(x: Any) -> Any:
        return cube.apply(x).sum()

    x, plain = leaf(dtorch).detach(), lambda x: (x**3).sum()  # noqa: E731
    transform = getattr(dtorch.func, name)
    if name == "jvp":
        got, want = transform(f, (x,), (x,))[1], transform(plain, (x,), (x,))[1]
    else:
        got, want = transform(f)(x), transform(plain)(x)
    assert dtorch.allclose(got, want)
    each = dtorch.vmap(cube.apply)(dtorch.ones(3, 2))
    assert each.shape == (3, 2)


# ---- names from torch's first releases, and settings -------------------------------------------


def test_variables_and_legacy_functions() -> None:
    from dtorch.autograd import Variable
    from dtorch.autograd.function import InplaceFunction, NestedIOFunction

    x = dtorch.ones(2)
    assert isinstance(x, Variable)
    assert Variable(x, requires_grad=True).requires_grad
    log: list[str] = []
    w = leaf(dtorch)
    w.register_hook(lambda g: Variable._execution_engine.queue_callback(lambda: log.append("end")))
    w.sum().backward()
    assert log == ["end"]
    assert InplaceFunction(True).inplace
    with pytest.raises(NotImplementedError, match="NestedIOFunction"):
        NestedIOFunction.apply(x)


def settings(lib: Any, log: list[Any]) -> Any:
    setting = lib.autograd.set_multithreading_enabled
    with setting(False):
        pass
    setting(False)
    setting(True)
    p = lib.ones(2, 3).t().requires_grad_()
    with lib.autograd.enforce_grad_layout_policy(False):
        (p * lib.ones(3, 2)).sum().backward()
    q = lib.ones(2, 3).t().requires_grad_()
    (q * lib.ones(3, 2)).sum().backward()
    return p.grad.stride(), q.grad.stride()


def test_settings() -> None:
    assert_same(settings)
