"""Losses; class weights, which have no gradient, are tested in test_functional.py."""

import numpy as np

from tests.samples import arr, call, ints

X, Y = arr(4, 5), arr(4, 5, seed=1)
P, Q = arr(4, 5, low=0.05, high=0.95), arr(4, 5, low=0.05, high=0.95, seed=1)
T = ints(4, high=5)
MAPS, LABELS = arr(2, 3, 4), ints(2, 4, high=3)
SIGNS = np.array([1, -1, 1, 1])
NONE, SUM = {"reduction": "none"}, {"reduction": "sum"}

SAMPLES = {
    "nn.functional.cross_entropy": [
        call(X, T), call(X, T, **NONE), call(X, T, **SUM), call(MAPS, LABELS),
        call(arr(5), np.array(2)),
        call(X, T, ignore_index=int(T[0])), call(X, T, label_smoothing=0.2),
        call(MAPS, LABELS, label_smoothing=0.1, ignore_index=1, **NONE), call(X, P),
        call(X, P, label_smoothing=0.1, **SUM),
    ],
    "nn.functional.nll_loss": [
        call(X, T), call(X, T, **NONE), call(MAPS, LABELS, ignore_index=1),
    ],
    "nn.functional.binary_cross_entropy": [call(P, Q), call(P, Q, **NONE)],
    "nn.functional.binary_cross_entropy_with_logits": [
        call(X, Q), call(X, Q, **SUM),
    ],
    "nn.functional.mse_loss": [call(X, Y), call(X, Y, **NONE), call(X, Y, **SUM)],
    "nn.functional.l1_loss": [call(X, Y), call(X, Y, **NONE)],
    "nn.functional.smooth_l1_loss": [call(X, Y), call(X, Y, beta=0.5)],
    "nn.functional.huber_loss": [call(X, Y), call(X, Y, delta=0.5)],
    "nn.functional.kl_div": [
        call(X, P, reduction="batchmean"), call(X, Y, reduction="sum", log_target=True),
    ],
    "nn.functional.poisson_nll_loss": [
        call(X, P), call(P, Q, log_input=False), call(X, arr(4, 5, low=1.1, high=6), full=True),
    ],
    "nn.functional.gaussian_nll_loss": [call(X, Y, P), call(X, Y, arr(4, 1, low=0.2), full=True)],
    "nn.functional.margin_ranking_loss": [call(arr(4), arr(4, seed=1), SIGNS, margin=0.3)],
    "nn.functional.hinge_embedding_loss": [call(arr(4), SIGNS, margin=1.3)],
    "nn.functional.soft_margin_loss": [call(arr(4), SIGNS)],
    "nn.functional.multilabel_soft_margin_loss": [call(X, ints(4, 5, high=2))],
    "nn.functional.cosine_embedding_loss": [call(X, Y, SIGNS, margin=0.1)],
    "nn.functional.triplet_margin_loss": [
        call(X, Y, arr(4, 5, seed=2)), call(X, Y, arr(4, 5, seed=2), swap=True, p=3),
    ],
    "nn.functional.triplet_margin_with_distance_loss": [call(X, Y, arr(4, 5, seed=2))],
    "nn.functional.multi_margin_loss": [call(X, T), call(X, T, p=2, margin=0.7)],
    "nn.functional.multilabel_margin_loss": [
        call(X, np.array([[0, 3, -1, 1, 2], [1, -1, 0, 0, 0], [-1, 2, 3, 0, 1], [4, 3, 2, 1, 0]])),
    ],
    "nn.functional.ctc_loss": [
        # its gradient is that of log_softmax and the loss together, as torch's is
        call(-arr(6, 2, 4, low=0.5), ints(2, 2, high=3) + 1, np.array([6, 5]), np.array([2, 1]),
             grad=False),
    ],
}  # fmt: skip
