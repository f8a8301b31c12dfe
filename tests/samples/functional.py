"""What else nn.functional has: linear, padding, resampling, distances, dropout."""

import numpy as np

from dtorch.nn import LinearCrossEntropyOptions
from tests.samples import arr, call, ints

X, Y, IMAGE = arr(3, 4), arr(3, 4, seed=1), arr(2, 4, 5, 4)
random = {"grad": False, "reference": False}
BAGS = ints(3, 4, high=5)
GRID = arr(2, 3, 3, 2, low=-0.93, high=0.93)
ENDS = np.array([2, 5], "int32")
CHUNKED = [  # torch's options are of a class of torch's: compared in test_linear_cross_entropy
    call(arr(5, 4), arr(3, 4), ints(5, high=3), linear_bias=arr(3), reduction=reduction,
         options=LinearCrossEntropyOptions(batch_chunk_size=2), reference=False)
    for reduction in ("none", "mean", "sum")
]  # fmt: skip

SAMPLES = {
    "nn.functional.linear": [
        call(X, arr(5, 4), arr(5)), call(X, arr(5, 4)), call(arr(2, 3, 4), arr(5, 4), arr(5)),
        call(arr(4), arr(5, 4), arr(5)), call(X, arr(4)),
    ],
    "nn.functional.bilinear": [call(X, arr(3, 2), arr(5, 4, 2), arr(5))],
    "nn.functional.linear_cross_entropy": [call(X, arr(5, 4), ints(3, high=5)), *CHUNKED],
    "nn.functional.grouped_mm": [
        call(a, b, offs=ENDS, reference=False)
        for a, b in (
            (arr(5, 4), arr(2, 4, 3)), (arr(2, 3, 4), arr(4, 5)), (arr(3, 5), arr(5, 2)),
        )
    ] + [call(arr(2, 3, 4), arr(2, 4, 5), reference=False)],
    "nn.functional.pad": [
        call(X, (1, 2)), call(X, (1, -1, -1, 2), value=1.5), call(IMAGE, (2, 1, 0, 3), "reflect"),
        call(IMAGE, (2, 1, 0, 3), "replicate"), call(IMAGE, (2, 1, 0, 3), "circular"),
    ],
    "nn.functional.interpolate": [
        call(IMAGE, scale_factor=2), call(IMAGE, (3, 7), mode="nearest-exact"),
        call(IMAGE, (3, 7), mode="bilinear"),
        call(IMAGE, (7, 3), mode="bilinear", align_corners=True),
        call(IMAGE, scale_factor=(1.5, 2.0), mode="bicubic"), call(IMAGE, (3, 3), mode="area"),
        call(arr(1, 2, 5), 8, mode="linear"), call(arr(1, 1, 3, 2, 3), 4, mode="trilinear"),
        call(IMAGE, (3, 2), mode="bilinear", antialias=True),
        call(IMAGE, (3, 2), mode="bicubic", antialias=True),
    ],
    "grid_sampler_2d": [call(arr(1, 2, 3, 4), arr(1, 2, 2, 2, low=-0.8, high=0.8), 0, 1, True)],
    "grid_sampler_3d": [
        call(arr(1, 1, 3, 4, 2), arr(1, 1, 2, 1, 3, low=-0.8, high=0.8), 0, 0, False)
    ],
    "conv_tbc": [call(arr(4, 2, 3), arr(2, 3, 2), arr(2), 1)],
    "pdist": [call(arr(4, 3)), call(arr(4, 3), 3.0)],
    "nn.functional.grid_sample": [
        call(IMAGE, GRID, mode, padding, align)
        for mode, padding, align in (
            ("bilinear", "zeros", False), ("bilinear", "border", True), ("bicubic", "zeros", True),
            ("bilinear", "reflection", False), ("nearest", "zeros", False),
        )
    ],
    "nn.functional.affine_grid": [
        call(arr(2, 2, 3), (2, 1, 3, 4)), call(arr(1, 3, 4), (1, 1, 2, 2, 3), True),
    ],
    "nn.functional.pixel_shuffle": [call(IMAGE, 2)],
    "nn.functional.pixel_unshuffle": [call(arr(1, 2, 4, 6), 2)],
    "nn.functional.channel_shuffle": [call(IMAGE, 2)],
    "nn.functional.cosine_similarity": [call(X, Y), call(X, Y, 0)],
    "nn.functional.pairwise_distance": [call(X, Y), call(X, Y, 3.0, keepdim=True)],
    "nn.functional.pdist": [call(X), call(X, 3.0)],
    "nn.functional.embedding_bag": [
        call(BAGS, arr(5, 3), mode=mode) for mode in ("sum", "mean", "max")
    ] + [
        call(BAGS[0], arr(5, 3), np.array([0, 1, 1]), mode="sum", per_sample_weights=arr(4)),
        call(BAGS[0], arr(5, 3), np.array([0, 1, 1]), mode="max"),
    ],
    "nn.functional.dropout": [call(X, 0.5, False), call(X, 0.5, True, **random)],
    "nn.functional.dropout1d": [call(arr(2, 3, 4), 0.5, True, **random)],
    "nn.functional.dropout2d": [call(IMAGE, 0.5, True, **random)],
    "nn.functional.dropout3d": [call(arr(1, 2, 2, 2, 3), 0.5, True, **random)],
    "nn.functional.alpha_dropout": [call(X, 0.5, True, **random)],
    "nn.functional.feature_alpha_dropout": [call(IMAGE, 0.5, True, **random)],
    "nn.functional.gumbel_softmax": [call(X, **random), call(X, hard=True, **random)],
}  # fmt: skip
