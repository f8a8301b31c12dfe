"""Which ops our own CUDA kernels and cuBLAS compute, where these have something for what is given.

Each entry is tried before the op's kernel, or its gradient rule, with arrays on the GPU; half
precision goes in as it is.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from .. import settings
from ..backend import cuda_kernels as kernels
from ..backend import of
from . import activation, conv, embedding, linalg, linear, loss, norm, pool, rnn

# ---- products of matrices, by cuBLAS -------------------------------------------------------------

linalg._mm.fuse("cuda")(lambda xp, a, b: xp.product(a, b))
linalg._bmm.fuse("cuda")(lambda xp, a, b: xp.product(a, b))


@linear._linear.fuse("cuda")
def _linear(xp, x, w, b):
    rows = x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])
    y = xp.linear(rows, w, b)
    return y if y is None or x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0])


# ---- convolutions, by cuDNN ----------------------------------------------------------------------


def _exactly():
    return settings.get_deterministic_debug_mode() > 0


@conv.convolution.fuse("cuda")
def _convolution(xp, x, w, b, *, geo, groups):
    cudnn = xp.convolutions()
    y = cudnn and cudnn.convolution(x, w, geo, _exactly())
    return y if y is None else conv._add_bias(y, b)


@conv.convolution_transpose.fuse("cuda")
def _convolution_transpose(xp, x, w, b, *, geo, groups):
    cudnn = xp.convolutions()
    y = cudnn and cudnn.convolution_transpose(x, w, geo, groups, _exactly())
    return y if y is None else conv._add_bias(y, b)


@conv.convolution_weight.fuse("cuda")
def _convolution_weight(xp, x, g, *, geo, groups):
    cudnn = xp.convolutions()
    return cudnn and cudnn.convolution_weight(x, g, geo, groups, _exactly())


# ---- rows, and elementwise -----------------------------------------------------------------------


def _over_rows(op, log):
    @op.fuse("cuda")
    def forward(xp, x, *, dim):
        return kernels.softmax(xp, x, log) if dim == x.ndim - 1 else None

    def backward(g, y, x, dim):
        return kernels.softmax_grad(of(g), g, y, log) if dim == y.ndim - 1 else None

    op.override_rule(backward, 0, "cuda")


_over_rows(activation._softmax, False)
_over_rows(activation._log_softmax, True)


def _elementwise(op, which):
    op.fuse("cuda")(lambda xp, x: kernels.activation(xp, x, which))
    op.override_rule(lambda g, y, x: kernels.activation_grad(of(g), g, x, which), 0, "cuda")


_elementwise(activation._gelu, "Gelu")
_elementwise(activation._gelu_tanh, "GeluTanh")
_elementwise(activation.silu, "Silu")


@norm._normalized.fuse("cuda")
def _normalized(xp, x, w, b, *, view, dims, affine, eps, center):
    return kernels.norm(xp, x, w, b, view, dims, affine, eps, center)


@norm._normalized_grad.fuse("cuda")
def _normalized_grad(xp, g, x, w, b, mean, var, *, needs, view, dims, affine, eps, center):
    return kernels.norm_grad(
        xp, g, x, w, b, mean, var, needs, view, dims, affine, eps, center
    )  # fmt: skip


# ---- cross entropy: the second output is log(sum(exp(x))) of each row, not the softmax ------------


@loss._cross_entropy.fuse("cuda")
def _cross_entropy(xp, x, target, w, *, shape, ignore_index, reduction, smoothing):
    if w is not None or smoothing or shape[2] != 1:
        return None
    t = target.reshape(-1)
    got = kernels.cross_entropy(xp, x.reshape(shape[:2]), t, ignore_index)
    if got is None:
        return None
    losses, lse = got
    if reduction == "none":
        return losses.reshape(target.shape).astype(x.dtype), lse
    total = losses.sum()
    if reduction == "mean":
        total = total / (t != ignore_index).sum()
    return total.astype(x.dtype), lse


@loss._cross_entropy_grad.fuse("cuda")
def _cross_entropy_grad(xp, g, x, lse, target, w, *, shape, ignore_index, reduction, smoothing):
    if lse.ndim != 1:
        return None  # it is the softmax
    t, scale = target.reshape(-1), g.reshape(-1).astype("float32")
    if reduction == "mean":
        scale = scale / (t != ignore_index).sum().astype("float32")
    gx = kernels.cross_entropy_grad(xp, x.reshape(shape[:2]), t, lse, scale, ignore_index)
    return gx.reshape(x.shape)


# ---- embedding, pooling ----------------------------------------------------------------------


@embedding._embedding.fuse("cuda")
def _embedding(xp, weight, *, indices, padding_idx=None, by_frequency=False, sparse=False):
    return kernels.embedding(xp, weight, indices)


@embedding._embedding_add.fuse("cuda")
def _embedding_add(xp, g, *, indices, shape, padding_idx, by_frequency):
    return kernels.embedding_grad(xp, g, indices, shape, padding_idx, by_frequency)


pool._max_pool.fuse("cuda")(lambda xp, x, *, geo: kernels.max_pool(xp, x, geo))
pool._max_position.fuse("cuda")(lambda xp, x, y, *, geo: kernels.max_pool(xp, x, geo, True))
pool._max_pool_add.fuse("cuda")(
    lambda xp, g, where, *, geo: kernels.max_pool_grad(xp, g, where, geo)
)
pool._avg_pool.fuse("cuda")(lambda xp, x, *, geo, counts: kernels.mean_pool(xp, x, geo, counts))
pool._avg_pool_add.fuse("cuda")(
    lambda xp, g, *, geo, counts: kernels.mean_pool_grad(xp, g, geo, counts)
)


# ---- LSTM ------------------------------------------------------------------------------------


@rnn._lstm.fuse("cuda")
def _lstm(xp, x, h0, c0, w_ih, w_hh, b_ih, b_hh, *, reverse):
    if x.dtype not in kernels.TYPES or not h0.size:
        return None
    gates = rnn._inputs(xp, x, w_ih, b_ih, b_hh)
    hs, cs = (xp.empty((*x.shape[:2], h0.shape[1]), x.dtype) for _ in range(2))
    h, c = h0, xp.ascontiguousarray(c0)
    for t in rnn._order(len(x), reverse):
        kernels.lstm_cell(xp, gates[t], xp.matmul(h, w_hh.T), c, hs[t], cs[t])
        h, c = hs[t], cs[t]
    return hs, cs, gates


@rnn._lstm_grad.fuse("cuda")
def _lstm_grad(xp, gy, gcs, hs, cs, gates, x, h0, c0, w_ih, w_hh, *, needs, reverse):
    if x.dtype not in kernels.TYPES or not h0.size:
        return None
    gy, gcs = (a if a is None else xp.ascontiguousarray(a) for a in (gy, gcs))
    before, c_before = rnn._previous(xp, hs, h0, reverse), rnn._previous(xp, cs, c0, reverse)
    ga, gh, gc = xp.empty_like(gates), xp.zeros_like(h0), xp.zeros(c0.shape, c0.dtype)
    for t in rnn._order(len(x), not reverse):
        now = [None if a is None else a[t] for a in (gy, gcs)]
        kernels.lstm_cell_grad(xp, gates[t], c_before[t], cs[t], gh, now[0], gc, now[1], ga[t])
        gh = xp.matmul(ga[t], w_hh)
    gx, gw_ih, gw_hh, gb, _ = rnn._weights_grad(xp, needs, ga, ga, x, before, w_ih)
    return rnn._like(needs, (gx, gh, gc, gw_ih, gw_hh, gb, gb))


FUNCTIONS: dict[str, object] = {}
