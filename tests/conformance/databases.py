"""What is measured: PyTorch's test databases, what they leave out, and what is left out of them."""

from __future__ import annotations

import re
import weakref
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.testing._internal.common_optimizers import optim_db

# The ops that training scripts use most, by OpInfo name; every variant of a name counts as core.
CORE_OPS = set(
    """
arange empty empty_like eye full full_like linspace new_full new_ones new_zeros ones ones_like zeros
zeros_like bernoulli multinomial normal rand_like randint randn randn_like uniform

abs ceil clamp clamp_max clamp_min cos erf exp expm1 floor isfinite isinf isnan log log10 log1p log2
logical_not bitwise_not nan_to_num neg reciprocal round rsqrt sigmoid sign sin sqrt square tan tanh
trunc

add sub mul div floor_divide remainder fmod pow atan2 maximum minimum eq ne lt le gt ge logical_and
logical_or logical_xor bitwise_and bitwise_or bitwise_xor isclose allclose equal where lerp addcmul
addcdiv __getitem__ __radd__ __rdiv__ __rmatmul__ __rmul__ __rpow__ __rsub__

sum mean prod max min amax amin argmax argmin all any std var std_mean var_mean norm logsumexp
cumsum cumprod median quantile count_nonzero unique bincount topk sort argsort softmax log_softmax
searchsorted

reshape view view_as permute transpose t T mT squeeze unsqueeze flatten unflatten expand expand_as
repeat repeat_interleave tile cat stack hstack vstack split split_with_sizes chunk unbind narrow
select index_select gather scatter scatter_add scatter_reduce index_add index_fill index_put
masked_fill masked_select take_along_dim nonzero argwhere flip roll diag diagonal diag_embed tril
triu movedim unfold as_strided broadcast_to meshgrid contiguous clone
zero_ fill to float double half bfloat16 int long bool byte item

matmul mm bmm mv dot addmm baddbmm outer einsum tensordot cross trace cdist
linalg.inv linalg.det linalg.slogdet linalg.solve linalg.svd linalg.qr linalg.eigh linalg.cholesky
linalg.norm linalg.vector_norm

stft fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2

nn.functional.adaptive_avg_pool1d nn.functional.adaptive_avg_pool2d
nn.functional.adaptive_max_pool2d nn.functional.avg_pool1d nn.functional.avg_pool2d
nn.functional.avg_pool3d nn.functional.batch_norm nn.functional.binary_cross_entropy
nn.functional.binary_cross_entropy_with_logits nn.functional.conv1d nn.functional.conv2d
nn.functional.conv3d nn.functional.conv_transpose1d nn.functional.conv_transpose2d
nn.functional.cosine_similarity nn.functional.cross_entropy nn.functional.ctc_loss
nn.functional.dropout nn.functional.dropout2d nn.functional.elu nn.functional.embedding
nn.functional.embedding_bag nn.functional.gelu nn.functional.glu nn.functional.grid_sample
nn.functional.group_norm nn.functional.hardsigmoid nn.functional.hardswish nn.functional.hardtanh
nn.functional.huber_loss nn.functional.instance_norm nn.functional.interpolate
nn.functional.kl_div nn.functional.l1_loss nn.functional.layer_norm nn.functional.leaky_relu
nn.functional.linear nn.functional.logsigmoid nn.functional.max_pool1d nn.functional.max_pool2d
nn.functional.max_pool3d nn.functional.mish nn.functional.mse_loss
nn.functional.multi_head_attention_forward nn.functional.nll_loss nn.functional.normalize
nn.functional.one_hot nn.functional.pad nn.functional.pixel_shuffle nn.functional.prelu
nn.functional.relu nn.functional.relu6 nn.functional.rms_norm
nn.functional.scaled_dot_product_attention nn.functional.selu nn.functional.silu
nn.functional.smooth_l1_loss nn.functional.softplus nn.functional.triplet_margin_loss
nn.functional.unfold
""".split()  # noqa: SIM905
)

# OpInfos that are not counted: patterns of `name` or `name|variant`, and why.
LEFT_OUT = {
    r"_(?!_).*|torch\.(_|ops\.).*": "private",
    r"max_pool2d_with_indices_backward|native_dropout_backward": "private",
    r"slice\b.*": "an aten overload with no Python name",
    r"jiterator_.*": "compiles CUDA source",
    r"as_strided\|partial_views": "its storage offsets do not survive the way through numpy",
    r"chalf": "complex32, which numpy lacks",
}

# The constructor's arguments of every torch module made in a worker, from which `convert` makes
# the candidate's module.
MADE = weakref.WeakKeyDictionary()


def remember(cls, *args, **kwargs):
    """Take the place of `torch.nn.Module.__new__`, for good: CPython cannot undo that."""
    self = object.__new__(cls)
    MADE[self] = args, kwargs
    return self


# nn classes that module_db lacks: name, constructor arguments, shapes of the forward inputs.  A
# shape ("int", n, *shape) is of integers below n; () stands for a container that is not called.
# Arguments that hold modules are a function's result: these are made where `remember` is at work.
N = torch.nn
EXTRA_MODULES = [
    ("Identity", (), [(2, 3)]),
    ("Flatten", (), [(2, 3, 4)]),
    ("Unflatten", (1, (2, 3)), [(2, 6)]),
    ("Dropout", (0.3,), [(40, 5)]),
    ("Dropout1d", (0.3,), [(8, 5, 2)]),
    ("Dropout2d", (0.3,), [(8, 5, 2, 2)]),
    ("Dropout3d", (0.3,), [(8, 5, 2, 2, 2)]),
    ("AlphaDropout", (0.3,), [(40, 5)]),
    ("FeatureAlphaDropout", (0.3,), [(8, 5, 2, 2)]),
    ("RReLU", (), [(40, 5)]),
    ("Hardsigmoid", (), [(2, 3)]),
    ("PixelShuffle", (2,), [(1, 8, 2, 3)]),
    ("PixelUnshuffle", (2,), [(1, 2, 4, 6)]),
    ("ChannelShuffle", (2,), [(1, 4, 2, 3)]),
    ("Upsample", (None, 2, "bilinear"), [(1, 2, 3, 4)]),
    ("UpsamplingNearest2d", (None, 2), [(1, 2, 3, 4)]),
    ("UpsamplingBilinear2d", (None, 2), [(1, 2, 3, 4)]),
    ("Unfold", (2,), [(1, 2, 3, 4)]),
    ("Fold", ((3, 4), 2), [(1, 8, 6)]),
    ("FractionalMaxPool2d", (2, None, 0.5), [(1, 2, 9, 9)]),
    ("FractionalMaxPool3d", (2, None, 0.5), [(1, 2, 6, 6, 6)]),
    ("CrossMapLRN2d", (3,), [(1, 5, 3, 4)]),
    ("CosineSimilarity", (), [(4, 5), (4, 5)]),
    ("PairwiseDistance", (), [(4, 5), (4, 5)]),
    ("TripletMarginLoss", (), [(4, 5), (4, 5), (4, 5)]),
    ("TripletMarginWithDistanceLoss", (), [(4, 5), (4, 5), (4, 5)]),
    ("EmbeddingBag", (10, 3), [("int", 10, 4, 5)]),
    ("AdaptiveLogSoftmaxWithLoss", (8, 10, [4]), [(5, 8), ("int", 10, 5)]),
    ("MaxUnpool1d", (2,), [(1, 2, 3), ("int", 6, 1, 2, 3)]),
    ("MaxUnpool2d", (2,), [(1, 2, 3, 3), ("int", 36, 1, 2, 3, 3)]),
    ("MaxUnpool3d", (2,), [(1, 2, 2, 2, 2), ("int", 64, 1, 2, 2, 2, 2)]),
    ("LazyLinear", (4,), [(2, 3)]),
    ("LazyBatchNorm1d", (), [(4, 3)]),
    ("LazyBatchNorm2d", (), [(4, 3, 2, 2)]),
    ("LazyBatchNorm3d", (), [(4, 3, 2, 2, 2)]),
    ("LazyInstanceNorm1d", (), [(4, 3, 5)]),
    ("LazyInstanceNorm2d", (), [(4, 3, 2, 2)]),
    ("LazyInstanceNorm3d", (), [(4, 3, 2, 2, 2)]),
    ("SyncBatchNorm", (3,), ()),
    ("Sequential", lambda: (N.Linear(3, 4), N.BatchNorm1d(4), N.ReLU(), N.Linear(4, 2)), [(5, 3)]),
    (
        "TransformerDecoder",
        lambda: (N.TransformerDecoderLayer(4, 2, 8, 0.0), 2),
        [(3, 2, 4), (5, 2, 4)],
    ),
    ("ModuleList", lambda: ([N.Linear(2, 3), N.ReLU()],), ()),
    ("ModuleDict", lambda: ({"a": N.Linear(2, 3), "b": N.ReLU()},), ()),
    ("ParameterList", ([N.Parameter(torch.ones(2)), N.Parameter(torch.zeros(3))],), ()),
    ("ParameterDict", ({"a": N.Parameter(torch.ones(2))},), ()),
]

# Learning rate schedulers: how to make each from the scheduler namespace and an optimizer.
SCHEDULERS = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "LambdaLR, lists": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 7, 12], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.9, 8),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 12, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 7, 0.001),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.001),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, 4),
    "CyclicLR, triangular2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "CyclicLR, exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.95),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=21),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(
        o, [0.3, 0.2], epochs=3, steps_per_epoch=7, anneal_strategy="linear", three_phase=True
    ),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1, factor=0.5, cooldown=1),
    "ReduceLROnPlateau, max": lambda s, o: s.ReduceLROnPlateau(o, "max", patience=2, min_lr=0.01),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 4), s.CosineAnnealingLR(o, 16)], [4]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.9)]
    ),
}

FURTHER_DTYPES = (
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
)
MOST_VALUES = 100_000  # a sample with more is left out; only grid_sampler_3d has such


Item = tuple[str, str]  # (kind, name)

# What an op can have reached, from the lowest to the highest.
STATUSES = "not-run", "missing", "forward-fail", "forward-ok", "backward-ok", "gradgrad-ok"


def op_title(op: Any) -> str:
    """The name of an OpInfo, with its variant: `linalg.pinv|hermitian`."""
    return op.name + ("|" + op.variant_test_name if op.variant_test_name else "")


def left_out(op: Any) -> str | None:
    """Why an op is not counted, or None for one that is."""
    supported = op.supported_dtypes("cpu")
    if not supported:
        return "no dtype on the CPU"
    if all(d.is_complex for d in supported):
        return "complex only"
    found = (why for pattern, why in LEFT_OUT.items() if re.fullmatch(pattern, op_title(op)))
    return next(found, None)


def all_items() -> dict[tuple[str, str], Any]:
    """What can be measured: {(kind, name): what its check is given}."""
    ops = {("op", op_title(op)): op for op in op_db if not left_out(op)}
    assert {op.name for op in ops.values()} >= CORE_OPS, "CORE_OPS has a name that op_db lacks"
    core_first = sorted(ops, key=lambda item: ops[item].name not in CORE_OPS)
    names = [info.name.removeprefix("nn.") for info in module_db] + [m[0] for m in EXTRA_MODULES]
    return (
        {item: ops[item] for item in core_first}
        | {("module", name): name for name in names}
        | {("optimizer", info.name): info for info in optim_db}
        | {("scheduler", name): name for name in SCHEDULERS}
    )


def op_dtypes(op: Any) -> list[torch.dtype]:
    """The dtypes of the main comparison: float32 and float64, or the first of what there is."""
    supported = op.supported_dtypes("cpu")
    return [d for d in (torch.float32, torch.float64) if d in supported] or [
        d for d in FURTHER_DTYPES if d in supported
    ][:1]


def op_goal(op: Any) -> str:
    """The highest status that torch itself supports for an op."""
    if not op.supports_autograd or not op_dtypes(op)[0].is_floating_point:
        return "forward-ok"
    return "gradgrad-ok" if op.supports_gradgrad else "backward-ok"
