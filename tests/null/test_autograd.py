"""backward() and grad(): accumulation, graphs that are freed or kept, hooks, modes, Functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import dtorch
from dtorch.autograd import Function, gradcheck, gradgradcheck
from dtorch.autograd.function import once_differentiable


def leaf(*values: float, dtype: Any = None) -> Any:
    return dtorch.tensor(list(values), requires_grad=True, dtype=dtype or dtorch.float64)


# ---- accumulating ----------------------------------------------------------------------------


def test_gradients_accumulate_until_they_are_cleared() -> None:
    x = leaf(1, 2)
    for n in (1, 2, 3):
        (x * 3).sum().backward()
        assert x.grad.tolist() == [3.0 * n] * 2
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_gradients_alias_neither_each_other_nor_anything_else() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    g = dtorch.ones(2, dtype=dtorch.float64)
    (x + y).backward(g)
    x.grad.mul_(5)
    assert (y.grad.tolist(), g.tolist()) == ([1.0, 1.0], [1.0, 1.0])
    for function in (
        lambda a: a.view(2, 1),
        lambda a: a[:],
        lambda a: a.clone(),
        lambda a: a.expand(1, 2),
    ):
        x.grad = None
        out = function(x)
        seed = dtorch.ones(tuple(out.shape), dtype=dtorch.float64)
        out.backward(seed)
        x.grad.add_(1)
        assert seed.tolist() == dtorch.ones(tuple(out.shape)).tolist()


def test_a_fresh_gradient_is_taken_over_without_a_copy() -> None:
    made: list[int] = []

    class Make(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            out = g * 2
            made.append(out.data_ptr())
            return out

    x = leaf(1, 2)
    Make.apply(x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_leaf_that_is_used_often_has_its_hook_run_once_with_the_total() -> None:
    x = leaf(1, 2)
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    after: list[Any] = []
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    (x * 2 + x * x + x).sum().backward()
    assert seen == after == [[5.0, 7.0]]


def test_gradients_reach_only_the_leaves_asked_for() -> None:
    x, y = leaf(1), leaf(2)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2.0]
    assert y.grad is None


def test_a_leaf_is_its_own_graph() -> None:
    x = leaf(3)
    x.backward()
    assert x.grad.tolist() == [1.0]
    (g,) = dtorch.autograd.grad(x, x)
    assert g.tolist() == [1.0]


# ---- keeping and freeing the graph -----------------------------------------------------------


def test_a_second_backward_needs_retain_graph() -> None:
    x = leaf(2)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    assert x.grad.tolist() == [8.0]


def test_what_saves_only_shapes_can_go_back_twice() -> None:
    x = leaf(2)
    y = (x + 1).reshape(1, 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0]


def test_the_graph_dies_with_its_last_reference() -> None:
    import gc
    import weakref

    gc.disable()
    try:
        x = leaf(1, 2)
        y = x.exp() * x
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_grad_fn_can_be_walked() -> None:
    x = leaf(1)
    y = (x * 2).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    ((mul, _),) = y.grad_fn.next_functions
    assert mul.name() == "MulBackward0"
    assert mul.next_functions[0][0].variable is x
    assert mul.next_functions[1][0] is None


# ---- grad() ----------------------------------------------------------------------------------


def test_grad_of_unused_inputs() -> None:
    x, y = leaf(1), leaf(2)
    out = x * 3
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        dtorch.autograd.grad(out, [x, y], retain_graph=True)
    g = dtorch.autograd.grad(out, [x, y], allow_unused=True, retain_graph=True)
    assert (g[0].tolist(), g[1]) == ([3.0], None)
    g = dtorch.autograd.grad(out, [x, y], materialize_grads=True)
    assert (g[0].tolist(), g[1].tolist()) == ([3.0], [0.0])
    assert x.grad is None


def test_grad_with_respect_to_what_lies_between() -> None:
    x = leaf(1, 2)
    h = x * 2
    y = (h * h).sum()
    g = dtorch.autograd.grad(y, [h, x])
    assert [t.tolist() for t in g] == [[4.0, 8.0], [8.0, 16.0]]


def test_derivatives_of_high_order() -> None:
    x = leaf(2)
    y = x**5
    for expected in (80.0, 160.0, 240.0, 240.0, 120.0):
        (y,) = dtorch.autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_backward_with_create_graph() -> None:
    x, z = leaf(2, 3), torch.tensor([2.0, 3.0], requires_grad=True, dtype=torch.float64)
    for t in (x, z):
        (g,) = (dtorch if t is x else torch).autograd.grad(
            (t.exp() * t).sum(), t, create_graph=True
        )
        (g * g).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy())


def test_gradients_must_fit() -> None:
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match="implicitly created only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(dtorch.ones(3))
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.detach().sum().backward()
    with pytest.raises(RuntimeError, match="size .*same size"):
        x.grad = dtorch.ones(3, dtype=dtorch.float64)
    with pytest.raises(RuntimeError, match="gradient with dtype"):
        x.grad = dtorch.ones(2)
    assert x.grad is None


# ---- hooks -----------------------------------------------------------------------------------


def test_hooks_replace_gradients() -> None:
    x = leaf(1, 2)
    h = x * 2
    h.retain_grad()
    first = h.register_hook(lambda g: g * 10)
    h.sum().backward()
    assert (x.grad.tolist(), h.retains_grad) == ([20.0, 20.0], True)
    first.remove()
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_hook_must_keep_the_shape() -> None:
    x = leaf(1, 2)
    h = x * 2
    h.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="size"):
        h.sum().backward()


def test_hooks_on_nodes() -> None:
    x = leaf(1, 2)
    y = x * 3
    seen: list[Any] = []
    y.grad_fn.register_hook(
        lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist()))
    )
    y.grad_fn.register_prehook(lambda outputs: (outputs[0] * 2,))
    y.sum().backward()
    assert seen == [([6.0, 6.0], [2.0, 2.0])]
    assert x.grad.tolist() == [6.0, 6.0]


def test_retain_grad() -> None:
    x = leaf(1, 2)
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward()
    assert h.grad.tolist() == [4.0, 8.0]
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert (h * 2).grad is None
    x.retain_grad()  # does nothing to a leaf
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        dtorch.ones(1).retain_grad()


# ---- modes -----------------------------------------------------------------------------------


def test_no_grad_and_its_forms() -> None:
    x = leaf(1)

    @dtorch.no_grad()
    def called(t: Any) -> Any:
        return t * 2

    @dtorch.no_grad
    def bare(t: Any) -> Any:
        return t * 2

    with dtorch.no_grad():
        assert not (x * 2).requires_grad
        with dtorch.enable_grad():
            assert (x * 2).requires_grad
        assert not dtorch.is_grad_enabled()
        with dtorch.set_grad_enabled(True):
            assert (x * 2).requires_grad
    assert not called(x).requires_grad
    assert not bare(x).requires_grad
    assert dtorch.is_grad_enabled()


def test_modes_of_generators_do_not_leak() -> None:
    x = leaf(1)

    @dtorch.no_grad()
    def numbers() -> Iterator[bool]:
        for _ in range(2):
            yield (x * 2).requires_grad
            assert not dtorch.is_grad_enabled()

    for flag in numbers():
        assert not flag
        assert dtorch.is_grad_enabled()


def test_set_grad_enabled_at_once() -> None:
    try:
        dtorch.set_grad_enabled(False)
        assert not dtorch.is_grad_enabled()
    finally:
        dtorch.set_grad_enabled(True)


def test_inference_mode() -> None:
    x = leaf(1)
    with dtorch.inference_mode():
        assert dtorch.is_inference_mode_enabled()
        assert not (x * 2).requires_grad
        assert not dtorch.is_inference(x * 2)  # nothing is: the tensor may be used outside
        with dtorch.inference_mode(False):
            assert (x * 2).requires_grad
    with dtorch.inference_mode(False):
        assert (x * 2).requires_grad
    assert not dtorch.is_inference_mode_enabled()


def test_an_exception_restores_the_mode() -> None:
    with pytest.raises(ZeroDivisionError), dtorch.no_grad():
        raise ZeroDivisionError
    assert dtorch.is_grad_enabled()


def test_detect_anomaly_names_the_op_that_made_a_nan() -> None:
    x = leaf(-1)
    with (
        pytest.raises(RuntimeError, match="SqrtBackward0.*returned nan"),
        dtorch.autograd.detect_anomaly(),
    ):
        x.sqrt().sum().backward()


# ---- Function --------------------------------------------------------------------------------


class Cube(Function):
    @staticmethod
    def forward(ctx: Any, x: Any, scale: float) -> Any:
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False)
        return g * 3 * x * x * ctx.scale, None


class SinCos(Function):
    """Two outputs, which it saves; in the form with setup_context."""

    @staticmethod
    def forward(x: Any) -> Any:
        return x.sin(), x.cos()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, gs: Any, gc: Any) -> Any:
        s, c = ctx.saved_tensors
        return gs * c - gc * s


def test_functions_have_first_and_second_derivatives() -> None:
    x = leaf(0.5, -1.2)
    assert gradcheck(lambda t: Cube.apply(t, 2.0), x)
    assert gradgradcheck(lambda t: Cube.apply(t, 2.0), x)
    assert gradcheck(SinCos.apply, x)
    assert gradgradcheck(SinCos.apply, x)
    assert gradcheck(lambda t: SinCos.apply(t)[1], x)
    assert Cube.apply(x, 1.0).grad_fn.name() == "CubeBackward"


def test_a_function_frees_what_it_saved() -> None:
    x = leaf(1)
    y = Cube.apply(x, 1.0)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_function_notices_a_stale_value() -> None:
    x = leaf(1)
    h = x * 1
    y = Cube.apply(h, 1.0)
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_a_function_that_writes_in_place() -> None:
    class Double(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(1, 2)
    h = x * 1
    out = Double.apply(h)
    assert out is h
    h.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="a leaf Variable"):
        Double.apply(leaf(1))


def test_outputs_without_gradient() -> None:
    class Top(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            rounded = x.round()
            ctx.mark_non_differentiable(rounded)
            ctx.set_materialize_grads(False)
            return x * 2, rounded, x * 5

        @staticmethod
        def backward(ctx: Any, g: Any, none: Any, unused: Any) -> Any:
            assert none is None
            assert unused is None
            return g * 2

    x = leaf(1.4)
    y, rounded, _ = Top.apply(x)
    assert not rounded.requires_grad
    y.backward()
    assert x.grad.tolist() == [2.0]


def test_wrong_backwards_are_refused() -> None:
    def returning(value: Any) -> Any:
        class Wrong(Function):
            @staticmethod
            def forward(ctx: Any, x: Any, y: Any) -> Any:
                return x * y

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return value

        return Wrong.apply(leaf(1, 2), leaf(3, 4)).sum()

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        returning(dtorch.ones(2)).backward()
    with pytest.raises(RuntimeError, match="invalid gradient at index 1"):
        returning((dtorch.ones(2), dtorch.ones(3))).backward()


def test_once_differentiable() -> None:
    class Once(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(3)
    Once.apply(x).backward()
    assert x.grad.tolist() == [6.0]
    (g,) = dtorch.autograd.grad(Once.apply(x) * x, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


# ---- gradcheck itself ------------------------------------------------------------------------


def test_gradcheck_finds_a_wrong_gradient_and_says_where() -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    x = leaf(1, 2)
    with pytest.raises(dtorch.autograd.GradcheckError) as caught:
        gradcheck(Wrong.apply, x)
    text = str(caught.value)
    assert "Jacobian mismatch for output 0 with respect to input 0" in text
    assert "numerical 2" in text
    assert "analytical 3" in text
    assert not gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="at least one input"):
        gradcheck(Wrong.apply, x.detach())
    with pytest.warns(UserWarning, match="double precision"):
        gradcheck(Wrong.apply, leaf(1, dtype=dtorch.float32), raise_exception=False)


def test_gradcheck_of_complex_functions() -> None:
    z = dtorch.tensor([1 + 2j, -0.5j], requires_grad=True, dtype=dtorch.complex128)
    assert gradcheck(lambda t: t * t.exp(), z)
    assert gradgradcheck(lambda t: t * t * t, z)


# ---- functional ------------------------------------------------------------------------------


def test_jacobians_hessians_and_products_are_torchs() -> None:
    a, b = np.array([0.3, -0.7]), np.array([1.1, 0.4])
    outcomes = []
    for library in (dtorch, torch):
        F = library.autograd.functional
        x, y = library.tensor(a), library.tensor(b)
        outcomes.append(
            [
                F.jacobian(lambda s: s.exp() * s.sum(), x),
                *F.jacobian(lambda s, t: s * t, (x, y)),
                F.hessian(lambda s: (s**3).sum() * s[0], x),
                *F.hessian(lambda s, t: (s * s * t).sum(), (x, y))[0],
                *F.vjp(lambda s: s * s, x, y),
                *F.jvp(lambda s: s * s.sum(), x, y),
                *F.vhp(lambda s: (s**3).sum() * s[1], x, y),
                *F.hvp(lambda s: (s**3).sum() * s[1], x, y),
            ]
        )
    for mine, theirs in zip(*outcomes):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-10)
