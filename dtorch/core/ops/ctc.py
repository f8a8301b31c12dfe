"""Connectionist temporal classification (Graves et al., 2006)."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..backend import of
from ..op import op
from ..tensor import Tensor, wrap
from .index import select
from .join import stack
from .loss import _check_reduction, reduced
from .norms import _logsumexp
from .pointwise import exp, where
from .pool import gather_flat
from .reduce import _sum
from .resample import pad_constant
from .shape import expand, raw, squeeze, unsqueeze

NEVER = -1e30  # the log of a probability of 0; finite, so that differences stay numbers


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean",
             zero_infinity=False):  # fmt: skip
    """Minus the log probability of the targets, over all ways to stretch them out with blanks.

    log_probs: (T, N, C) or (T, C) log probabilities; targets: (N, S), or all targets in one row;
    lengths: (N,) ints.  "mean" divides each loss by the target's length first.
    """
    _check_reduction(reduction)
    if log_probs.ndim not in (2, 3):
        raise RuntimeError(
            f"log_probs must be (T, N, C) or (T, C), but got {list(log_probs.shape)}"
        )
    batched = log_probs.ndim == 3
    x = log_probs if batched else unsqueeze(log_probs, 1)
    steps, n, classes = x.shape
    xp = of(x._a)
    lengths = _lengths(xp, input_lengths, n, "input_lengths")
    sizes = _lengths(xp, target_lengths, n, "target_lengths")
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range [0, {classes}), but got {blank}")
    if n and lengths.max() > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value "
            f"{int(lengths.max())}"
        )
    labels = _labels(xp, raw(targets), sizes, n, blank)
    losses = _ctc(x, labels=labels, lengths=lengths, sizes=sizes, zero_infinity=zero_infinity)[0]
    if reduction == "mean":
        losses = losses / wrap(xp.maximum(sizes, 1).astype(x._a.dtype))
    return reduced(losses if batched else squeeze(losses, 0), reduction)


def _lengths(xp, given, n, name):
    a = raw(given) if isinstance(given, Tensor) else xp.asarray(given, "int64")
    a = a.reshape(-1)
    if len(a) != n:
        raise RuntimeError(f"{name} must be of size batch_size: expected {n}, got {len(a)}")
    if n and a.min() < 0:
        raise RuntimeError(f"Expected {name} to have non-negative values, got {int(a.min())}")
    return a


def _labels(xp, targets, sizes, n, blank):
    """The targets with blanks around and between: (N, 2 S + 1)"""
    longest = int(sizes.max()) if n else 0
    labels = xp.full((n, 2 * longest + 1), blank, "int64")
    rows = targets if targets.ndim == 2 else None
    if (
        rows is None
        and int(sizes.sum()) > targets.size
        or rows is not None
        and longest > rows.shape[1]
    ):
        raise RuntimeError(
            f"targets of shape {list(targets.shape)} are too few for target_lengths "
            f"{sizes.tolist()}"
        )
    start = 0
    for i, size in enumerate(sizes.tolist()):
        labels[i, 1 : 2 * size : 2] = (
            targets[start : start + size] if rows is None else rows[i, :size]
        )
        start += size
    return labels


# ---- forward and backward in one pass each -----------------------------------------------------


@op(saves="xy")
def _ctc(xp, x, *, labels, lengths, sizes, zero_infinity):
    """The loss of each sample (N,), and log alpha (T, N, W): the paths to label s at step t.

    x: (T, N, C) log probabilities; labels: (N, W), blanks included
    """
    emitted = _emitted(xp, x, labels)
    alpha = xp.full_like(emitted, -math.inf)
    alpha[:1, :, :2] = emitted[:1, :, :2]
    skips = _skips(xp, labels)
    for t in range(1, len(emitted)):
        before = alpha[t - 1]
        one, two = _shifted(xp, before, 1), _shifted(xp, before, 2)
        two[~skips] = -math.inf
        alpha[t] = _log_add(xp, before, one, two) + emitted[t]
    rows = xp.arange(labels.shape[0])
    ends = _ends(xp, alpha, rows, lengths, sizes)
    losses = -_log_add(xp, *ends)
    losses = xp.where((lengths == 0) & (sizes == 0), 0, losses)
    return (xp.where(losses == math.inf, 0, losses) if zero_infinity else losses), alpha


def _ctc_vjp(needs, g, y, x, labels, lengths, sizes, zero_infinity):
    """exp(x) - P(label c at step t | targets), times the gradient of the sample's loss."""
    xp = of(x)
    losses, alpha = y
    steps, n, _ = x.shape
    paths = alpha + _log_beta(xp, _emitted(xp, x, labels), labels, lengths, sizes)
    total = xp.full_like(x, -math.inf)
    at, rows = xp.arange(steps)[:, None], xp.arange(n)[None]
    for s in range(labels.shape[1]):
        where_ = at, rows, labels[:, s][None]
        total[where_] = _log_add(xp, total[where_], paths[:, :, s])
    grad = xp.exp(x) - xp.exp(total + losses[:, None] - x)
    grad = grad * g[0][:, None]
    past = at >= lengths
    if zero_infinity:
        past = past | ~xp.isfinite(paths.max(axis=(0, 2)))
    grad[past] = 0
    return (grad,)


_ctc.vjp_joint(_ctc_vjp)


def _log_beta(xp, emitted, labels, lengths, sizes):
    """(T, N, W): the paths from label s at step t to the end."""
    steps, n, width = emitted.shape
    # From s a path goes on to s + 2 where that may follow s without a blank between.
    skips = xp.zeros((n, width), bool)
    skips[:, :-2] = _skips(xp, labels)[:, 2:]
    place = xp.arange(width)
    last = (place == 2 * sizes[:, None]) | (place == 2 * sizes[:, None] - 1)
    beta = xp.full_like(emitted, -math.inf)
    after = beta[0].copy()
    for t in reversed(range(steps)):
        one, two = _shifted(xp, after, -1), _shifted(xp, after, -2)
        two[~skips] = -math.inf
        inner = _log_add(xp, after, one, two) + emitted[t]
        ending = xp.where(last, emitted[t], -math.inf)
        step = (lengths - 1)[:, None]
        after = xp.where(t == step, ending, xp.where(t < step, inner, -math.inf))
        beta[t] = after
    return beta


def _emitted(xp, x, labels):
    """The log probability of each label at each step: (T, N, W)"""
    return xp.take_along_axis(x, xp.broadcast_to(labels, (len(x), *labels.shape)), axis=2)


def _skips(xp, labels):
    """Which labels may follow the one before the blank before them: (N, W)"""
    skips = xp.zeros(labels.shape, bool)
    skips[:, 2:] = labels[:, 2:] != labels[:, :-2]  # blanks are equal
    return skips


def _shifted(xp, a, by):
    """a moved by so many places along its last dimension, -inf moving in.  (N, W)"""
    out = xp.full_like(a, -math.inf)
    if by > 0:
        out[:, by:] = a[:, :-by]
    else:
        out[:, :by] = a[:, -by:]
    return out


def _ends(xp, alpha, rows, lengths, sizes):
    """log alpha of the two places where a path may end, (N,) each."""
    if not len(alpha):
        nothing = xp.full(len(rows), -math.inf, alpha.dtype)
        return nothing, nothing
    at = xp.maximum(lengths - 1, 0)
    never = lengths == 0
    blank = xp.where(never, -math.inf, alpha[at, rows, 2 * sizes])
    label = xp.where(never | (sizes == 0), -math.inf,
                     alpha[at, rows, xp.maximum(2 * sizes - 1, 0)])  # fmt: skip
    return blank.astype(alpha.dtype), label.astype(alpha.dtype)


def _log_add(xp, *terms):
    """log(sum(exp(terms))), -inf where all are."""
    top = terms[0]
    for term in terms[1:]:
        top = xp.maximum(top, term)
    top = xp.where(top == -math.inf, 0, top)
    total = xp.exp(terms[0] - top)
    for term in terms[1:]:
        total = total + xp.exp(term - top)
    return xp.log(total) + top


# ---- in terms of other ops ---------------------------------------------------------------------


@_ctc.define
def _composite(x, *, labels, lengths, sizes, zero_infinity):
    xp = of(x._a)
    losses = -_log_likelihood(xp, x, labels, lengths, sizes)
    # The reference's gradient is that of log_softmax and ctc_loss together: exp(log_probs) more.
    inside = wrap(xp.arange(len(x))[:, None, None] < lengths[:, None])
    p = where(inside, exp(x), 0.0)
    losses = losses + _sum(p - p.detach(), dims=(0, 2), keepdim=False)
    impossible = losses.detach() > -NEVER / 2
    return where(impossible, 0.0 if zero_infinity else math.inf, losses), None


def _log_likelihood(xp, x, labels, lengths, sizes):
    """log P(targets), (N,): alpha[s] is that of the first s labels and blanks, up to step t."""
    steps, n, _ = x.shape
    width = labels.shape[1]
    emitted = gather_flat(x, wrap(xp.broadcast_to(labels, (steps, n, width))), n=1)
    no_skip = wrap(xp.where(_skips(xp, labels), 0, NEVER).astype(x._a.dtype))
    first = xp.full((n, width), NEVER, x._a.dtype)
    first[:, 0] = 0  # before step 0 the path may be about to emit labels 0 or 1
    alpha = wrap(first)
    start = wrap(xp.where(xp.arange(width) < 2, 0, NEVER).astype(x._a.dtype))
    for t in range(steps):
        if t == 0:
            new = expand(start, (n, width)) + select(emitted, 0, 0)
        else:
            one = pad_constant(alpha, pads=((0, 0), (1, -1)), value=NEVER)
            two = one
            if width > 1:
                two = pad_constant(alpha, pads=((0, 0), (2, -2)), value=NEVER) + no_skip
            new = _logsumexp(stack([alpha, one, two]), dims=(0,), keepdim=False)
            new = new + select(emitted, 0, t)
        running = lengths > t
        alpha = new if running.all() else where(wrap(running[:, None]), new, alpha)
    ends = xp.stack([2 * sizes, xp.maximum(2 * sizes - 1, 0)], axis=1)
    last = gather_flat(alpha, wrap(ends), n=1)
    closed = wrap(xp.stack([sizes < 0, sizes == 0], axis=1))  # an empty target has one end only
    return _logsumexp(where(closed, NEVER, last), dims=(1,), keepdim=False)


FUNCTIONS = {"ctc_loss": ctc_loss}
