"""Checkpoints compute the same gradients, keep less, and notice what is not the same again."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import Any

import pytest

import dtorch
from dtorch import nn
from dtorch.utils import checkpoint as ckpt
from dtorch.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential
from tests.both import assert_same, leaf


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def gradients(m: Any, run: Any) -> list[Any]:
    dtorch.manual_seed(3)
    x = dtorch.ones(4, 3).requires_grad_()
    m.zero_grad()
    run(x).square().sum().backward()
    return [p.grad.tolist() for p in m.parameters()] + [x.grad.tolist(), dtorch.rand(1).tolist()]


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_and_random_numbers_are_the_same(reentrant: bool) -> None:
    m = net()
    want = gradients(m, m)
    assert gradients(m, lambda x: checkpoint(m, x, use_reentrant=reentrant)) == want
    for segments in (1, 2, 3):
        assert gradients(m, lambda x: checkpoint_sequential(m, segments, x, reentrant)) == want  # noqa: B023


def test_masks_are_dropped_and_outputs_keep_their_numbers() -> None:
    m = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU())
    kept: list[Any] = []
    with dtorch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        m(dtorch.ones(100, 3))
        q, r = dtorch.linalg.qr(leaf(dtorch, 1, 3, 2, 4).reshape(2, 2))
        assert (q.output_nr, r.output_nr) == (0, 1)
    assert kept.count(800) >= 2  # the dropout's mask, and the ReLU's


def test_what_lies_within_is_dropped() -> None:
    seen: list[Any] = []

    def part(x: Any) -> Any:
        h = x.exp()
        seen.append(weakref.ref(h._a))
        return h.sin()

    x = leaf(dtorch)
    y = checkpoint(part, x, use_reentrant=False)
    assert seen[0]() is None
    y.sum().backward()
    assert len(seen) == 2
    assert dtorch.allclose(x.grad, x.exp().cos() * x.exp())


def programs(lib: Any, log: list[Any]) -> Any:
    from_lib = lib.utils.checkpoint.checkpoint
    calls = []

    def part(x: Any, y: Any, k: float = 2.0) -> Any:
        calls.append(1)
        return x * y.exp() * k, x.sin()

    x, y = leaf(lib), leaf(lib, 0.5, 0.25)
    a, b = from_lib(part, x, y, k=3.0, use_reentrant=False)
    log.append(lib.autograd.grad((a + b).sum(), [x, y], create_graph=True, retain_graph=True))
    (first,) = lib.autograd.grad((a * b).sum(), x, create_graph=True)
    log.append(lib.autograd.grad(first.sum(), [x, y]))
    nested = from_lib(lambda t: from_lib(part, t, y, use_reentrant=False)[0] * t, x,
                      use_reentrant=False)  # fmt: skip
    nested.sum().backward()
    log.append((x.grad, y.grad))
    with lib.no_grad():
        log.append(from_lib(part, x, y, use_reentrant=False)[0].requires_grad)


def test_second_derivatives_keywords_and_nesting() -> None:
    assert_same(programs)


def not_again(lib: Any, log: list[Any]) -> Any:
    calls = []

    def part(x: Any) -> Any:
        calls.append(1)
        return (x * x)[: len(calls)].exp()

    lib.utils.checkpoint.checkpoint(part, leaf(lib), use_reentrant=False).sum().backward()


def less_again(lib: Any, log: list[Any]) -> Any:
    calls = []

    def part(x: Any) -> Any:
        calls.append(1)
        return x.sin().exp() if len(calls) == 1 else x.sin()

    lib.utils.checkpoint.checkpoint(part, leaf(lib), use_reentrant=False).sum().backward()


def with_grad(lib: Any, log: list[Any]) -> Any:
    x = leaf(lib)
    y = lib.utils.checkpoint.checkpoint(lambda t: t.exp(), x, use_reentrant=True)
    lib.autograd.grad(y.sum(), x)


WRONG: dict[str, Any] = {
    "other shapes": not_again,
    "fewer tensors": less_again,
    "grad() of a reentrant one": with_grad,
    "keywords": lambda lib, log: lib.utils.checkpoint.checkpoint(
        lambda t: t, leaf(lib), use_reentrant=True, k=1
    ),
    "a context": lambda lib, log: lib.utils.checkpoint.checkpoint(
        lambda t: t, leaf(lib), use_reentrant=True, context_fn=print
    ),
    "no gradient within": lambda lib, log: (
        lib.utils.checkpoint.checkpoint(lambda t: t.detach(), leaf(lib), use_reentrant=True)
        .sum()
        .backward()
    ),
    "inputs in a list": lambda lib, log: lib.utils.checkpoint.detach_variable([leaf(lib)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_torchs(name: str) -> None:
    assert_same(WRONG[name], letters=75)


def test_it_stops_as_soon_as_it_has_all() -> None:
    log: list[str] = []

    def part(x: Any) -> Any:
        y = x.exp()
        log.append("end")
        return y

    for context, times in ((ckpt.set_checkpoint_early_stop(False), 2),
                           (ckpt.set_checkpoint_early_stop(True), 1)):  # fmt: skip
        log.clear()
        with context:
            y = checkpoint(part, leaf(dtorch), use_reentrant=False)
        y.sum().backward()
        assert len(log) == times


def test_contexts_debug_and_groups() -> None:
    log: list[str] = []

    @contextmanager
    def noting(word: str) -> Any:
        log.append(word)
        yield

    x = leaf(dtorch)
    y = checkpoint(dtorch.exp, x, use_reentrant=False,
                   context_fn=lambda: (noting("forward"), noting("again")))  # fmt: skip
    y.sum().backward()
    assert log == ["forward", "again"]

    calls: list[int] = []

    def part(t: Any) -> Any:
        calls.append(1)
        return t.exp(), t.sin()

    a, b = checkpoint(part, x, use_reentrant=False)
    with ckpt.GraphExecGroup():
        a.sum().backward(retain_graph=True)
        b.sum().backward()
    assert len(calls) == 2

    with ckpt.set_checkpoint_debug_enabled(True):
        sizes = iter([1, 2])
        y = checkpoint(lambda t: t[: next(sizes)].exp(), x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="recomputation: "):
        y.sum().backward()


def test_the_kind_of_checkpoint_should_be_said() -> None:
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(dtorch.exp, leaf(dtorch))
    with pytest.warns(UserWarning, match="None of the inputs"):
        checkpoint(dtorch.exp, dtorch.ones(2), use_reentrant=True)
