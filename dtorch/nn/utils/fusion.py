"""Folding a batch norm that is in evaluation mode into the layer before it."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import copy

from ..parameter import Parameter


def _folded(weight, bias, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape):
    """Weight and bias of the layer that does both; shape: the scale's, to multiply the weight."""
    scale = (bn_rv + bn_eps).rsqrt()
    if bn_w is not None:
        scale = scale * bn_w
    bias = bn_rm * 0 if bias is None else bias
    new_bias = (bias - bn_rm) * scale
    if bn_b is not None:
        new_bias = new_bias + bn_b
    new_weight = weight * scale.reshape(shape).to(weight.dtype)
    return (
        Parameter(new_weight.detach(), weight.requires_grad),
        Parameter(new_bias.detach().to(weight.dtype), bias.requires_grad),
    )


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """(weight, bias) of a convolution followed by a batch norm.

    conv_w: (out, in / groups, *kernel), transposed (in, out / groups, *kernel); conv_b, bn_w, bn_b:
    (out,) or None; bn_rm, bn_rv: the running statistics (out,)
    """
    shape = [1] * conv_w.ndim
    shape[1 if transpose else 0] = -1
    return _folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """(weight, bias) of a linear layer followed by a batch norm.  linear_w: (out, in)"""
    return _folded(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def _check_modes(first, bn):
    if first.training or bn.training:
        raise AssertionError("Fusion only for eval! Call .eval() on both modules first.")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion needs a batch norm with running statistics")


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """A convolution that computes bn(conv(x)), both in evaluation mode."""
    _check_modes(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


def fuse_linear_bn_eval(linear, bn):
    """A linear layer that computes bn(linear(x)), both in evaluation mode."""
    _check_modes(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            f"To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"{linear.out_features} and {bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
