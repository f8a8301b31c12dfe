"""Normalization."""

from tests.samples import arr, call

X = arr(3, 4, 5)
W, B = arr(4, low=0.5, seed=1), arr(4, seed=2)

SAMPLES = {
    "nn.functional.batch_norm": [
        call(X, None, None, W, B, training=True), call(arr(5, 4), None, None, training=True),
        call(X, None, None, W, None, True, 0.1, 0.01),
    ],
    "nn.functional.layer_norm": [
        call(X, (5,)), call(X, (4, 5), arr(4, 5, seed=1), arr(4, 5, seed=2)),
        call(X, (5,), arr(5, seed=1)),
    ],
    "nn.functional.rms_norm": [call(X, (5,)), call(X, (4, 5), arr(4, 5, seed=1), 0.01)],
    "nn.functional.group_norm": [call(X, 2), call(X, 2, W, B), call(arr(2, 4, 3, 2), 4, W)],
    "nn.functional.instance_norm": [call(X), call(X, weight=W, bias=B)],
    "nn.functional.local_response_norm": [call(X, 3), call(arr(2, 4, 2, 3), 2, 0.1, 0.5, 2.0)],
    "nn.functional.normalize": [call(X), call(X, 3.0, -1)],
    "native_layer_norm": [call(X, (4, 5), None, None, 0.1, grad=False)],
    "native_group_norm": [call(X, W, B, 3, 4, 5, 2, 0.1, grad=False)],
    "native_batch_norm": [
        call(X, W, B, None, None, True, 0.1, 0.1, grad=False),
    ],
}  # fmt: skip
