"""Hooks, nodes, gradient edges, hooks on saved tensors: the same programs as in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtorch
from tests.both import Program, assert_same, leaf

PROGRAMS: dict[str, Program] = {}


def program(f: Program) -> Program:
    PROGRAMS[f.__name__] = f
    return f


# ---- hooks -----------------------------------------------------------------------------------


@program
def hooks_run_in_order_and_retain_grad_last(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    h = x * 2
    h.retain_grad()
    h.register_hook(lambda g: g * 2)
    gone = h.register_hook(lambda g: log.append("never"))
    h.register_hook(lambda g: log.append(g))
    h.grad_fn.register_prehook(lambda gs: log.append(gs) or (gs[0] + 1,))
    h.grad_fn.register_hook(lambda i, o: log.append((i, o)))
    h.register_hook(lambda g: g * 3)
    gone.remove()
    x.register_hook(lambda g: g * 10)
    x.register_post_accumulate_grad_hook(lambda t: log.append(t.grad))
    h.sum().backward()
    return h.grad, x.grad


@program
def hooks_stay_with_the_value_that_they_were_set_on(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    h = x * 2
    h.register_hook(lambda g: log.append(("before", g)))
    h.retain_grad()
    h.mul_(3)
    h.register_hook(lambda g: log.append(("after", g)))
    (h * h).sum().backward()
    return h.grad, x.grad


@program
def retain_grad_of_a_view_and_of_its_base(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib, 1, 2, 3, 4)
    base = x * 1
    view = base[:2]
    view.retain_grad()
    base.retain_grad()
    view.mul_(5)
    (base * base).sum().backward()
    return base.grad, view.grad, x.grad, view.retains_grad


@program
def hooks_of_inputs_run_and_rules_of_inputs_do_not(lib: Any, log: list[Any]) -> Any:
    class Loud(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            log.append("rule")
            return g * 2

    x = leaf(lib)
    h = Loud.apply(x)
    h.register_hook(lambda g: log.append("tensor hook") or g * 5)
    h.grad_fn.register_prehook(lambda g: log.append("node hook"))
    y = (h * 3).sum()
    log.append(lib.autograd.grad(y, h, retain_graph=True))
    y.backward(inputs=[x])
    return x.grad


@program
def what_lies_between_may_be_an_input(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    h = x * 2
    y = (h * 3).sum()
    y.backward(inputs=[h], retain_graph=True)
    log.append((h.retains_grad, h.grad, x.grad))
    y.backward(inputs=[x])
    return h.grad, x.grad


@program
def hooks_on_a_leafs_node(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    y = x * 2
    node = y.grad_fn.next_functions[0][0]
    node.register_prehook(lambda gs: (gs[0] * 2,))
    node.register_hook(lambda i, o: log.append((i, o)))
    x.register_hook(lambda g: g + 1)
    y.sum().backward()
    return x.grad, node.variable is x, node.next_functions


def two_outputs(lib: Any) -> Any:
    class Two(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            return a * 2 + b * 3

    return Two


@program
def a_node_with_two_outputs(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib, 1, 2, 3, 4)
    a, b = two_outputs(lib).apply(x)
    a.grad_fn.register_prehook(lambda gs: log.append(gs))
    (a * 2 + b * 3).sum().backward()
    (a.sum() + 1).backward()
    return a.grad_fn is b.grad_fn, a.output_nr, b.output_nr, x.grad


def bad_hook(hook: Any, on_node: str = "") -> Program:
    def run(lib: Any, log: list[Any]) -> Any:
        h = leaf(lib) * 2
        getattr(h.grad_fn if on_node else h, on_node or "register_hook")(hook)
        h.sum().backward()

    return run


PROGRAMS |= {
    "a hook that returns a number": bad_hook(lambda g: 1),
    "a hook that changes the dtype": bad_hook(lambda g: g.float()),
    "a hook that changes the size": bad_hook(lambda g: g.sum()),
    "a node hook that returns too few": bad_hook(lambda i, o: (1,), "register_hook"),
    "a prehook that returns no tuple": bad_hook(lambda o: o[0], "register_prehook"),
    "a prehook that returns too few": bad_hook(lambda o: (), "register_prehook"),
    "a hook where no gradient is": lambda lib, log: lib.ones(2).register_hook(print),
    "a post hook on a non-leaf": lambda lib, log: (
        leaf(lib) * 2
    ).register_post_accumulate_grad_hook(print),
}


@program
def hooks_of_several_tensors(lib: Any, log: list[Any]) -> Any:
    register = lib.autograd.graph.register_multi_grad_hook
    x, y, unused = leaf(lib), leaf(lib, 3, 4), leaf(lib)
    h = x * y
    handle = register((x, h, unused, y), lambda gs: log.append(gs))
    any_handle = register((x, h, y), lambda g: log.append(("any", g)), mode="any")
    h.sum().backward(retain_graph=True)
    h.sum().backward(inputs=[x], retain_graph=True)
    handle.remove()
    h.sum().backward(retain_graph=True)
    any_handle.remove()
    h.sum().backward()
    register([x], print, mode="some")


# ---- edges, and where to begin and end ---------------------------------------------------------


@program
def gradient_edges(lib: Any, log: list[Any]) -> Any:
    edge_of = lib.autograd.graph.get_gradient_edge
    x = leaf(lib, 1, 2, 3, 4)
    a, b = two_outputs(lib).apply(x * x)
    loss = (a.exp() + b).sum()
    edges = [edge_of(t) for t in (x, a, b)]
    grads = lib.autograd.grad(edge_of(loss), edges, retain_graph=True)
    seeds = lib.autograd.grad([edge_of(b)], edge_of(x), [lib.ones(4, dtype=lib.float64)])
    log.append([e.output_nr for e in edges])
    log.append(isinstance(edges[0].node, lib.autograd.graph.Node))
    log.append((grads, seeds))
    edge_of(lib.ones(2))


def starting(f: Callable[[Any, Any], Any]) -> Program:
    return lambda lib, log: f(lib, leaf(lib))


PROGRAMS |= {
    f"starting point {i}": starting(f)
    for i, f in enumerate(
        [
            lambda lib, x: (x * 2).backward(),
            lambda lib, x: lib.ones(2).backward(),
            lambda lib, x: (x * 2).backward(lib.ones(3, dtype=lib.float64)),
            lambda lib, x: lib.autograd.backward([x * 2, x * 3], [lib.ones(2)]),
            lambda lib, x: lib.autograd.grad((x * 2).sum(), []),
            lambda lib, x: lib.autograd.grad((x * 2).sum(), lib.ones(2)),
            lambda lib, x: lib.autograd.grad((x * 2).sum(), leaf(lib)),
            lambda lib, x: lib.autograd.grad((x * 2).sum(), [x, leaf(lib)], allow_unused=True),
            lambda lib, x: lib.autograd.grad((x * 2).sum(), leaf(lib), materialize_grads=True),
            lambda lib, x: lib.autograd.grad(
                x.sum(), x, allow_unused=False, materialize_grads=True
            ),
            lambda lib, x: lib.autograd.grad(
                x * x, x, lib.eye(2, dtype=lib.float64), is_grads_batched=True
            ),
            lambda lib, x: lib.autograd.grad(x, x, lib.ones(2), is_grads_batched=True),
            lambda lib, x: x.sum().backward(inputs=[]),
            lambda lib, x: lib.autograd.grad((x * 2j).sum(), x),
            lambda lib, x: lib.autograd.grad(x.sum(), x, lib.ones((), dtype=lib.complex64)),
            lambda lib, x: lib.ones(2).retain_grad(),
        ]
    )
}


@program
def what_nodes_have_saved(lib: Any, log: list[Any]) -> Any:
    x, y = leaf(lib), leaf(lib, 3, 4)
    product = x * y
    log.append((product.grad_fn._saved_self, product.grad_fn._saved_other))
    log.append(x.exp().grad_fn._saved_result)
    log.append((x**2).grad_fn._saved_exponent)
    product.grad_fn.metadata["a"] = 1
    log.append(product.grad_fn.metadata)
    product.sum().backward()
    return product.grad_fn._saved_self


# ---- hooks on saved tensors ------------------------------------------------------------------


@program
def saved_tensors_are_packed_and_unpacked(lib: Any, log: list[Any]) -> Any:
    x, w = leaf(lib), leaf(lib, 3, 4)

    def pack(t: Any) -> Any:
        if t is w:
            log.append("a leaf is handed over itself")
        return t.detach() * 2

    def unpack(t: Any) -> Any:
        log.append("unpack")
        return t

    with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x * 2) * w
    z = y * w
    first = lib.autograd.grad(z.sum(), [x, w], create_graph=True)
    log.append(first)
    (first[0].sum() + first[1].sum()).backward()
    return x.grad, w.grad


@program
def the_inner_hooks_count(lib: Any, log: list[Any]) -> Any:
    hooks = lib.autograd.graph.saved_tensors_hooks
    x = leaf(lib)
    with hooks(lambda t: t.detach() * 2, lambda t: t):
        with hooks(lambda t: t.detach() * 3, lambda t: t):
            y = x * x
        z = x * x
    (y + 10 * z).sum().backward()
    return x.grad


@program
def hooks_see_what_functions_save(lib: Any, log: list[Any]) -> Any:
    class Square(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(lib)
    with lib.autograd.graph.saved_tensors_hooks(lambda t: t.detach() + 1, lambda t: t * 1):
        y = Square.apply(x)
    log.append(y.grad_fn.saved_tensors)
    y.sum().backward()
    return x.grad


def hooked(pack: Any, unpack: Any) -> Program:
    def run(lib: Any, log: list[Any]) -> Any:
        h = leaf(lib) * 2
        with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = h * h
        y.sum().backward()

    return run


PROGRAMS |= {
    "unpack returns a number": hooked(lambda t: t, lambda t: 1),
    "pack writes to its input": hooked(lambda t: t.detach().mul_(2), lambda t: t),
    "pack raises": hooked(lambda t: int("x"), lambda t: t),
}


@program
def hooks_can_be_forbidden(lib: Any, log: list[Any]) -> Any:
    graph = lib.autograd.graph
    forbidden = graph.disable_saved_tensors_hooks("not here")
    with forbidden, graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        pass


@program
def saving_on_the_cpu(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    with lib.autograd.graph.save_on_cpu():
        y = (x.exp() * x).tanh()
    y.sum().backward()
    return x.grad


@program
def saved_tensors_may_be_written_to(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    with lib.autograd.graph.allow_mutation_on_saved_tensors():
        h = x * 2
        y = h * h
        h.zero_()
        y.sum().backward()
        z = (x * x).sum()
    log.append(x.grad)
    z.backward()


@program
def a_version_can_be_counted_on(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    h = x * 2
    y = h * h
    before = h._version
    lib.autograd.graph.increment_version(h)
    log.append(h._version - before)
    y.sum().backward()


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_do_as_in_torch(name: str) -> None:
    assert_same(PROGRAMS[name])


# ---- detect_anomaly --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op", [lambda x: x.sqrt(), lambda x: x**0.5, lambda x: x.sum().log(), lambda x: x[0].log()]
)
def test_anomalies_name_the_line_of_the_forward_call(op: Any) -> None:
    x = leaf(dtorch, -1)
    x.register_hook(lambda g: 1)  # wrong, so that backward fails right after the op's own rule
    with dtorch.autograd.detect_anomaly(check_nan=False):
        y = op(x).sum()  # the line to name
        with pytest.raises(TypeError) as caught:
            y.backward()
    assert "# the line to name" in caught.value.__notes__[0]
    y = op(x).sum()
    assert "traceback_" not in y.grad_fn.metadata
