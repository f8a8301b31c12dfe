"""Views and in-place writes: shared memory, versions, and histories that are rewritten."""

# ruff: noqa: E731  a step of a random program is a lambda

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import dtorch

# ---- random programs -------------------------------------------------------------------------


def _views(t: Any, rng: random.Random) -> Any:
    """A random view of t, as a function of either library's tensor."""
    choices = [lambda x: x[...]]
    n = t.dim()
    if n:
        d = rng.randrange(n)
        size = t.shape[d]
        i = rng.randrange(size)
        j = rng.randrange(i, size) + 1
        choices += [
            lambda x: x.select(d, i),
            lambda x: x.narrow(d, i, j - i),
            lambda x: x.unsqueeze(d),
            lambda x: x.transpose(0, n - 1),
            lambda x: x[(slice(None),) * d + (i,)],
            lambda x: x[(slice(None),) * d + (slice(i, j),)],
        ]
        if t.is_contiguous():
            choices += [lambda x: x.view(-1)]
    return rng.choice(choices)


def _program(seed: int) -> list[Any]:
    """A list of steps; a step takes a library and its tensors, and may add a tensor to them."""
    rng = random.Random(seed)
    steps: list[Any] = []
    shadow = [torch.zeros(2, 3, dtype=torch.float64) for _ in range(4)]  # for shapes only

    def matching(t: Any) -> int:
        return rng.choice([k for k, s in enumerate(shadow) if s.shape == t.shape or s.dim() == 0])

    for _ in range(rng.randrange(4, 14)):
        k = rng.randrange(len(shadow))
        t = shadow[k]
        kind = rng.choice(["arith", "view", "view", "inplace", "inplace", "scalar", "set"])
        if kind == "arith":
            m, name = matching(t), rng.choice(["add", "mul", "sub"])
            step = lambda ts, k=k, m=m, name=name: ts.append(getattr(ts[k], name)(ts[m]))
        elif kind == "view":
            view = _views(t, rng)
            step = lambda ts, k=k, view=view: ts.append(view(ts[k]))
        elif kind == "scalar":
            name = rng.choice(["tanh", "exp", "neg"])
            step = lambda ts, k=k, name=name: ts.append(getattr(ts[k] * 0.5, name)())
        elif kind == "inplace":
            m, name = matching(t), rng.choice(["add_", "mul_", "copy_", "mul_", "zero_"])
            args = () if name == "zero_" else (m,)
            if name == "mul_" and rng.random() < 0.4:
                step = lambda ts, k=k: _drop(ts[k].mul_(0.7))
            else:
                step = lambda ts, k=k, name=name, args=args: _drop(
                    getattr(ts[k], name)(*[ts[i] for i in args])
                )
        else:
            if not t.dim():
                continue
            i, m = rng.randrange(t.shape[0]), None
            fits = [q for q, s in enumerate(shadow) if s.shape == t.shape[1:]]
            if not fits:
                continue
            m = rng.choice(fits)
            step = lambda ts, k=k, i=i, m=m: ts[k].__setitem__(i, ts[m])
        before = len(shadow)
        try:
            step(shadow)
        except RuntimeError:
            del shadow[before:]
            continue
        steps.append(step)
    return steps


def _drop(_: Any) -> None:
    return None


def _outcome(library: Any, seed: int, shift: float = 0.0) -> Any:
    """What a random program leads to: values, gradients, or which step was refused."""
    values = np.random.default_rng(seed).uniform(-1, 1, (4, 2, 3))
    values[:2] += shift
    tensors = [library.from_numpy(v.copy()) for v in values]
    leaves = tensors[:2]
    for leaf in leaves:
        leaf.requires_grad_()
    # Half of the programs start from non-leaves, which may be written to.
    if seed % 2:
        tensors = [t * 1.0 for t in tensors]
    for number, step in enumerate(_program(seed)):
        for t in tensors:
            t.grad_fn  # noqa: B018  torch renews the history of a view only when it is looked at
        try:
            step(tensors)
        except RuntimeError as error:
            if "leaf" not in str(error):
                raise
            return "refused", number
    results = [t.detach().numpy().copy() for t in tensors]
    flags = [t.requires_grad for t in tensors]
    loss = sum((t * t).sum() * (k + 1) for k, t in enumerate(tensors))
    try:
        if loss.requires_grad:
            loss.backward()
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return "stale", results, flags, loss.item()
    grads = [None if x.grad is None else x.grad.numpy().copy() for x in leaves]
    return "done", results, flags, grads


def _right_all_the_same(seed: int, grads: list[Any]) -> bool:
    """Whether the gradients are right by finite differences of torch's values.

    torch refuses a backward through a value that is stale but was written over since: copy_ keeps
    the node of what it overwrites.
    """
    step = 1e-6
    up, down = (_outcome(torch, seed, shift)[3] for shift in (step, -step))
    total = sum(g.sum() for g in grads if g is not None)
    return bool(abs((up - down) / (2 * step) - total) < 1e-4 * (1 + abs(total)))


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_random_programs_do_as_torch_does(first: int) -> None:
    for seed in range(first, first + 100):
        mine, theirs = _outcome(dtorch, seed), _outcome(torch, seed)
        if (mine[0], theirs[0]) == ("done", "stale") and _right_all_the_same(seed, mine[3]):
            continue
        assert mine[0] == theirs[0], f"seed {seed}: {mine[0]} instead of {theirs[0]}"
        if mine[0] == "refused":
            assert mine == theirs, f"seed {seed}"
            continue
        for a, b in zip(mine[1], theirs[1]):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=f"seed {seed}")
        assert mine[2] == theirs[2], f"seed {seed}: requires_grad"
        if mine[0] == "done":
            for a, b in zip(mine[3], theirs[3]):
                if a is None or b is None:  # an input whose every use was written over
                    assert all(x is None or not x.any() for x in (a, b)), f"seed {seed}"
                else:
                    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10, err_msg=f"seed {seed}")


# ---- what the programs do not say by name ----------------------------------------------------


def pair(values: Any) -> tuple[Any, Any]:
    """The same leaf in dtorch and in torch."""
    a = np.array(values, dtype="float64")
    return dtorch.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)


def test_views_share_memory_and_versions() -> None:
    base = dtorch.zeros(2, 3)
    views = [
        base[0],
        base.view(6),
        base.t(),
        base.detach(),
        base.unsqueeze(0),
        base.expand(4, 2, 3),
    ]
    base.add_(1)
    views[1][0] = 5
    for v in views:
        assert v._version == base._version == 2
        assert v.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
    assert base.tolist() == [[5, 1, 1], [1, 1, 1]]
    assert views[5][3].tolist() == base.tolist()
    assert dtorch.zeros(2, 3)._version == 0


def test_geometry_of_a_view() -> None:
    a, b = dtorch.zeros(4, 5), torch.zeros(4, 5)
    for v, w in [(a[1:, 2], b[1:, 2]), (a.t()[3], b.t()[3]), (a[::2, 1:].t(), b[::2, 1:].t())]:
        assert (tuple(v.shape), v.stride(), v.storage_offset(), v.is_contiguous()) == (
            tuple(w.shape),
            w.stride(),
            w.storage_offset(),
            w.is_contiguous(),
        )


def test_a_loop_that_fills_columns_trains() -> None:
    x, y = pair([[1.0, 2.0], [3.0, -1.0]])
    for library, leaf in ((dtorch, x), (torch, y)):
        out = library.zeros(2, 3, dtype=library.float64)
        for i in range(3):
            out[:, i] = (leaf * (i + 1)).tanh()[i % 2]
        (out * out).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)


def test_a_write_through_a_chain_of_views_reaches_all_of_them() -> None:
    x, y = pair([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for leaf in (x, y):
        base = leaf * 1.0
        v = base[1]
        w = v[1:]
        w.mul_(v[:2].clone())
        base.add_(leaf)
        (base.sum() + (v * v).sum() + w.prod()).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)


def test_hooks_of_a_copy_are_its_own() -> None:
    x, _ = pair([1.0, 2.0])
    source = x * 2
    target = dtorch.zeros(2, dtype=dtorch.float64)
    target.copy_(source)
    seen: list[Any] = []
    target.register_hook(lambda g: seen.append(g.tolist()))
    (target * 3 + source).sum().backward()
    assert seen == [[3.0, 3.0]]
    assert x.grad.tolist() == [8.0, 8.0]


def test_copying_a_leaf_does_not_make_the_target_one() -> None:
    x, _ = pair([1.0, 2.0])
    target = dtorch.zeros(2, dtype=dtorch.float64)
    target.copy_(x)
    assert not target.is_leaf
    target.sum().backward()
    assert target.is_leaf is False
    assert x.grad.tolist() == [1.0, 1.0]


REFUSED = {
    "leaf": lambda t, x: x.add_(1),
    "view of a leaf": lambda t, x: x[0].add_(1),
    "leaf, by index": lambda t, x: x.__setitem__(0, 1.0),
    "expanded": lambda t, x: t.zeros(1).expand(3).add_(1),
    "grown by broadcasting": lambda t, x: t.zeros(3).add_(t.zeros(2, 3)),
    "integer from float": lambda t, x: t.zeros(3, dtype=t.int64).add_(1.5),
    "stale": lambda t, x: _stale(x),
    "view after a copy": lambda t, x: t.zeros(2, 3).t().view(6),
    "resized with history": lambda t, x: x.resize_(7),
}


def _stale(x: Any) -> None:
    y = x * 1.0
    z = (y * y).sum()
    y.add_(1)
    z.backward()


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_is_refused_and_changes_nothing(name: str) -> None:
    x, y = pair([1.0, 2.0, 3.0])
    with pytest.raises(RuntimeError) as theirs:
        REFUSED[name](torch, y)
    with pytest.raises(RuntimeError) as mine:
        REFUSED[name](dtorch, x)
    assert str(mine.value)[:12] == str(theirs.value)[:12]
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert x.is_leaf


def test_no_grad_allows_writing_to_a_leaf() -> None:
    x, _ = pair([1.0, 2.0])
    with dtorch.no_grad():
        x.sub_(0.5)
        x[0] = 7.0
    assert x.tolist() == [7.0, 1.5]
    assert x.requires_grad
    assert x.is_leaf


def test_what_no_rule_reads_may_be_written_to() -> None:
    x, _ = pair([1.0, 2.0])
    h = x * 2
    y = h * 3 + h / 2
    h.add_(1)  # neither product with a number needs h
    y.sum().backward()
    assert x.grad.tolist() == [7.0, 7.0]


def test_as_strided_changes_the_tensor_itself() -> None:
    results = []
    for library in (dtorch, torch):
        x = library.arange(6.0).requires_grad_()
        y = x * 1
        assert y.as_strided_((2, 2), (3, 1), 1) is y
        (y * y).sum().backward()
        results.append((y.tolist(), x.grad.tolist()))
    assert results[0] == results[1]


# ---- torch's finer rules -----------------------------------------------------------------------


def outcome(lib, scene):
    """What a scene gives: numbers, or the type of the exception."""
    try:
        got = scene(lib, lib.ones(3, 4, requires_grad=True))
        return got if isinstance(got, (bool, tuple, type(None))) else got.tolist()
    except (RuntimeError, TypeError) as error:
        return type(error).__name__


def write_to_a_view_of_no_grad(lib, x):
    y = x * 2
    with lib.no_grad():
        v = y[0]
    assert v.requires_grad
    assert v.is_leaf
    return v.mul_(x[0])


def write_to_one_of_several_views(lib, x):
    y = x * 2
    return y.unbind()[1].mul_(2)


def write_to_one_of_several_views_unrecorded(lib, x):
    y = x * 2
    with lib.no_grad():
        for row in y:
            row.mul_(2)
    return y.detach()


def write_to_the_base_of_several_views(lib, x):
    y = x * 2
    first, _ = y.chunk(2, 1)
    y.mul_(x)
    return first * 2


def a_no_grad_view_is_a_constant(lib, x):
    with lib.no_grad():
        v = x[0]
    (v * x[1]).sum().backward()
    assert v.grad is None
    return x.grad


def a_leaf_that_stops_requiring_gets_none(lib, x):
    y = (x * 2).sum()
    x.requires_grad_(False)
    y.backward()
    return x.grad


def data_has_a_version_of_its_own(lib, x):
    y = x * 1
    z = y.sin()
    y.data[0].zero_()
    z.sum().backward()
    return x.grad


def detach_shares_the_version(lib, x):
    y = x * 1
    z = y.sin()
    y.detach().zero_()
    z.sum().backward()


def a_square_may_be_written_to(lib, x):
    y = x**2
    y.mul_(3)
    y.sum().backward()
    return x.grad


def what_an_in_place_op_saved_is_guarded(lib, x):
    y = x * 1
    y.exp_()
    y.mul_(2)
    y.sum().backward()


def memory_that_overlaps_in_part(lib, x):
    y = x.detach().clone().reshape(12)
    y[1:].add_(y[:-1])


def a_matrix_that_the_other_needs_may_be_written_to(lib, x):
    w = lib.ones(4, 2)
    y = x * 1
    z = y @ w
    y.zero_()
    z.sum().backward()
    return x.grad


SCENES = [
    write_to_a_view_of_no_grad, write_to_one_of_several_views,
    write_to_one_of_several_views_unrecorded, write_to_the_base_of_several_views,
    a_no_grad_view_is_a_constant, a_leaf_that_stops_requiring_gets_none,
    data_has_a_version_of_its_own, detach_shares_the_version, a_square_may_be_written_to,
    what_an_in_place_op_saved_is_guarded, memory_that_overlaps_in_part,
    a_matrix_that_the_other_needs_may_be_written_to,
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda f: f.__name__)
def test_scene_as_in_torch(scene):
    mine, theirs = outcome(dtorch, scene), outcome(torch, scene)
    assert type(mine) is type(theirs)
    if isinstance(mine, list):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs))
    else:
        assert mine == theirs


def test_tensors_given_by_name_are_seen() -> None:
    grads = []
    for lib in (torch, dtorch):
        w = lib.full((3,), 2.0, requires_grad=True)
        x: Any = lib.ones(3)
        x.mul_(other=w)
        (x * x).sum().backward()
        grads.append(w.grad.tolist())
        x = lib.arange(4.0)
        with pytest.raises(RuntimeError, match="single memory location"):
            x[1:].add_(other=x[:-1])
        assert x.tolist() == [0, 1, 2, 3]
    assert grads[0] == grads[1]


def test_clone_in_a_memory_format() -> None:
    for lib in (torch, dtorch):
        x = lib.arange(6.0).reshape(2, 3).t().requires_grad_()
        for form, strides in ((lib.preserve_format, (1, 3)), (lib.contiguous_format, (2, 1))):
            y = x.clone(memory_format=form)
            assert y.stride() == lib.clone(x, memory_format=form).stride() == strides
            y.sum().backward()
        assert x.grad.tolist() == [[2, 2]] * 3
        assert x.detach().int().clone(memory_format=lib.contiguous_format).stride() == (2, 1)
        with pytest.raises(TypeError, match="must be .*memory_format, not int"):
            x.clone(memory_format=3)
