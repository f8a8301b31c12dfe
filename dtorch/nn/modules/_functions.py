"""Functions with gradients of their own that modules use."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from ...core.function import Function
from ...core.ops.linalg import matmul


class CrossMapLRN2d(Function):
    """Local response normalization as torch's CrossMapLRN2d computes it.  input: (N, C, H, W)

    Its running sum over the channels never lets go of the first one, and its gradient sums over a
    window that is not the forward's.  Both are torch's, on purpose: LocalResponseNorm is exact.
    """

    @staticmethod
    def forward(ctx, input, size, alpha=1e-4, beta=0.75, k=1):
        if input.ndim != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.ndim}D instead.")
        scale = _mixed(_running_window(input, size), input * input) * (alpha / size) + k
        ctx.size, ctx.alpha, ctx.beta = size, alpha, beta
        ctx.save_for_backward(input, scale)
        return input * scale**-beta

    @staticmethod
    def backward(ctx, grad_output):
        input, scale = ctx.saved_tensors
        ratio = grad_output * input * scale ** (-ctx.beta - 1)
        summed = _mixed(_backward_window(input, ctx.size), ratio)
        factor = 2 * ctx.alpha * ctx.beta / ctx.size
        grad = grad_output * scale**-ctx.beta - input * summed * factor
        return grad, None, None, None, None


def _mixed(window, x):
    """Sums of channels.  window: (C, C), x: (N, C, H, W)"""
    return matmul(window, x.flatten(2)).reshape(x.shape)


def _running_window(x, size):
    """[c]: which channels the sum for channel c is over; each is made from the one before."""
    channels, reach = x.shape[1], (size - 1) // 2 + 1
    window = x.new_zeros(channels, channels)
    window[0, :reach] = 1
    for c in range(1, channels):
        window[c] = window[c - 1]
        if c < channels - reach + 1:
            window[c, c + reach - 1] += 1
        if c > reach:
            window[c, c - reach] -= 1
    return window


def _backward_window(x, size):
    """[c]: the channels from c - (size + 1) // 2 on, `size` of them."""
    window = x.new_ones(x.shape[1], x.shape[1])
    first = -((size + 1) // 2)
    return window.triu(first).tril(first + size - 1)
