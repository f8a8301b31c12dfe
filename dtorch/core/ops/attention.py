"""Scaled dot product attention, and multi-head attention on top of it."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

from ..op import op
from .activation import _softmax
from .create import zeros
from .dropout import dropout
from .join import cat, chunk
from .linalg import matmul
from .linear import linear
from .pointwise import where
from .reduce import sum_to
from .shape import expand, number, permute, reshape, squeeze, transpose, unsqueeze


def _allowed(xp, n, m):
    """What causal attention may look at: bool (n, m), key j for query i where j <= i."""
    return xp.tril(xp.ones((n, m), bool))


@op(saves="xr", kinds="biuf")
def _attention(xp, q, k, v, mask, *, scale, causal):
    """softmax(scale q kᵀ + mask) v, and the softmax.

    q: (..., L, E), k: (..., S, E), v: (..., S, Ev), mask: bool (True: look at it) or what is added,
    broadcast to (..., L, S), or None.  A query that may look at nothing gets zeros.
    """
    p = xp.matmul(q * scale, k.swapaxes(-1, -2))
    if causal:
        p = xp.where(_allowed(xp, *p.shape[-2:]), p, -xp.inf)
    if mask is not None:
        p = xp.where(mask, p, -xp.inf) if mask.dtype == bool else p + mask
    if p.size:
        high = p.max(axis=-1, keepdims=True)
        p -= xp.where(high == -xp.inf, 0, high)
        xp.exp(p, out=p)
        total = p.sum(axis=-1, keepdims=True)
        p /= xp.where(total == 0, 1, total)
    return xp.matmul(p, v), p


@op()
def _attention_grad(xp, g, q, k, v, p, mask, *, needs, scale):
    gq = gk = gv = gm = None
    if needs[2]:
        gv = sum_to(xp.matmul(p.swapaxes(-1, -2), g), v.shape)
    if needs[0] or needs[1] or needs[3]:
        s = xp.matmul(g, v.swapaxes(-1, -2))
        s *= p
        s -= p * s.sum(axis=-1, keepdims=True)
        if needs[3]:
            gm = sum_to(s, mask.shape)
        if needs[0]:
            gq = sum_to(xp.matmul(s, k), q.shape) * scale
        if needs[1]:
            gk = sum_to(xp.matmul(s.swapaxes(-1, -2), q), k.shape) * scale
    return gq, gk, gv, gm


_attention.vjp_joint(
    lambda needs, g, y, q, k, v, mask, scale, causal: _attention_grad(
        g, q, k, v, y[1], mask, needs=needs, scale=scale
    )
)


@_attention.define
def _composite(q, k, v, mask, *, scale, causal):
    return matmul(_weights(q, k, mask, scale, causal), v)


def _weights(q, k, mask, scale, causal):
    s = matmul(q * scale, transpose(k, -1, -2))
    if causal:
        s = where(zeros_bool(s).logical_not().tril(), s, -math.inf)
    if mask is not None:
        s = where(mask, s, -math.inf) if mask.dtype.category == 0 else s + mask
    if not causal and mask is None:
        return _softmax(s, dim=s.ndim - 1)
    nothing = s.detach().amax(-1, True) == -math.inf
    return where(nothing, 0.0, _softmax(where(nothing, 0.0, s), dim=s.ndim - 1))


def zeros_bool(like):
    from ..dtype import bool_

    return zeros(*like.shape[-2:], dtype=bool_, device=like.device)


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False,
                                 scale=None, enable_gqa=False):  # fmt: skip
    """softmax(query keyᵀ / sqrt(E) + attn_mask) value  (Vaswani et al., 2017)

    query: (..., H, L, E), key: (..., H, S, E), value: (..., H, S, Ev); attn_mask: (..., L, S), bool
    (True: take part) or what is added.  enable_gqa: key and value may have fewer heads, each for
    several queries'.
    """
    for name, t in (("query", query), ("key", key), ("value", value)):
        if t.dtype is not query.dtype:
            raise RuntimeError(
                "Expected query, key, and value to have the same dtype, but got query.dtype: "
                f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
            )
        if t.ndim < 2:
            raise RuntimeError(
                f"Expected query, key, and value to all be  at least 2 dimensional, but got {name} "
                f"of {t.ndim} dimensions"
            )
    if attn_mask is not None and is_causal:
        raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            "expected query (..., L, E), key (..., S, E) and value (..., S, Ev), but got "
            f"{list(query.shape)}, {list(key.shape)} and {list(value.shape)}"
        )
    if (
        attn_mask is not None
        and attn_mask.dtype.category != 0
        and attn_mask.dtype is not query.dtype
    ):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {attn_mask.dtype} and  query.dtype: {query.dtype} instead."
        )
    if enable_gqa:
        key, value = _repeated(query, key, "key"), _repeated(query, value, "value")
    scale = number(scale) if scale is not None else 1 / math.sqrt(query.shape[-1] or 1)
    if not dropout_p:
        return _attention(query, key, value, attn_mask, scale=scale, causal=is_causal)[0]
    weights = _weights(query, key, attn_mask, scale, is_causal)
    return matmul(dropout(weights, dropout_p), value)


def _repeated(query, x, name):
    """The heads of x, each as often as there are query heads for it."""
    heads, have = query.shape[-3], x.shape[-3]
    if heads % have:
        raise RuntimeError(
            f"Number of heads in {name} must divide the number of heads in query, but got {have} "
            f"and {heads}"
        )
    lead, rest, k = x.shape[:-3], x.shape[-2:], heads // have
    return reshape(expand(unsqueeze(x, -3), (*lead, have, k, *rest)), (*lead, heads, *rest))


# ---- multi-head ------------------------------------------------------------------------------


def _as_addition(mask, name, like):
    """A mask as what is added to the scores: -inf where a bool one says True."""
    if mask is None:
        return None
    if mask.dtype.category == 0:
        none = zeros(*mask.shape, dtype=like.dtype, device=like.device)
        return where(mask, -math.inf, none)
    if not mask.dtype.is_floating_point:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return mask


def multi_head_attention_forward(
    query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v,
    add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None,
    need_weights=True, attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None,
    k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None, average_attn_weights=True,
    is_causal=False,
):  # fmt: skip
    """Attention of num_heads heads over projections of query, key and value, then projected.

    query: (L, N, E), key: (S, N, Ek), value: (S, N, Ev), or each without N.  attn_mask: (L, S) or
    (N * heads, L, S), key_padding_mask: (N, S); bool ones say where not to look.
    Returns the output, (L, N, E), and the weights, (N, L, S) averaged over the heads or
    (N, heads, L, S), or None.
    """
    batched = query.ndim == 3
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query "
            "tensor"
        )
    for name, t in (("key", key), ("value", value)):
        if t.ndim != query.ndim:
            raise AssertionError(
                f"For {'batched' if batched else 'unbatched'} ({query.ndim}-D) `query`, expected "
                f"`key` and `value` to be {query.ndim}-D but found {t.ndim}-D {name}"
            )
    if not batched:
        query, key, value = (unsqueeze(t, 1) for t in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = unsqueeze(key_padding_mask, 0)
    length, n, e = query.shape
    if e != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}"
        )
    rows = slice(2) if use_separate_proj_weight else slice(3)  # the features, too, must be alike
    if tuple(key.shape[rows]) != tuple(value.shape[rows]):
        raise AssertionError(
            f"key shape {tuple(key.shape)} does not match value shape {tuple(value.shape)}"
        )
    head = e // num_heads
    if head * num_heads != e:
        raise AssertionError(f"embed_dim {e} not divisible by num_heads {num_heads}")
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if use_separate_proj_weight:
        biases = (None,) * 3 if in_proj_bias is None else chunk(in_proj_bias, 3)
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))
    else:
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    masks = [
        _as_addition(attn_mask, "attn_mask", q),
        _as_addition(key_padding_mask, "key_padding_mask", q),
    ]
    if bias_k is not None and bias_v is not None:
        k = cat([k, expand(bias_k, (1, n, e))])
        v = cat([v, expand(bias_v, (1, n, e))])
        masks = [m if m is None else _one_more(m) for m in masks]

    def heads(x):  # (S, N, E) -> (N, heads, S, head)
        return permute(reshape(x, (x.shape[0], n, num_heads, head)), (1, 2, 0, 3))

    q = heads(q)
    k = heads(k) if static_k is None else reshape(static_k, (n, num_heads, -1, head))
    v = heads(v) if static_v is None else reshape(static_v, (n, num_heads, -1, head))
    if add_zero_attn:
        nothing = zeros(n, num_heads, 1, head, dtype=k.dtype, device=k.device)
        k, v = cat([k, nothing], 2), cat([v, nothing], 2)
        masks = [m if m is None else _one_more(m) for m in masks]
    mask = _joined(*masks, n, num_heads, length, k.shape[2])
    dropout_p = dropout_p if training else 0.0
    scale = 1 / math.sqrt(head)
    if need_weights:
        weights = _weights(q, k, mask, scale, False)
        weights = dropout(weights, dropout_p)
        y = matmul(weights, v)
        if average_attn_weights:
            weights = weights.mean(1)
        weights = weights if batched else squeeze(weights, 0)
    else:
        y = scaled_dot_product_attention(q, k, v, mask, dropout_p)
        weights = None
    y = reshape(permute(y, (2, 0, 1, 3)), (length, n, e))
    y = linear(y, out_proj_weight, out_proj_bias)
    return (y if batched else squeeze(y, 1)), weights


def _projected(query, key, value, w, b):
    """The in-projections, in as few products as the inputs allow."""
    e = query.shape[-1]
    if key is value and query is key:
        return chunk(linear(query, w, b), 3, -1)
    if key is value:
        y = linear(key, w[e:], None if b is None else b[e:])
        return linear(query, w[:e], None if b is None else b[:e]), *chunk(y, 2, -1)
    biases = (None,) * 3 if b is None else chunk(b, 3)
    return tuple(map(linear, (query, key, value), chunk(w, 3), biases))


def _one_more(mask):
    """A mask for one more key, which everything may look at."""
    extra = zeros(*mask.shape[:-1], 1, dtype=mask.dtype, device=mask.device)
    return cat([mask, extra], -1)


def _joined(attn_mask, padding, n, heads, length, keys):
    """Both masks as one that broadcasts to (N, heads, L, S)."""
    if attn_mask is not None:
        whole = (n * heads, length, keys)
        if tuple(attn_mask.shape) not in (whole, whole[1:], (1, *whole[1:])):
            raise RuntimeError(
                f"The shape of the attn_mask is {list(attn_mask.shape)}, but should be "
                f"{list(whole[1:])} or {list(whole)}."
            )
        if attn_mask.ndim == 3 and attn_mask.shape[0] == n * heads:
            attn_mask = reshape(attn_mask, (n, heads, length, keys))
    if padding is None:
        return attn_mask
    if tuple(padding.shape) != (n, keys):
        raise AssertionError(
            f"expecting key_padding_mask shape of {(n, keys)}, but got {tuple(padding.shape)}"
        )
    padding = reshape(padding, (n, 1, 1, keys))
    return padding if attn_mask is None else attn_mask + padding
