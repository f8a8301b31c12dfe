"""Random chains of views, in-place writes and arithmetic: dtorch and torch go the same way.

A chain starts with a few leaves and works on a pool of tensors, in both libraries at once.  After
every step both pools hold the same values and flags, or both refused with the same exception type;
at the end the gradients of the leaves are equal.  DTORCH_CHAINS sets how many chains are tried.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dtorch

CHAINS = int(os.environ.get("DTORCH_CHAINS", "150"))

# ---- what a step may do ------------------------------------------------------------------------
# Each takes the library, two tensors of the pool and three small integers.  `d` makes a dimension
# of an integer, mostly one that exists.


def d(t, n):
    return n % (t.ndim + 1) - 1 if t.ndim else n % 3 - 1


def half(t, n):
    """A slice somewhere in dimension 0."""
    return slice(n % 2, None, 1 + n % 3 // 2)


def strided(t, i, j, k):
    """as_strided within the memory of t: beyond it torch's gradients are not defined."""
    if not t.is_contiguous() or t.numel() < 6:
        return t[...]
    return t.as_strided((2, 1 + i % 2), (2 + j % 2, 1), t.storage_offset() + k % 2)


VIEWS = {
    "slice": lambda lib, t, u, i, j, k: t[half(t, i)],
    "slice2": lambda lib, t, u, i, j, k: t[..., half(t, j)],
    "int": lambda lib, t, u, i, j, k: t[i - 2],
    "none": lambda lib, t, u, i, j, k: t[None, ..., half(t, i)],
    "ellipsis": lambda lib, t, u, i, j, k: t[...],
    "transpose": lambda lib, t, u, i, j, k: t.transpose(d(t, i), d(t, j)),
    "t": lambda lib, t, u, i, j, k: t.t(),
    "mT": lambda lib, t, u, i, j, k: t.mT,
    "permute": lambda lib, t, u, i, j, k: t.permute(*[(n + i) % t.ndim for n in range(t.ndim)]),
    "expand": lambda lib, t, u, i, j, k: t.expand(1 + i % 3, *t.shape),
    "unfold": lambda lib, t, u, i, j, k: t.unfold(d(t, i), 1 + j % 2, 2 + k % 2),
    "diagonal": lambda lib, t, u, i, j, k: t.diagonal(i % 3 - 1, d(t, j), d(t, k)),
    "view": lambda lib, t, u, i, j, k: t.view(-1),
    "reshape": lambda lib, t, u, i, j, k: t.reshape(-1, 1 + i % 3),
    "flatten": lambda lib, t, u, i, j, k: t.flatten(),
    "squeeze": lambda lib, t, u, i, j, k: t.squeeze(),
    "squeeze dim": lambda lib, t, u, i, j, k: t.squeeze(d(t, i)),
    "unsqueeze": lambda lib, t, u, i, j, k: t.unsqueeze(d(t, i)),
    "select": lambda lib, t, u, i, j, k: t.select(d(t, i), j % 4),
    "narrow": lambda lib, t, u, i, j, k: t.narrow(d(t, i), j % 3, k % 3),
    "view_as": lambda lib, t, u, i, j, k: t.view_as(u),
    "as_strided": lambda lib, t, u, i, j, k: strided(t, i, j, k),
    "chunk": lambda lib, t, u, i, j, k: t.chunk(1 + i % 3, d(t, j)),
    "split": lambda lib, t, u, i, j, k: t.split(1 + i % 3, d(t, j)),
    "unbind": lambda lib, t, u, i, j, k: t.unbind(d(t, i)),
    "detach": lambda lib, t, u, i, j, k: t.detach(),
    "data": lambda lib, t, u, i, j, k: t.data,
}  # fmt: skip
RESHAPED_IN_PLACE = {
    "transpose_": lambda lib, t, u, i, j, k: t.transpose_(d(t, i), d(t, j)),
    "t_": lambda lib, t, u, i, j, k: t.t_(),
    "squeeze_": lambda lib, t, u, i, j, k: t.squeeze_(),
    "unsqueeze_": lambda lib, t, u, i, j, k: t.unsqueeze_(d(t, i)),
    "requires_grad_": lambda lib, t, u, i, j, k: t.requires_grad_(bool(i % 2)),
    "resize_": lambda lib, t, u, i, j, k: t.resize_(t.numel() // (1 + i % 2)),
}  # fmt: skip


def put(index):
    """t[index] = u, and t[index] = number."""

    def write(lib, t, u, i, j, k):
        t[index(lib, t, i, j)] = u if k % 2 else float(k)

    return write


def long(lib, *values):
    return lib.tensor(values)


def rows(t, i, u):
    """Two slices for index_add_, in the history of u."""
    return t.detach().clone().narrow(d(t, i), 0, 2) * u.sum()


WRITES = {
    "add_": lambda lib, t, u, i, j, k: t.add_(u, alpha=i),
    "add_ n": lambda lib, t, u, i, j, k: t.add_(i),
    "sub_": lambda lib, t, u, i, j, k: t.sub_(u),
    "mul_": lambda lib, t, u, i, j, k: t.mul_(u),
    "mul_ n": lambda lib, t, u, i, j, k: t.mul_(0.5 * i),
    "div_": lambda lib, t, u, i, j, k: t.div_(u),
    "mul_ self": lambda lib, t, u, i, j, k: t.mul_(t),
    "exp_": lambda lib, t, u, i, j, k: t.exp_(),
    "sin_": lambda lib, t, u, i, j, k: t.sin_(),
    "tanh_": lambda lib, t, u, i, j, k: t.tanh_(),
    "sigmoid_": lambda lib, t, u, i, j, k: t.sigmoid_(),
    "neg_": lambda lib, t, u, i, j, k: t.neg_(),
    "relu_": lambda lib, t, u, i, j, k: t.relu_(),
    "abs_": lambda lib, t, u, i, j, k: t.abs_(),
    "pow_": lambda lib, t, u, i, j, k: t.pow_(2),
    "clamp_": lambda lib, t, u, i, j, k: t.clamp_(-0.5, 0.5),
    "zero_": lambda lib, t, u, i, j, k: t.zero_(),
    "fill_": lambda lib, t, u, i, j, k: t.fill_(i),
    "fill_ t": lambda lib, t, u, i, j, k: t.fill_(u.sum()),
    "copy_": lambda lib, t, u, i, j, k: t.copy_(u),
    "masked_fill_": lambda lib, t, u, i, j, k: t.masked_fill_(t > 0, float(i)),
    "masked_fill_ u": lambda lib, t, u, i, j, k: t.masked_fill_(u > 0, u.sum()),
    "masked_scatter_": lambda lib, t, u, i, j, k: t.masked_scatter_(t > 0, u.clone()),
    "index_add_": lambda lib, t, u, i, j, k: t.index_add_(d(t, i), long(lib, 0, 1), rows(t, i, u)),
    "index_fill_": lambda lib, t, u, i, j, k: t.index_fill_(d(t, i), long(lib, j % 3), 2.0),
    "index_copy_": lambda lib, t, u, i, j, k: t.index_copy_(d(t, i), long(lib, 1, 0), rows(t, i, u)),
    "scatter_add_": lambda lib, t, u, i, j, k: t.scatter_add_(0, (u > 0).long(), u.clone()),
    "addcmul_": lambda lib, t, u, i, j, k: t.addcmul_(u, u, value=0.5),
    "lerp_": lambda lib, t, u, i, j, k: t.lerp_(u, 0.25),
    "addmm_": lambda lib, t, u, i, j, k: t.addmm_(u, u.mT),
    "tril_": lambda lib, t, u, i, j, k: t.tril_(),
    "cumsum_": lambda lib, t, u, i, j, k: t.cumsum_(d(t, i)),
    "iadd": lambda lib, t, u, i, j, k: t.__iadd__(u),
    "imul": lambda lib, t, u, i, j, k: t.__imul__(2),
    "put int": put(lambda lib, t, i, j: i % 3),
    "put slice": put(lambda lib, t, i, j: half(t, i)),
    "put ...": put(lambda lib, t, i, j: (..., j % 3)),
    "put all": put(lambda lib, t, i, j: slice(None)),
    "put mask": put(lambda lib, t, i, j: t > 0),
    "put list": put(lambda lib, t, i, j: [0, 1 + i % 3]),
    "put long": put(lambda lib, t, i, j: long(lib, i % 2, 2 + j % 2)),
    "put mixed": put(lambda lib, t, i, j: (slice(None), long(lib, i % 3))),
    "put two": put(lambda lib, t, i, j: (long(lib, 0, 1), long(lib, i % 3, j % 3))),
    "put none": put(lambda lib, t, i, j: (None, half(t, i))),
    "put 0-d": put(lambda lib, t, i, j: lib.tensor(i % 3)),
}  # fmt: skip
ARITHMETIC = {
    "add": lambda lib, t, u, i, j, k: t + u,
    "mul": lambda lib, t, u, i, j, k: t * u,
    "mul n": lambda lib, t, u, i, j, k: t * 0.5,
    "clone": lambda lib, t, u, i, j, k: t.clone(),
    "sin": lambda lib, t, u, i, j, k: t.sin(),
    "tanh": lambda lib, t, u, i, j, k: t.tanh(),
    "sum": lambda lib, t, u, i, j, k: t.sum(d(t, i)),
    "matmul": lambda lib, t, u, i, j, k: t @ u,
    "cat": lambda lib, t, u, i, j, k: lib.cat([t, u], d(t, i)),
    "take": lambda lib, t, u, i, j, k: t[long(lib, 0, i % 3)],
    "mask": lambda lib, t, u, i, j, k: t[t > 0],
    "contiguous": lambda lib, t, u, i, j, k: t.contiguous(),
    "where": lambda lib, t, u, i, j, k: lib.where(t > 0, t, u),
}  # fmt: skip


def no_grad(function):
    def quietly(lib, *args):
        with lib.no_grad():
            return function(lib, *args)

    return quietly


QUIET = {
    f"no_grad {name}": no_grad((VIEWS | WRITES)[name])
    for name in ("slice", "view", "chunk", "detach", "add_ n", "copy_", "put slice", "mul_")
}
# torch has written a part of the values already when it comes to an index that is out of range.
TORN = {"put long", "put list", "put mixed", "put two", "masked_scatter_", "index_add_",
        "index_copy_", "index_fill_", "scatter_add_"}  # fmt: skip
STEPS = VIEWS | RESHAPED_IN_PLACE | WRITES | ARITHMETIC | QUIET

step = st.tuples(
    st.one_of(
        st.sampled_from(sorted(VIEWS)),
        st.sampled_from(sorted(WRITES)),
        st.sampled_from(sorted(RESHAPED_IN_PLACE | ARITHMETIC | QUIET)),
    ),
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5),
)  # fmt: skip

# ---- two libraries, side by side ---------------------------------------------------------------


def start(lib):
    """Leaves, with and without a gradient, and clones of them to write to."""
    a = (lib.arange(12, dtype=lib.float64) / 7 - 0.8).reshape(3, 4).clone().requires_grad_()
    b = (lib.arange(8, dtype=lib.float64) / -5 + 0.9).reshape(2, 4).clone().requires_grad_()
    c = lib.ones(2, 3, 4, dtype=lib.float64) / 3
    e = lib.arange(4, dtype=lib.float64) / 4
    return [a, b, c, e, a.clone(), b.clone(), a * 1, c.clone()], [a, b]


def attempt(call):
    """What a call gives, and the exception that it raised.

    What torch only warns of, writes by index to expanded tensors, is refused here.
    """
    try:
        return call(), None
    except UserWarning as warning:
        return None, RuntimeError(warning)
    except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError) as error:
        return None, error


def refused(mine, theirs):
    """Whether both refused; AssertionError where one did, or where the types differ."""
    names = [type(error).__name__ for error in (mine, theirs)]
    assert names[0] == names[1], f"dtorch: {mine!r}\n torch: {theirs!r}"
    return mine is not None


def spoilt(mine, theirs):
    """Whether a write to its base made the history of a view unusable.

    torch also says so after a write that isn't recorded.
    """
    my_error, their_error = (attempt(lambda t=t: t.grad_fn)[1] for t in (mine, theirs))
    return refused(my_error, their_error) if my_error else their_error is not None


def compare(mine, theirs):
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert mine.requires_grad == theirs.requires_grad, "requires_grad"
    assert mine.is_leaf == theirs.is_leaf, "is_leaf"
    x = torch.from_numpy(mine.detach().numpy().copy())
    torch.testing.assert_close(x, theirs.detach(), equal_nan=True, rtol=1e-9, atol=1e-12)


def run(chain):
    """Take all steps in both libraries; AssertionError at the first difference."""
    libs = (dtorch, torch)
    (mine, my_leaves), (theirs, their_leaves) = map(start, libs)
    for name, i, j, *numbers in chain:
        before = [(t.detach().clone(), t) for t in mine]
        results = [
            attempt(lambda: STEPS[name](lib, pool[i % len(pool)], pool[j % len(pool)], *numbers))  # noqa: B023
            for lib, pool in zip(libs, (mine, theirs))
        ]
        (x, my_error), (y, their_error) = results
        if my_error is not None:
            assert all(dtorch.equal(was, t.detach()) for was, t in before), (
                "written to, and refused"
            )
        if not refused(my_error, their_error):
            xs, ys = (r if isinstance(r, (tuple, list)) else (r,) for r in (x, y))
            assert len(xs) == len(ys)
            assert [any(x is t for t in mine) for x in xs] == [
                any(y is t for t in theirs) for y in ys
            ]
            new = [
                (x, y) for x, y in zip(xs, ys) if y is not None and not any(y is t for t in theirs)
            ]
            mine += [x for x, _ in new]
            theirs += [y for _, y in new]
        elif name in TORN:
            return
        usable = [not spoilt(x, y) for x, y in zip(mine, theirs)]
        mine = [x for x, ok in zip(mine, usable) if ok]
        theirs = [y for y, ok in zip(theirs, usable) if ok]
        for x, y in zip(mine, theirs):
            compare(x, y)
    losses = [
        sum((t * (n + 1)).sin().sum() for n, t in enumerate(pool) if t.requires_grad)
        for pool in (mine, theirs)
    ]
    if isinstance(losses[1], int):
        return
    errors = [attempt(loss.backward)[1] for loss in losses]
    if not refused(*errors):
        for x, y in zip(my_leaves, their_leaves):
            assert (x.grad is None) == (y.grad is None)
            if y.grad is not None:
                compare(x.grad, y.grad)


@settings(
    max_examples=CHAINS, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(step, min_size=1, max_size=8))
@pytest.mark.timeout(3000)
def test_dtorch_and_torch_go_the_same_way(chain):
    run(chain)
