"""Recurrent layers and cells."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
import warnings
from functools import partial

from ...core.ops import create, rnn
from .. import init
from ..utils.rnn import PackedSequence, pack_padded, pad_packed_sequence
from .module import Module
from .utils import parameter, shown

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_NAMES = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
_LISTS = ["_all_weights", "_flat_weights_names", "_flat_weights"]


def _draw(module):
    """All parameters from U(-k, k), k = 1 / sqrt(hidden_size)"""
    k = 1 / math.sqrt(module.hidden_size)
    for weight in module.parameters():
        init.uniform_(weight, -k, k)


class RNNBase(Module):
    """Layers of a recurrent network over a sequence, in one or both directions.

    x: (L, N, input_size), (N, L, input_size) with batch_first, (L, input_size), or a PackedSequence
    h0 (and c0): (num_layers * directions, N, hidden_size), zeros if not given
    Returns y: (L, N, directions * hidden_size) and the last h (and c), of h0's shape.

    weight_ih_l[k]: (gates * hidden_size, inputs), weight_hh_l[k]: (gates * hidden_size,
    hidden_size), biases (gates * hidden_size,), with the suffix _reverse for the other direction;
    all from U(-k, k), k = 1 / sqrt(hidden_size)
    dropout: after each layer but the last; proj_size: LSTM only, h is projected to this size
    """

    def __init__(self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False,
                 dropout=0.0, bidirectional=False, proj_size=0, device=None,
                 dtype=None):  # fmt: skip
        super().__init__()
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        given = {"input_size": (input_size, int), "hidden_size": (hidden_size, int),
                 "bias": (bias, bool), "batch_first": (batch_first, bool)}  # fmt: skip
        for name, (value, kind) in given.items():
            if not isinstance(value, kind):
                raise TypeError(
                    f"{name} should be of type {kind.__name__}, got: {type(value).__name__}"
                )
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in sizes.items():
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if proj_size < 0 or proj_size >= hidden_size:
            raise ValueError("proj_size has to be a non-negative integer, smaller than hidden_size")
        if proj_size and mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if dropout and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={num_layers}",
                stacklevel=3,
            )
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        made = {"device": device, "dtype": dtype}
        rows, out = _GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else out * (1 + bidirectional)
            shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, out), "bias_ih": (rows,),
                      "bias_hh": (rows,), "weight_hr": (proj_size, hidden_size)}  # fmt: skip
            for suffix in self._suffixes(layer):
                for name in self._names():
                    setattr(self, name + suffix, parameter(*shapes[name], **made))
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        _draw(self)

    def __getstate__(self):  # torch keeps lists of the weights, and expects them in its files
        return self.__dict__ | {name: getattr(self, name) for name in _LISTS}

    def __setstate__(self, state):
        super().__setstate__({key: x for key, x in state.items() if key not in _LISTS})

    def _suffixes(self, layer):
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def _names(self):
        return _NAMES[:2] + _NAMES[2:4] * bool(self.bias) + _NAMES[4:] * bool(self.proj_size)

    def _state_sizes(self):
        """The last dimension of each state."""
        return (self.hidden_size,)

    def _weights(self):
        """Those of each layer and direction, with None for a bias that is not there."""
        return [
            [getattr(self, name + suffix, None) for name in _NAMES[: 4 + bool(self.proj_size)]]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    @property
    def _all_weights(self):
        """The names of the weights of each layer and direction; scripts read it to set biases."""
        return [
            [name + suffix for name in self._names()]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    @property
    def _flat_weights_names(self):
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self):
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self):
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self):
        """For torch's sake; the weights need no order in memory."""

    def _layer(self):
        """The function of one layer in one direction."""
        raise NotImplementedError

    def _check(self, x, state, batch, d):
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {x.shape[-1]}"
            )
        for h, size in zip(state, self._state_sizes()):
            expected = (self.num_layers * d, batch, size)
            if tuple(h.shape) != expected:
                raise RuntimeError(f"Expected hidden size {expected}, got {list(h.shape)}")

    def _forward(self, input, state):
        """input and a tuple of states, or None -> output, tuple of states"""
        d = 1 + self.bidirectional
        packed = isinstance(input, PackedSequence)
        lengths = None
        if packed:
            x, lengths = pad_packed_sequence(
                PackedSequence(input.data, input.batch_sizes)  # in its sorted order
            )
            if state is not None and input.sorted_indices is not None:
                state = tuple(h[:, input.sorted_indices] for h in state)
        else:
            x = input
            if x.ndim not in (2, 3):
                raise ValueError(
                    f"{type(self).__name__}: Expected input to be 2D or 3D, got {x.ndim}D instead"
                )
            single = x.ndim == 2
            if single:
                x = x.unsqueeze(1)
                if state is not None:
                    if any(h.ndim != 2 for h in state):
                        raise RuntimeError(
                            "For unbatched 2-D input, hx should also be 2-D but got "
                            f"{state[0].ndim}-D tensor"
                        )
                    state = tuple(h.unsqueeze(1) for h in state)
            elif self.batch_first:
                x = x.transpose(0, 1)
        if state is None:
            state = tuple(
                create.zeros(self.num_layers * d, x.shape[1], n, dtype=x.dtype, device=x.device)
                for n in self._state_sizes()
            )
        self._check(x, state, x.shape[1], d)
        y, last = rnn.layers(self._layer(), x, state, self._weights(), self.bidirectional,
                             self.dropout, self.training, lengths)  # fmt: skip
        if packed:
            y = PackedSequence(pack_padded(y, lengths, input.batch_sizes), *input[1:])
            if input.unsorted_indices is not None:
                last = tuple(h[:, input.unsorted_indices] for h in last)
            return y, last
        if single:
            return y.squeeze(1), tuple(h.squeeze(1) for h in last)
        return (y.transpose(0, 1) if self.batch_first else y), last

    def forward(self, input, hx=None):
        y, (h,) = self._forward(input, None if hx is None else (hx,))
        return y, h

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0, "bidirectional": False}  # fmt: skip
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text


class RNN(RNNBase):
    __doc__ = f"h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.\n\n    {RNNBase.__doc__}"

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", *args, **kwargs):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(mode, input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity

    def _layer(self):
        return partial(rnn.rnn, nonlinearity=self.nonlinearity)


class GRU(RNNBase):
    __doc__ = f"A gated recurrent unit (Cho et al., 2014).\n\n    {RNNBase.__doc__}"

    def __init__(self, *args, **kwargs):
        super().__init__("GRU", *args, **kwargs)

    def _layer(self):
        return rnn.gru


class LSTM(RNNBase):
    __doc__ = f"Long short-term memory (Hochreiter and Schmidhuber, 1997).\n\n    {RNNBase.__doc__}"

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def _state_sizes(self):
        return self.proj_size or self.hidden_size, self.hidden_size

    def _layer(self):
        return rnn.lstm

    def forward(self, input, hx=None):
        return self._forward(input, None if hx is None else (hx[0], hx[1]))


# ---- cells -------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """One step: x (N, input_size), h (N, hidden_size) -> h; also without N."""

    gates = 1

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        made = {"device": device, "dtype": dtype}
        rows = self.gates * hidden_size
        self.weight_ih = parameter(rows, input_size, **made)
        self.weight_hh = parameter(rows, hidden_size, **made)
        self.bias_ih = parameter(rows, **made) if bias else None
        self.bias_hh = parameter(rows, **made) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew, as at construction."""
        _draw(self)

    def _weights(self):
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _begin(self, input, hx, what="hidden"):
        """The state to begin with, and whether the input is batched."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if hx is not None and hx.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {hx.ndim}D instead")
        if hx is None:
            shape = (*input.shape[:-1], self.hidden_size)
            hx = create.zeros(*shape, dtype=input.dtype, device=input.device)
        return hx

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else text + ", bias=False"


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.  x: (N, input_size) or (input_size,)"""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None,
                 dtype=None):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        cell = rnn.rnn_tanh_cell if self.nonlinearity == "tanh" else rnn.rnn_relu_cell
        return cell(input, self._begin(input, hx), *self._weights())

    def extra_repr(self):
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else text + ", " + shown(
            nonlinearity=self.nonlinearity
        )  # fmt: skip


class GRUCell(RNNCellBase):
    """A gated recurrent unit.  x: (N, input_size) or (input_size,) -> h"""

    gates = 3

    def forward(self, input, hx=None):
        return rnn.gru_cell(input, self._begin(input, hx), *self._weights())


class LSTMCell(RNNCellBase):
    """A long short-term memory.  x: (N, input_size) or (input_size,), hx: (h, c) -> (h, c)"""

    gates = 4

    def forward(self, input, hx=None):
        if hx is None:
            state = (self._begin(input, None),) * 2
        else:
            state = tuple(self._begin(input, h, f"hx[{i}]") for i, h in enumerate(hx))
        return rnn.lstm_cell(input, state, *self._weights())
