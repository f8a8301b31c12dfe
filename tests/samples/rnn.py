"""Recurrent cells and layers."""

from tests.samples import arr, call

X, H = arr(2, 3), arr(2, 4)


def _weights(gates):
    n = gates * 4
    return arr(n, 3), arr(n, 4, seed=1), arr(n, seed=2), arr(n, seed=3)


def _layers(gates, states, bidirectional=False, batch_first=False):
    """Arguments of two layers with biases, over three steps."""
    n, both = gates * 4, 1 + bidirectional
    params = [
        w
        for layer in range(2)
        for _ in range(both)
        for w in (
            arr(n, 4 * both if layer else 3),
            arr(n, 4, seed=1),
            arr(n, seed=2),
            arr(n, seed=3),
        )
    ]
    hx = [arr(2 * both, 2, 4, seed=i) for i in range(states)]
    x = arr(2, 3, 3) if batch_first else arr(3, 2, 3)
    return x, hx if states > 1 else hx[0], params, True, 2, 0.0, False, bidirectional, batch_first


SAMPLES = {
    "lstm": [call(*_layers(4, 2)), call(*_layers(4, 2, True, True))],
    "gru": [call(*_layers(3, 1)), call(*_layers(3, 1, True))],
    "rnn_tanh": [call(*_layers(1, 1, True)), call(*_layers(1, 1, False, True))],
    "rnn_relu": [call(*_layers(1, 1, True))],
    "lstm_cell": [call(X, (H, arr(2, 4, seed=1)), *_weights(4))],
    "gru_cell": [call(X, H, *_weights(3))],
    "rnn_tanh_cell": [call(X, H, *_weights(1))],
    "rnn_relu_cell": [call(X, H, *_weights(1))],
}
