"""Which ops oneDNN computes on the CPU, where it is installed and the arrays are large.

Each entry takes the place of an op's kernel, or of its gradient rule, and goes back to that where
oneDNN has nothing faster.  Products of matrices and relu have theirs in backend/cpu.py.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from math import prod

from ..backend import onednn
from . import activation, conv, linear, norm, pool

_SMALL = 1 << 12  # elements; products of matrices smaller than that are hardly worth a call


def _kernel(op, fast):
    """Let op's kernel on the CPU be fast(x, ...), and what it was where that is None.

    fast is not asked where the inputs are small, which then pay next to nothing for it.
    """
    given = op.kernel

    def one(xp, x, **params):
        y = fast(x, **params) if x.size >= onednn.ELEMENTS else None
        return given(xp, x, **params) if y is None else y

    def several(xp, x, w, *others, **params):
        y = None
        if x.size > _SMALL or w is not None and w.size > _SMALL:
            y = fast(x, w, *others, **params)
        return given(xp, x, w, *others, **params) if y is None else y

    op.override("cpu")(one if given.__code__.co_argcount == 2 else several)


def _over_rows(log):
    def forward(x, *, dim):
        return onednn.softmax(x, log) if dim == x.ndim - 1 else None

    def backward(g, y, x, dim):
        return onednn.softmax_grad(g, y, log) if dim == y.ndim - 1 else None

    return forward, backward


for _op, _log in ((activation._softmax, False), (activation._log_softmax, True)):
    _forward, _backward = _over_rows(_log)
    _kernel(_op, _forward)
    _op.override_rule(_backward, onednn.ELEMENTS)

_kernel(activation._gelu, lambda x: onednn.gelu(x, False))
_kernel(activation._gelu_tanh, lambda x: onednn.gelu(x, True))
activation._gelu.override_rule(lambda g, y, x: onednn.gelu_grad(g, x, False), onednn.ELEMENTS)
activation._gelu_tanh.override_rule(lambda g, y, x: onednn.gelu_grad(g, x, True), onednn.ELEMENTS)

_kernel(activation._leaky_relu, onednn.leaky_relu)
activation._leaky_relu.override_rule(
    lambda g, y, x, slope: onednn.leaky_relu_grad(g, x, slope), onednn.CHAINED
)
activation.relu.override_rule(lambda g, y, x: onednn.relu_grad(g, y), onednn.CHAINED)


def _linear(x, w, b):
    if b is not None and b.ndim != 1:
        return None
    rows = x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])
    y = onednn.matmul(rows, w.T, b)
    return y if y is None or x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0])


_kernel(linear._linear, _linear)


def _norm(x, view, dims, affine, center):
    """Which norm of oneDNN's this one is: "layer", "batch" (of images) or None."""
    if not center:
        return None
    if len(view) == 2 and dims == (1,) and affine == (1, view[1]):
        return "layer"
    return "batch" if dims == (0, 2) and x.ndim == 4 else None


def _normalized(x, w, b, *, view, dims, affine, eps, center):
    which = _norm(x, view, dims, affine, center)
    if which == "layer":
        got = onednn.layer_norm(x.reshape(view), w, b, eps)
        return got and (got[0].reshape(x.shape), got[1], got[2])
    got = which and onednn.batch_norm(x, w, b, eps)
    return got and (got[0], got[1].reshape(affine), got[2].reshape(affine))


def _normalized_grad(g, x, w, b, mean, var, *, needs, view, dims, affine, eps, center):
    which = _norm(x, view, dims, affine, center) if needs[0] else None
    if which == "layer":
        got = onednn.layer_norm_grad(g.reshape(view), x.reshape(view), w, b, mean, var, eps)
        return got and (got[0].reshape(x.shape), got[1], got[2])
    return which and onednn.batch_norm_grad(g, x, w, b, mean, var, eps)


_kernel(norm._normalized, _normalized)
_kernel(norm._normalized_grad, _normalized_grad)


def _convolution_transpose(x, w, b, *, geo, groups):
    y = onednn.convolution_transpose(x, w, geo, groups)
    return y if y is None else conv._add_bias(y, b)


_kernel(conv.convolution, lambda x, w, b, **p: onednn.convolution(x, w, b, **p))
_kernel(conv.convolution_transpose, _convolution_transpose)
_kernel(conv.convolution_weight, lambda x, g, **p: onednn.convolution_weight(x, g, **p))


def _means_all(geo, counts):
    """Whether each window's mean is over all of it, padding too."""
    return isinstance(counts, int) and counts == prod(geo.kernel)


def _avg_pool(x, *, geo, counts):
    return onednn.pool(x, geo, False) if _means_all(geo, counts) else None


_kernel(pool._max_pool, lambda x, *, geo: onednn.pool(x, geo, True))
pool._max_pool.override_rule(lambda g, y, x, geo: onednn.pool_grad(g, x, geo, True), 0)
_kernel(pool._avg_pool, _avg_pool)

FUNCTIONS: dict[str, object] = {}
