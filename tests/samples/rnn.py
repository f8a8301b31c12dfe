"""Recurrent cells; the layers are tested through nn.RNN, nn.LSTM and nn.GRU."""

from tests.samples import arr, call

X, H = arr(2, 3), arr(2, 4)


def _weights(gates):
    n = gates * 4
    return arr(n, 3), arr(n, 4, seed=1), arr(n, seed=2), arr(n, seed=3)


SAMPLES = {
    "lstm_cell": [call(X, (H, arr(2, 4, seed=1)), *_weights(4))],
    "gru_cell": [call(X, H, *_weights(3))],
    "rnn_tanh_cell": [call(X, H, *_weights(1))],
    "rnn_relu_cell": [call(X, H, *_weights(1))],
}
