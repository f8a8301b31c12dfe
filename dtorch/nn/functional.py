"""torch.nn.functional: the functions under the modules, with torch's names and arguments."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
import inspect
import warnings

from ..core import subclasses
from ..core.calling import public as _checked
from ..core.ops import activation as _activation
from ..core.ops import attention as _attention
from ..core.ops import conv as _conv
from ..core.ops import ctc as _ctc
from ..core.ops import dropout as _dropout
from ..core.ops import embedding as _embedding
from ..core.ops import linear as _linear
from ..core.ops import linear_cross_entropy as _linear_cross_entropy
from ..core.ops import loss as _loss
from ..core.ops import margin as _margin
from ..core.ops import norm as _norm
from ..core.ops import pointwise as _pointwise
from ..core.ops import pool as _pool
from ..core.ops import resample as _resample
from ..core.ops import sampling as _sampling
from ..core.tensor import Tensor
from ..core.views import in_place

# ---- how functions are taken over ------------------------------------------------------------


def _argument(name, default=None):
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _or_in_place(function, position):
    """The function with a flag inplace=False, which is also its argument number `position`."""
    write = in_place(function)

    @functools.wraps(function)
    def public(input, *args, inplace=False, **kwargs):
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{function.__name__}(): argument 'input' must be Tensor, not "
                f"{type(input).__name__}"
            )
        if len(args) >= position:
            inplace, args = args[position - 1], args[: position - 1] + args[position:]
        chosen = write if inplace else function
        if type(input) is not Tensor:  # subclasses may see to it themselves
            return subclasses.call(chosen, (input, *args), kwargs)
        return chosen(input, *args, **kwargs)

    arguments = list(inspect.signature(function).parameters.values())[:position]
    public.__signature__ = inspect.Signature([*arguments, _argument("inplace", False)])
    public.__module__ = __name__  # where pickle finds it: modules keep functions
    return public


def _with_reduction(function, order=None):
    """A loss that also takes torch's deprecated size_average= and reduce=.

    order: torch's order of the arguments, where those two do not come just before reduction
    """
    arguments = dict(inspect.signature(function).parameters)
    names = order.split() if order else list(arguments)
    if not order:
        i = names.index("reduction")
        names[i:i] = ["size_average", "reduce"]

    @functools.wraps(function)
    def public(*args, size_average=None, reduce=None, **kwargs):
        if len(args) > 2:
            kwargs.update(zip(names[2:], args[2:]))
            size_average = kwargs.pop("size_average", size_average)
            reduce = kwargs.pop("reduce", reduce)
        if size_average is not None or reduce is not None:
            warnings.warn(
                "size_average and reduce args will be deprecated, please use reduction instead.",
                stacklevel=3,
            )
            mean = size_average is None or size_average
            each = reduce is not None and not reduce
            kwargs["reduction"] = "none" if each else "mean" if mean else "sum"
        return function(*args[:2], **kwargs)

    arguments |= {name: _argument(name) for name in ("size_average", "reduce")}
    public.__signature__ = inspect.Signature([arguments[name] for name in names])
    return _checked(public)


# ---- activations -----------------------------------------------------------------------------

relu = _or_in_place(_activation.relu.fn, 1)
relu6 = _or_in_place(_activation.relu6, 1)
elu = _or_in_place(_activation.elu, 2)
selu = _or_in_place(_activation.selu, 1)
celu = _or_in_place(_activation.celu, 2)
leaky_relu = _or_in_place(_activation.leaky_relu, 2)
hardtanh = _or_in_place(_activation.hardtanh, 3)
hardsigmoid = _or_in_place(_activation.hardsigmoid.fn, 1)
hardswish = _or_in_place(_activation.hardswish.fn, 1)
silu = _or_in_place(_activation.silu.fn, 1)
mish = _or_in_place(_activation.mish.fn, 1)
threshold = _or_in_place(_activation.threshold, 3)
rrelu = _or_in_place(_dropout.rrelu, 4)
gelu = _checked(_activation.gelu)
softplus = _checked(_activation.softplus)
logsigmoid = _checked(_activation.logsigmoid.fn)
softsign = _checked(_activation.softsign)
tanhshrink = _checked(_activation.tanhshrink)
softshrink = _checked(_activation.softshrink)
hardshrink = _checked(_activation.hardshrink)
prelu = _checked(_activation.prelu)
glu = _checked(_activation.glu)
tanh = _checked(_pointwise.tanh.fn)
sigmoid = _checked(_pointwise.sigmoid.fn)

relu_, elu_, selu_, celu_, leaky_relu_, hardtanh_, threshold_, rrelu_ = (
    functools.wraps(f)(functools.partial(f, inplace=True))
    for f in (relu, elu, selu, celu, leaky_relu, hardtanh, threshold, rrelu)
)


def _over_dim(function):
    @functools.wraps(function)
    def public(input, dim=None, _stacklevel=3, dtype=None):
        if dim is None:
            warnings.warn(
                f"Implicit dimension choice for {function.__name__} has been deprecated. Change "
                "the call to include dim=X as an argument.",
                stacklevel=_stacklevel - 1,
            )
            dim = 0 if input.ndim in (0, 1, 3) else 1
        return function(input, dim, dtype)

    return _checked(public)


softmax = _over_dim(_activation.softmax)
log_softmax = _over_dim(_activation.log_softmax)
softmin = _over_dim(_activation.softmin)


@_checked
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + gumbel noise) / tau); hard: one-hot, with the gradient of the soft one."""
    noise = -logits.detach().clone().exponential_().log()
    soft = _activation.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.detach().argmax(dim, True)
    one = (soft.detach() * 0).scatter(dim, index, 1.0)
    return one - soft.detach() + soft


# ---- linear, convolution, pooling ------------------------------------------------------------

linear, bilinear = _checked(_linear.linear), _checked(_linear.bilinear)
grouped_mm = _checked(_linear.grouped_mm)

conv1d, conv2d, conv3d = map(_checked, (_conv.conv1d, _conv.conv2d, _conv.conv3d))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(
    _checked, (_conv.conv_transpose1d, _conv.conv_transpose2d, _conv.conv_transpose3d)
)
conv_tbc = _checked(_conv.conv_tbc)
unfold, fold = _checked(_conv.unfold), _checked(_conv.fold)

max_pool1d, max_pool2d, max_pool3d = map(
    _checked, (_pool.max_pool1d, _pool.max_pool2d, _pool.max_pool3d)
)
avg_pool1d, avg_pool2d, avg_pool3d = map(
    _checked, (_pool.avg_pool1d, _pool.avg_pool2d, _pool.avg_pool3d)
)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(
    _checked, (_pool.adaptive_avg_pool1d, _pool.adaptive_avg_pool2d, _pool.adaptive_avg_pool3d)
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(
    _checked, (_pool.adaptive_max_pool1d, _pool.adaptive_max_pool2d, _pool.adaptive_max_pool3d)
)
lp_pool1d, lp_pool2d, lp_pool3d = map(_checked, (_pool.lp_pool1d, _pool.lp_pool2d, _pool.lp_pool3d))
max_unpool1d, max_unpool2d, max_unpool3d = map(
    _checked, (_pool.max_unpool1d, _pool.max_unpool2d, _pool.max_unpool3d)
)
fractional_max_pool2d = _checked(_pool.fractional_max_pool2d)
fractional_max_pool3d = _checked(_pool.fractional_max_pool3d)


def _with_indices(function):
    return functools.wraps(function)(functools.partial(function, return_indices=True))


(
    max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices,
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices, fractional_max_pool2d_with_indices,
    fractional_max_pool3d_with_indices,
) = map(
    _with_indices,
    (max_pool1d, max_pool2d, max_pool3d, adaptive_max_pool1d, adaptive_max_pool2d,
     adaptive_max_pool3d, fractional_max_pool2d, fractional_max_pool3d),
)  # fmt: skip

# ---- normalization, dropout, attention -------------------------------------------------------

batch_norm, instance_norm = _checked(_norm.batch_norm), _checked(_norm.instance_norm)
layer_norm, group_norm = _checked(_norm.layer_norm), _checked(_norm.group_norm)
rms_norm = _checked(_norm.rms_norm)
local_response_norm = _checked(_norm.local_response_norm)
normalize = _checked(_margin.normalize)

dropout = _or_in_place(_dropout.dropout, 3)
dropout1d = _or_in_place(_dropout.dropout1d, 3)
dropout2d = _or_in_place(_dropout.dropout2d, 3)
dropout3d = _or_in_place(_dropout.dropout3d, 3)
alpha_dropout = _or_in_place(_dropout.alpha_dropout, 3)
feature_alpha_dropout = _or_in_place(_dropout.feature_alpha_dropout, 3)

scaled_dot_product_attention = _checked(_attention.scaled_dot_product_attention)
multi_head_attention_forward = _checked(_attention.multi_head_attention_forward)

# ---- embedding, padding, resampling ----------------------------------------------------------

one_hot = _checked(_embedding.one_hot)
embedding, embedding_bag = _checked(_embedding.embedding), _checked(_embedding.embedding_bag)
grid_sample, affine_grid = _checked(_sampling.grid_sample), _checked(_sampling.affine_grid)
pad, interpolate, upsample = map(
    _checked, (_resample.pad, _resample.interpolate, _resample.upsample)
)
pixel_shuffle, pixel_unshuffle, channel_shuffle = map(
    _checked, (_resample.pixel_shuffle, _resample.pixel_unshuffle, _resample.channel_shuffle)
)


native_channel_shuffle = channel_shuffle


def upsample_nearest(input, size=None, scale_factor=None):
    """interpolate with mode="nearest" """
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """interpolate with mode="bilinear" and aligned corners"""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


# ---- distances and losses --------------------------------------------------------------------

cosine_similarity = _checked(_margin.cosine_similarity)
pairwise_distance = _checked(_margin.pairwise_distance)


@_checked
def pdist(input, p=2.0):
    """The p-norm distances of all pairs of rows: (N, M) -> (N (N - 1) / 2,)"""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    n = input.shape[0]
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    first, second = ([pair[k] for pair in pairs] for k in (0, 1))
    return (input[first] - input[second]).norm(p, -1)


_CLASSES = "input target weight size_average ignore_index reduce reduction"
nll_loss = _with_reduction(_loss.nll_loss, _CLASSES)
cross_entropy = _with_reduction(_loss.cross_entropy, _CLASSES + " label_smoothing")
binary_cross_entropy = _with_reduction(_loss.binary_cross_entropy)
binary_cross_entropy_with_logits = _with_reduction(_loss.binary_cross_entropy_with_logits)
mse_loss, l1_loss = _with_reduction(_loss.mse_loss), _with_reduction(_loss.l1_loss)
smooth_l1_loss, huber_loss = _with_reduction(_loss.smooth_l1_loss), _checked(_loss.huber_loss)
kl_div = _with_reduction(_loss.kl_div)
poisson_nll_loss = _with_reduction(
    _loss.poisson_nll_loss, "input target log_input full size_average eps reduce reduction"
)
ctc_loss = _checked(_ctc.ctc_loss)
gaussian_nll_loss = _checked(_loss.gaussian_nll_loss)
margin_ranking_loss = _with_reduction(_margin.margin_ranking_loss)
hinge_embedding_loss = _with_reduction(_margin.hinge_embedding_loss)
soft_margin_loss = _with_reduction(_margin.soft_margin_loss)
multilabel_soft_margin_loss = _with_reduction(_margin.multilabel_soft_margin_loss)
cosine_embedding_loss = _with_reduction(_margin.cosine_embedding_loss)
triplet_margin_loss = _with_reduction(_margin.triplet_margin_loss)
triplet_margin_with_distance_loss = _checked(_margin.triplet_margin_with_distance_loss)
multi_margin_loss = _with_reduction(_margin.multi_margin_loss)
multilabel_margin_loss = _with_reduction(_margin.multilabel_margin_loss)
linear_cross_entropy = _checked(_linear_cross_entropy.linear_cross_entropy)
