"""Distances and similarities, and the losses with margins that are made of them."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from .activation import logsigmoid, relu, softplus
from .create import triu_indices
from .gather import gather
from .loss import _check_reduction, reduced
from .norms import vector_norm
from .pointwise import clamp_min, minimum, sqrt, where
from .reduce import sum as sum_
from .shape import broadcast_shapes, expand, reshape, unsqueeze


def normalize(input, p=2.0, dim=1, eps=1e-12):
    """input / max(its p-norm along dim, eps)"""
    return input / clamp_min(vector_norm(input, p, dim, True), eps)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along dim, after broadcasting"""
    shape = broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = expand(x1, shape), expand(x2, shape)
    n1 = clamp_min(vector_norm(x1, 2, dim, True), eps)
    n2 = clamp_min(vector_norm(x2, 2, dim, True), eps)
    return sum_((x1 / n1) * (x2 / n2), dim)


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """|x1 - x2 + eps| by the p-norm of the last dimension"""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def pdist(input, p=2.0):
    """(N, D) -> (N * (N - 1) / 2,): the distances, by the p-norm, of each row to those below it."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = triu_indices(len(input), len(input), 1)
    return vector_norm(input[i] - input[j], p, -1)


def margin_ranking_loss(input1, input2, target, margin=0, reduction="mean"):
    """max(0, -target (input1 - input2) + margin), where target is 1 or -1"""
    _check_reduction(reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced(clamp_min(-target * (input1 - input2) + margin, 0), reduction)


def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """input where target is 1, max(0, margin - input) where it is -1"""
    _check_reduction(reduction)
    zero = input * 0
    loss = where(target != 1, clamp_min(margin - input, 0), zero)
    return reduced(loss + where(target != -1, input, zero), reduction)


def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-target input)), where target is 1 or -1"""
    _check_reduction(reduction)
    return reduced(softplus(-target * input, 1, float("inf")), reduction)


def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """Binary cross entropy of sigmoid(input), averaged over the last dimension, the classes"""
    _check_reduction(reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return reduced(sum_(loss, -1) / input.shape[-1], reduction)


def cosine_embedding_loss(input1, input2, target, margin=0, reduction="mean"):
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1"""
    _check_reduction(reduction)
    if target.ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.ndim + 1 != input1.ndim or target.ndim + 1 != input2.ndim:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    eps = 1e-12  # within the root, where the reference has it
    product = sum_(input1 * input2, -1)
    squares = (sum_(input1 * input1, -1) + eps) * (sum_(input2 * input2, -1) + eps)
    cos = product / sqrt(squares)
    zero = cos * 0
    loss = where(target == 1, 1 - cos, zero)
    return reduced(loss + where(target == -1, clamp_min(cos - margin, 0), zero), reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False,
                        reduction="mean"):  # fmt: skip
    """max(0, |anchor - positive| - |anchor - negative| + margin)  (Balntas et al., 2016)

    swap: take the positive's distance to the negative where that is smaller than the anchor's
    """
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )

    def distance(a, b):
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(anchor, positive, negative, *, distance_function=None,
                                      margin=1.0, swap=False, reduction="mean"):  # fmt: skip
    """triplet_margin_loss with any distance function(a, b)"""
    _check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp_min(near - far + margin, 0), reduction)


def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """The mean over classes i other than the target y of max(0, margin - input[y] + input[i])^p

    input: (N, C) or (C,); target: (N,) or ()
    """
    _check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    x = input if input.ndim == 2 else reshape(input, (1, input.numel()))
    t = target if input.ndim == 2 else reshape(target, (target.numel(),))
    if tuple(t.shape) != (x.shape[0],):
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input "
            f"samples (batch size). Expected target size [{x.shape[0]}], but got {list(t.shape)}. "
            f"Input has shape {list(input.shape)}."
        )
    at = unsqueeze(t, 1)
    loss = relu(margin - gather(x, 1, at) + x) ** p
    if weight is not None:
        loss = loss * unsqueeze(weight[t], 1)
    own = expand(at, x.shape) == _classes(x)
    loss = sum_(where(own, loss * 0, loss), 1) / x.shape[1]
    return reduced(loss if target.ndim else reshape(loss, ()), reduction)


def multilabel_margin_loss(input, target, reduction="mean"):
    """The mean over labels y and other classes i of max(0, 1 - input[y] + input[i])

    target: in each row the labels, of which there are as many as stand before the first -1
    """
    _check_reduction(reduction)
    if input.shape != target.shape or input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    x, t = (v if v.ndim == 2 else reshape(v, (1, v.numel())) for v in (input, target))
    valid = (t < 0).to(t.dtype).cumsum(1) == 0
    labels = where(valid, t, 0)
    # (N, labels, C): whether class c is the label, and the margins between them
    same = (unsqueeze(labels, 2) == _classes(x)) & unsqueeze(valid, 2)
    other = ~same.any(1)
    margins = relu(1 - unsqueeze(gather(x, 1, labels), 2) + unsqueeze(x, 1))
    counted = unsqueeze(valid, 2) & unsqueeze(other, 1)
    loss = sum_(where(counted, margins, margins * 0), (1, 2)) / x.shape[1]
    return reduced(loss if input.ndim == 2 else reshape(loss, ()), reduction)


def _classes(x):
    from .create import arange

    return arange(x.shape[-1], device=x.device)


FUNCTIONS = {
    "cosine_similarity": cosine_similarity, "pairwise_distance": pairwise_distance, "pdist": pdist,
    "cosine_embedding_loss": cosine_embedding_loss,
    "hinge_embedding_loss": hinge_embedding_loss, "margin_ranking_loss": margin_ranking_loss,
    "triplet_margin_loss": triplet_margin_loss,
}  # fmt: skip
