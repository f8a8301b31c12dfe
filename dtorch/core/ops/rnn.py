"""Recurrent layers: a layer in one direction over a whole sequence is one op.

All inputs are multiplied by their weights in one product; only the recurrent one is in the loop.
The backward op goes through time in the same way.  Under create_graph it is the cells, made of ops.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from functools import partial

from ..op import op
from .activation import relu
from .create import arange
from .dropout import dropout as drop
from .index import getitem, select
from .join import cat, chunk, stack
from .linear import linear
from .pointwise import sigmoid, tanh, where
from .shape import raw, transpose, unsqueeze


def _order(steps, reverse):
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _inputs(xp, x, w, *biases):
    """x w^T + biases for all steps.  x: (T, N, I), w: (G, I) -> (T, N, G)"""
    a = xp.matmul(x.reshape(-1, x.shape[2]), w.T).reshape(*x.shape[:2], w.shape[0])
    for b in biases:
        if b is not None:
            a += b
    return a


def _previous(xp, y, h0, reverse):
    """The state that each step began with.  y: (T, N, H)"""
    parts = (y[1:], h0[None]) if reverse else (h0[None], y[:-1])
    return xp.concatenate(parts)


def _weights_grad(xp, needs, ga, gh, x, before, w_ih):
    """Gradients of x and of the weights from those of the gates' sums, (T, N, G) each.

    ga: of the input's part, gh: of the recurrent part
    """
    ga2, gh2 = ga.reshape(-1, ga.shape[2]), gh.reshape(-1, gh.shape[2])
    gx = xp.matmul(ga2, w_ih).reshape(x.shape) if needs[0] else None
    gw_ih = xp.matmul(ga2.T, x.reshape(-1, x.shape[2]))
    gw_hh = xp.matmul(gh2.T, before.reshape(-1, before.shape[2]))
    return gx, gw_ih, gw_hh, ga2.sum(axis=0), gh2.sum(axis=0)


def _like(needs, grads):
    return tuple(g if need else None for need, g in zip(needs, grads))


def _unrolled(cell, x, state, reverse):
    """The composite of a layer: cell(x_t, state) -> state, a tuple that begins with h."""
    states = [None] * x.shape[0]
    for t in _order(x.shape[0], reverse):
        state = cell(select(x, 0, t), state)
        states[t] = state
    return tuple(stack(list(part)) for part in zip(*states))


# ---- LSTM ------------------------------------------------------------------------------------


@op(saves="xy")
def _lstm(xp, x, h0, c0, w_ih, w_hh, b_ih, b_hh, *, reverse):
    """x: (T, N, I), h0, c0: (N, H), w_ih: (4H, I), w_hh: (4H, H), biases (4H,) or None

    Returns h and c of each step, (T, N, H), and the gates i, f, g, o, (T, N, 4H).
    """
    k = h0.shape[1]
    gates = _inputs(xp, x, w_ih, b_ih, b_hh)
    hs, cs = (xp.empty((*x.shape[:2], k), x.dtype) for _ in range(2))
    wt = xp.ascontiguousarray(w_hh.T)
    # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2, so that one tanh does for all gates
    half = xp.full(4 * k, 0.5, x.dtype)
    half[2 * k : 3 * k] = 1
    shift = 1 - half
    h, c = h0, c0
    for t in _order(len(x), reverse):
        a = gates[t]
        a += xp.matmul(h, wt)
        a *= half
        xp.tanh(a, out=a)
        a *= half
        a += shift
        i, f, g, o = (a[:, j * k : (j + 1) * k] for j in range(4))
        c_new = xp.multiply(f, c, out=cs[t])
        c_new += i * g
        h = xp.tanh(c_new, out=hs[t])
        h *= o
        c = c_new
    return hs, cs, gates


@op()
def _lstm_grad(xp, gy, gcs, hs, cs, gates, x, h0, c0, w_ih, w_hh, *, needs, reverse):
    k = h0.shape[1]
    before, c_before = _previous(xp, hs, h0, reverse), _previous(xp, cs, c0, reverse)
    ga = xp.empty_like(gates)
    gh, gc = xp.zeros_like(h0), xp.zeros_like(c0)
    for t in _order(len(x), not reverse):
        i, f, g, o = (gates[t][:, j * k : (j + 1) * k] for j in range(4))
        if gy is not None:
            gh = gh + gy[t]
        if gcs is not None:
            gc = gc + gcs[t]
        tc = xp.tanh(cs[t])
        gc = gc + gh * o * (1 - tc * tc)
        a = ga[t]
        a[:, :k] = gc * g * i * (1 - i)
        a[:, k : 2 * k] = gc * c_before[t] * f * (1 - f)
        a[:, 2 * k : 3 * k] = gc * i * (1 - g * g)
        a[:, 3 * k :] = gh * tc * o * (1 - o)
        gh = xp.matmul(a, w_hh)
        gc = gc * f
    gx, gw_ih, gw_hh, gb, _ = _weights_grad(xp, needs, ga, ga, x, before, w_ih)
    return _like(needs, (gx, gh, gc, gw_ih, gw_hh, gb, gb))


_lstm.vjp_joint(
    lambda needs, g, y, x, h0, c0, w_ih, w_hh, b_ih, b_hh, reverse: _lstm_grad(
        g[0], g[1], *y, x, h0, c0, w_ih, w_hh, needs=needs, reverse=reverse
    )
)


def _check_cell(x, w_ih, *states):
    """states: pairs of a state and the size of its last dimension"""
    shape, expected = raw(x).shape, raw(w_ih).shape[1]
    if shape[-1] != expected:
        raise RuntimeError(
            f"input has inconsistent input_size: got {shape[-1]} expected {expected}"
        )
    for i, (state, size) in enumerate(states):
        h = raw(state).shape
        if h[:-1] != shape[:-1]:
            raise RuntimeError(
                f"Input batch size {shape[0]} doesn't match hidden{i} batch size {h[0]}"
            )
        if h[-1] != size:
            raise RuntimeError(
                f"hidden{i} has inconsistent hidden_size: got {h[-1]}, expected {size}"
            )


def _gates(x, h, w_ih, w_hh, b_ih, b_hh):
    return linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh)


@op(saves="xy")
def _lstm_step(xp, x, h, c, w_ih, w_hh, b_ih, b_hh):
    """_lstm with one step.  x: (..., I), h, c: (..., H) -> h, c, and the gates (..., 4H)"""
    k = h.shape[-1]
    steps = _lstm(x.reshape(1, -1, x.shape[-1]), h.reshape(-1, k), c.reshape(-1, k), w_ih, w_hh,
                  b_ih, b_hh, reverse=False)  # fmt: skip
    return tuple(a.reshape(*h.shape[:-1], a.shape[-1]) for a in steps)


@op()
def _lstm_step_grad(xp, gh, gc, h_new, c_new, gates, x, h, c, w_ih, w_hh, *, needs):
    steps = (a if a is None else a.reshape(1, -1, a.shape[-1])
             for a in (gh, gc, h_new, c_new, gates, x))  # fmt: skip
    k = h.shape[-1]
    gx, gh, gc, *rest = _lstm_grad(*steps, h.reshape(-1, k), c.reshape(-1, k), w_ih, w_hh,
                                   needs=needs, reverse=False)  # fmt: skip
    return (
        *(g if g is None else g.reshape(a.shape) for g, a in ((gx, x), (gh, h), (gc, c))),
        *rest,
    )


_lstm_step.vjp_joint(
    lambda needs, g, y, x, h, c, w_ih, w_hh, b_ih, b_hh: _lstm_step_grad(
        g[0], g[1], *y, x, h, c, w_ih, w_hh, needs=needs
    )
)


@_lstm_step.define
def _lstm_step_composite(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = chunk(_gates(x, h, w_ih, w_hh, b_ih, b_hh), 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM: (h, c) from input (N, I) and hx = (h, c)

    (Hochreiter & Schmidhuber, 1997)
    """
    h, c = hx
    _check_cell(input, w_ih, (h, w_hh.shape[1]), (c, w_hh.shape[0] // 4))
    _check_dtype(input, w_ih)
    return _lstm_step(input, h, c, w_ih, w_hh, b_ih, b_hh)[:2]


@_lstm.define
def _lstm_composite(x, h0, c0, *weights, reverse):
    return _unrolled(lambda x, hx: _lstm_step_composite(x, *hx, *weights), x, (h0, c0), reverse)


def lstm(x, state, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, *, reverse):
    """One layer in one direction: x (T, N, I), state (h, c), (N, H) each -> those of each step

    w_hr: (P, H), projects each h to size P  (Sak et al., 2014)
    """
    _check_dtype(x, w_ih)
    if w_hr is None:
        return _lstm(x, *state, w_ih, w_hh, b_ih, b_hh, reverse=reverse)[:2]

    def projected(x, state):
        h, c = _lstm_step_composite(x, *state, w_ih, w_hh, b_ih, b_hh)
        return linear(h, w_hr), c

    return _unrolled(projected, x, state, reverse)


# ---- GRU -------------------------------------------------------------------------------------


@op(saves="xy")
def _gru(xp, x, h0, w_ih, w_hh, b_ih, b_hh, *, reverse):
    """x: (T, N, I), h0: (N, H), w_ih: (3H, I), w_hh: (3H, H), biases (3H,) or None

    Returns h of each step, (T, N, H), the gates r, z, n, (T, N, 3H), and n's recurrent part.
    """
    k = h0.shape[1]
    gates = _inputs(xp, x, w_ih, b_ih)
    hs, parts = (xp.empty((*x.shape[:2], k), x.dtype) for _ in range(2))
    wt = xp.ascontiguousarray(w_hh.T)
    h = h0
    for t in _order(len(x), reverse):
        a = gates[t]
        recurrent = xp.matmul(h, wt)
        if b_hh is not None:
            recurrent += b_hh
        rz, n = a[:, : 2 * k], a[:, 2 * k :]
        rz += recurrent[:, : 2 * k]
        rz *= 0.5
        xp.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        parts[t] = recurrent[:, 2 * k :]
        n += rz[:, :k] * parts[t]
        xp.tanh(n, out=n)
        h = xp.subtract(h, n, out=hs[t])
        h *= rz[:, k:]
        h += n
    return hs, gates, parts


@op()
def _gru_grad(xp, gy, hs, gates, parts, x, h0, w_ih, w_hh, *, needs, reverse):
    k = h0.shape[1]
    before = _previous(xp, hs, h0, reverse)
    ga, gr = xp.empty_like(gates), xp.empty_like(gates)  # of the input's and the recurrent part
    gh = xp.zeros_like(h0)
    for t in _order(len(x), not reverse):
        r, z, n = (gates[t][:, j * k : (j + 1) * k] for j in range(3))
        gh = gh + gy[t]
        gn = gh * (1 - z) * (1 - n * n)
        a = ga[t]
        a[:, :k] = gn * parts[t] * r * (1 - r)
        a[:, k : 2 * k] = gh * (before[t] - n) * z * (1 - z)
        a[:, 2 * k :] = gn
        gr[t] = a
        gr[t][:, 2 * k :] *= r
        gh = gh * z + xp.matmul(gr[t], w_hh)
    gx, gw_ih, gw_hh, gb_ih, gb_hh = _weights_grad(xp, needs, ga, gr, x, before, w_ih)
    return _like(needs, (gx, gh, gw_ih, gw_hh, gb_ih, gb_hh))


_gru.vjp_joint(
    lambda needs, g, y, x, h0, w_ih, w_hh, b_ih, b_hh, reverse: _gru_grad(
        g[0], *y, x, h0, w_ih, w_hh, needs=needs, reverse=reverse
    )
)


def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a GRU: h from input (N, I) and hx (N, H)  (Cho et al., 2014)"""
    _check_cell(input, w_ih, (hx, w_hh.shape[1]))
    r, z, n = chunk(linear(input, w_ih, b_ih), 3, -1)
    hr, hz, hn = chunk(linear(hx, w_hh, b_hh), 3, -1)
    z = sigmoid(z + hz)
    n = tanh(n + sigmoid(r + hr) * hn)
    return n + z * (hx - n)


@_gru.define
def _gru_composite(x, h0, *weights, reverse):
    y = _unrolled(lambda x, state: (gru_cell(x, state[0], *weights),), x, (h0,), reverse)
    return (*y, None, None)


def gru(x, state, w_ih, w_hh, b_ih=None, b_hh=None, *, reverse):
    """One layer in one direction: x (T, N, I), state (h,), (N, H) -> that of each step"""
    _check_dtype(x, w_ih)
    return _gru(x, *state, w_ih, w_hh, b_ih, b_hh, reverse=reverse)[:1]


# ---- the plain recurrent network -------------------------------------------------------------


@op(saves="xy")
def _rnn(xp, x, h0, w_ih, w_hh, b_ih, b_hh, *, reverse, nonlinearity):
    """x: (T, N, I), h0: (N, H), w_ih: (H, I), w_hh: (H, H) -> h of each step, (T, N, H)"""
    hs = _inputs(xp, x, w_ih, b_ih, b_hh)
    wt = xp.ascontiguousarray(w_hh.T)
    h = h0
    for t in _order(len(x), reverse):
        a = hs[t]
        a += xp.matmul(h, wt)
        h = xp.tanh(a, out=a) if nonlinearity == "tanh" else xp.maximum(a, 0, out=a)
    return hs


@op()
def _rnn_grad(xp, gy, hs, x, h0, w_ih, w_hh, *, needs, reverse, nonlinearity):
    ga = xp.empty_like(hs)
    gh = xp.zeros_like(h0)
    for t in _order(len(x), not reverse):
        slope = 1 - hs[t] * hs[t] if nonlinearity == "tanh" else hs[t] > 0
        a = xp.multiply(gh + gy[t], slope, out=ga[t])
        gh = xp.matmul(a, w_hh)
    before = _previous(xp, hs, h0, reverse)
    gx, gw_ih, gw_hh, gb, _ = _weights_grad(xp, needs, ga, ga, x, before, w_ih)
    return _like(needs, (gx, gh, gw_ih, gw_hh, gb, gb))


_rnn.vjp_joint(
    lambda needs, g, y, x, h0, w_ih, w_hh, b_ih, b_hh, **p: _rnn_grad(
        g, y, x, h0, w_ih, w_hh, needs=needs, **p
    )
)


def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """tanh(input w_ihᵀ + hx w_hhᵀ + biases)  (Elman, 1990)"""
    _check_cell(input, w_ih, (hx, w_hh.shape[1]))
    return tanh(_gates(input, hx, w_ih, w_hh, b_ih, b_hh))


def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """relu(input w_ihᵀ + hx w_hhᵀ + biases)"""
    _check_cell(input, w_ih, (hx, w_hh.shape[1]))
    return relu(_gates(input, hx, w_ih, w_hh, b_ih, b_hh))


@_rnn.define
def _rnn_composite(x, h0, *weights, reverse, nonlinearity):
    cell = rnn_tanh_cell if nonlinearity == "tanh" else rnn_relu_cell
    return _unrolled(lambda x, state: (cell(x, state[0], *weights),), x, (h0,), reverse)[0]


def rnn(x, state, w_ih, w_hh, b_ih=None, b_hh=None, *, reverse, nonlinearity="tanh"):
    """One layer in one direction: x (T, N, I), state (h,), (N, H) -> that of each step"""
    _check_dtype(x, w_ih)
    return (_rnn(x, *state, w_ih, w_hh, b_ih, b_hh, reverse=reverse, nonlinearity=nonlinearity),)


def _check_dtype(x, weight):
    """Half precision beside float32 is what autocast leaves, where a layer is not in its lists."""
    mixed = x.dtype.itemsize == 2 and weight.dtype.itemsize == 4
    if x.dtype != weight.dtype and not mixed:
        raise ValueError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). Convert "
            f"input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )


# ---- several layers --------------------------------------------------------------------------


def layers(one, x, state, weights, bidirectional, dropout, training, lengths=None):
    """Layers over a sequence, each in one or in both directions.

    one: lstm, gru or rnn: a layer in one direction
    x: (T, N, I), state: a tuple of (layers * D, N, H), where D is 1 or, in both directions, 2
    weights: the list of weights of each layer and direction
    dropout: the probability, after each layer but the last
    lengths: (N,), at which step each sequence ends; None: all at T
    Returns y, (T, N, D * H), and each state after the last step, (layers * D, N, H).
    """
    if not x.shape[0]:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    directions = 1 + bidirectional
    finals = []
    for first in range(0, len(weights), directions):
        if first and dropout:
            x = drop(x, dropout, training)
        outputs = []
        for k in range(first, first + directions):
            begin = tuple(select(s, 0, k) for s in state)
            y, final = _direction(one, x, begin, weights[k], k > first, lengths)
            outputs.append(y)
            finals.append(final)
        x = cat(outputs, 2) if bidirectional else outputs[0]
    return x, tuple(stack(list(part)) for part in zip(*finals))


def _direction(one, x, begin, weights, reverse, lengths):
    """The output of a layer in one direction, (T, N, H), and its last states, (N, H) each."""
    if lengths is None:
        states = one(x, begin, *weights, reverse=reverse)
        last = 0 if reverse else x.shape[0] - 1
        return states[0], tuple(select(s, 0, last) for s in states)
    # Each sequence is turned round by itself, since they end at different steps.
    states = one(_turned(x, lengths) if reverse else x, begin, *weights, reverse=False)
    y = _turned(states[0], lengths) if reverse else states[0]
    ends = (lengths - 1, arange(x.shape[1]))
    return y, tuple(getitem(s, ends) for s in states)


def _turned(x, lengths):
    """Each sequence backwards, its padding left where it is.  x: (T, N, ...), lengths: (N,)"""
    steps = unsqueeze(arange(x.shape[0]), 1)
    back = unsqueeze(lengths, 0) - 1 - steps
    return getitem(x, (where(back < 0, steps, back), arange(x.shape[1])))


def _public(name, one, states):
    """torch's function of several layers."""

    def function(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
                 batch_first):  # fmt: skip
        hx = (hx,) if states == 1 else tuple(hx)
        count, each = num_layers * (1 + bidirectional), 4 if has_biases else 2
        if len(hx) != states or len(params) != count * each:
            raise RuntimeError(
                f"{name}: expected {states} states and {count * each} parameters, but got "
                f"{len(hx)} and {len(params)}"
            )
        weights = [params[k * each : (k + 1) * each] for k in range(count)]
        x = transpose(input, 0, 1) if batch_first else input
        y, finals = layers(one, x, hx, weights, bidirectional, dropout, train)
        return (transpose(y, 0, 1) if batch_first else y, *finals)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        "Layers over a sequence (T, N, I) or, with batch_first, (N, T, I): the output, and each "
        "state after the last step, (layers * directions, N, H)"
    )
    return function


FUNCTIONS = {
    "lstm_cell": lstm_cell, "gru_cell": gru_cell, "rnn_tanh_cell": rnn_tanh_cell,
    "rnn_relu_cell": rnn_relu_cell, "lstm": _public("lstm", lstm, 2),
    "gru": _public("gru", gru, 1), "rnn_tanh": _public("rnn_tanh", rnn, 1),
    "rnn_relu": _public("rnn_relu", partial(rnn, nonlinearity="relu"), 1),
}  # fmt: skip
