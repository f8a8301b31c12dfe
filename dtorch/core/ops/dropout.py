"""Dropout of elements and of whole channels."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ..backend import of
from ..op import op
from ..views import in_place
from .activation import leaky_relu
from .pointwise import where
from .random import keep_mask, rand_like
from .shape import raw, squeeze, unsqueeze


@op()
def _masked(xp, x, *, mask, scale, shift=None):
    """x where the mask holds, else 0; times scale; plus `shift` of (kept, dropped) elements."""
    mask = xp.asarray(mask)
    y = x * mask
    y *= scale
    if shift is not None:
        y += xp.where(mask, *shift).astype(y.dtype)
    return y


_masked.vjp(lambda g, y, x, mask, scale, shift=None: _masked(g, mask=mask, scale=scale))


def check_probability(p):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input, p=0.5, training=True):
    """In training each element is 0 with probability p, and the others are scaled by 1 / (1 - p)

    (Srivastava et al., 2014)
    """
    check_probability(p)
    return _dropped(input, p, input.shape) if training and p else input


def _dropped(x, p, shape):
    scale = 1 / (1 - p) if p < 1 else 0.0
    return _masked(x, mask=keep_mask(tuple(shape), p, of(raw(x))), scale=scale)


def feature_dropout(input, p=0.5, training=True):
    """dropout of whole channels: of x[n, c], for input (N, C, ...)"""
    check_probability(p)
    if input.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    if not training or not p:
        return input
    return _dropped(input, p, (*input.shape[:2], *(1,) * (input.ndim - 2)))


def _alpha_dropped(x, p, shape):
    """Dropped elements get selu's limit at minus infinity; mean and variance are kept."""
    limit = -1.7580993408473766
    a = ((1 - p) * (1 + p * limit**2)) ** -0.5 if p < 1 else 0.0
    b = -a * limit * p
    return _masked(
        x, mask=keep_mask(tuple(shape), p, of(raw(x))), scale=a, shift=(b, a * limit + b)
    )


def alpha_dropout(input, p=0.5, training=False):
    """dropout for selu networks: keeps mean 0 and variance 1  (Klambauer et al., 2017)"""
    check_probability(p)
    return _alpha_dropped(input, p, input.shape) if training and p else input


def feature_alpha_dropout(input, p=0.5, training=False):
    """alpha_dropout of whole channels: of x[n, c], for input (N, C, ...)"""
    check_probability(p)
    if not training or not p:
        return input
    return _alpha_dropped(input, p, (*input.shape[:2], *(1,) * (input.ndim - 2)))


def _channels(n):
    """dropout of channels for inputs with n spatial dimensions, (N, C, *size) or (C, *size)."""

    def dropout_channels(input, p=0.5, training=True):
        check_probability(p)
        if input.ndim == n + 1 and n != 2:  # (C, H, W) counts as (N, C, L), as it always has
            return squeeze(feature_dropout(unsqueeze(input, 0), p, training), 0)
        return feature_dropout(input, p, training)

    dropout_channels.__name__ = dropout_channels.__qualname__ = f"dropout{n}d"
    dropout_channels.__doc__ = _channels.__doc__
    return dropout_channels


dropout1d, dropout2d, dropout3d = map(_channels, (1, 2, 3))


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """leaky_relu; in training each negative element's slope is drawn from [lower, upper)"""
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound, but got {lower} > "
            f"{upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slope = rand_like(input.detach()) * (upper - lower) + lower
    return where(input > 0, input, input * slope)


_RANDOM = (rrelu, dropout, feature_dropout, alpha_dropout, feature_alpha_dropout)
FUNCTIONS = {f.__name__: f for f in _RANDOM} | {f"{f.__name__}_": in_place(f) for f in _RANDOM}
