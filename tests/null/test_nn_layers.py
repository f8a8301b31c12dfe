"""Layers against torch's: the same weights and inputs, the same outputs, gradients and state."""

import numpy as np
import pytest
import torch

import dtorch
from dtorch import nn
from tests.both import assert_same


def to_ours(t):
    a = t.detach().numpy().copy()
    return dtorch.from_numpy(a).requires_grad_(t.requires_grad)


def outputs(x):
    kinds = (dtorch.Tensor, torch.Tensor)
    return [x] if isinstance(x, kinds) else [t for y in x if y is not None for t in outputs(y)]


R = np.random.default_rng(0)


def x(*shape):
    return torch.from_numpy(R.standard_normal(shape)).requires_grad_()


def n(high, *shape):
    return torch.from_numpy(R.integers(0, high, shape))


def idx(*shape):
    """Indices of MaxPool2d with windows of 2 x 2 over as many of them."""
    return torch.nn.functional.max_pool2d(x(*shape[:-2], 4, 4), 2, return_indices=True)[1]


OFFSETS, ENDS = torch.tensor([0, 2, 2, 5]), torch.tensor([0, 4, 6, 9])
PADDED = torch.tensor([[False] * 5, [False, False, False, True, True]])
CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)

# layer, its arguments, its inputs, what else it is called with; all in float64
LAYERS = [
    ("Linear", (4, 3), {}, [x(2, 5, 4)]),
    ("Linear", (4, 3), {"bias": False}, [x(4)]),
    ("Bilinear", (3, 4, 2), {}, [x(5, 3), x(5, 4)]),
    ("Conv1d", (2, 4, 3), {"padding": "same", "padding_mode": "circular"}, [x(2, 2, 7)]),
    ("Conv2d", (4, 6, (3, 2)), {"stride": 2, "padding": 1, "groups": 2}, [x(2, 4, 6, 7)]),
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "padding_mode": "reflect"}, [x(1, 2, 5, 6)]),
    ("Conv3d", (2, 2, 2), {"dilation": 2, "bias": False}, [x(1, 2, 4, 4, 4)]),
    ("ConvTranspose2d", (3, 2, 3), {"stride": 2, "output_padding": 1}, [x(2, 3, 4, 4)]),
    ("MaxPool2d", (2,), {"return_indices": True, "ceil_mode": True}, [x(2, 3, 5, 6)]),
    ("AvgPool2d", (3,), {"padding": 1, "count_include_pad": False}, [x(2, 3, 5, 6)]),
    ("AdaptiveAvgPool2d", ((2, None),), {}, [x(2, 3, 5, 6)]),
    ("AdaptiveMaxPool1d", (3,), {}, [x(2, 3, 7)]),
    ("BatchNorm1d", (3,), {}, [x(6, 3)]),
    ("BatchNorm2d", (3,), {"momentum": None}, [x(4, 3, 2, 2)]),
    ("BatchNorm3d", (3,), {"track_running_stats": False}, [x(4, 3, 2, 2, 2)]),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, [x(2, 3, 4, 4)]),
    ("LayerNorm", ((3, 4),), {}, [x(2, 3, 4)]),
    ("RMSNorm", (4,), {}, [x(2, 3, 4)]),
    ("GroupNorm", (2, 4), {}, [x(2, 4, 3)]),
    ("Embedding", (7, 3), {"padding_idx": -1}, [n(7, 2, 4)]),
    ("PReLU", (3,), {}, [x(2, 3, 4)]),
    ("GELU", (), {"approximate": "tanh"}, [x(5)]),
    ("Softmax", (1,), {}, [x(2, 3)]),
    ("MultiheadAttention", (4, 2), {"batch_first": True}, [x(2, 3, 4), x(2, 5, 4), x(2, 5, 4)]),
    ("MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 2, "add_bias_kv": True},
     [x(3, 2, 4), x(5, 2, 3), x(5, 2, 2)]),
    ("RNN", (3, 4), {"num_layers": 2, "nonlinearity": "relu"}, [x(5, 2, 3)]),
    ("GRU", (3, 4), {"bidirectional": True, "batch_first": True}, [x(2, 5, 3)]),
    ("LSTM", (3, 4), {"num_layers": 2, "bidirectional": True}, [x(5, 2, 3)]),
    ("LSTM", (3, 4), {"proj_size": 2, "bias": False}, [x(5, 2, 3)]),
    ("LSTM", (3, 4), {}, [x(5, 3)]),
    ("LSTMCell", (3, 4), {}, [x(2, 3)]),
    ("GRUCell", (3, 4), {"bias": False}, [x(2, 3), x(2, 4)]),
    ("TransformerEncoderLayer", (4, 2, 8, 0.0), {"norm_first": True}, [x(3, 2, 4)]),
    ("TransformerDecoderLayer", (4, 2, 8, 0.0), {"activation": "gelu"}, [x(3, 2, 4), x(5, 2, 4)]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1}, [x(4, 5), n(5, 4)]),
    ("SmoothL1Loss", (), {"beta": 0.5, "reduction": "sum"}, [x(4, 5), x(4, 5)]),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, [x(1, 2, 3, 3)]),
    ("ReflectionPad2d", ((1, 2, 0, 1),), {}, [x(1, 2, 4, 4)]),
    ("Unflatten", (1, (2, 3)), {}, [x(2, 6)]),
    # convolutions: padding
    ("Conv1d", (2, 4, 4), {"padding": "same", "dilation": 2}, [x(2, 2, 9)]),
    ("Conv2d", (2, 3, (2, 3)), {"padding": "same"}, [x(2, 5, 6)]),
    ("Conv2d", (2, 3, 3), {"padding": "valid", "stride": (1, 2)}, [x(1, 2, 5, 6)]),
    ("Conv2d", (2, 2, (4, 3)), {"padding": "same", "padding_mode": "replicate"}, [x(1, 2, 5, 6)]),
    ("Conv3d", (1, 2, 3), {"padding": 1, "padding_mode": "circular"}, [x(1, 1, 3, 4, 3)]),
    ("Conv3d", (4, 4, 2), {"groups": 4, "stride": 2}, [x(4, 4, 5, 4)]),
    ("ConvTranspose1d", (4, 6, 3), {"groups": 2, "dilation": 2, "padding": 1}, [x(2, 4, 5)]),
    ("ConvTranspose3d", (2, 2, 2), {"stride": 2}, [x(1, 2, 3, 2, 2)]),
    ("ConvTranspose2d", (2, 3, 3), {"stride": 2}, [x(2, 3, 4)], {"output_size": (8, 10)}),
    ("ReflectionPad3d", (1,), {}, [x(1, 2, 3, 4, 3)]),
    ("ReplicationPad1d", ((2, 1),), {}, [x(2, 4)]),
    ("CircularPad2d", ((1, 2, 0, 1),), {}, [x(1, 2, 4, 4)]),
    ("ConstantPad3d", ((1, -1, 0, 2, 1, 0), 0.5), {}, [x(2, 3, 4, 3)]),
    # pooling
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "dilation": 2}, [x(2, 3, 9)]),
    ("MaxPool3d", (2,), {"ceil_mode": True, "stride": (1, 2, 1)}, [x(2, 3, 3, 5, 4)]),
    ("AvgPool3d", (2,), {"divisor_override": 3, "ceil_mode": True}, [x(2, 3, 5, 4)]),
    ("LPPool2d", (3, 2), {"stride": 1}, [x(1, 2, 4, 5).abs().detach().requires_grad_()]),
    ("MaxUnpool2d", (2,), {}, [x(1, 1, 2, 2), idx(1, 1, 2, 2)]),
    ("MaxUnpool2d", (2,), {"stride": 2}, [x(1, 2, 2), idx(1, 2, 2)], {"output_size": (5, 4)}),
    ("MaxUnpool1d", (2,), {}, [x(1, 2, 3), torch.tensor([[[0, 3, 4], [1, 2, 5]]])]),
    ("AdaptiveMaxPool3d", ((2, None, 1),), {"return_indices": True}, [x(2, 3, 4, 3)]),
    ("FractionalMaxPool2d", (2, 3), {"_random_samples": torch.full((2, 3, 2), 0.3).double()},
     [x(2, 3, 6, 7)]),
    # normalization
    ("LayerNorm", (4,), {"bias": False}, [x(2, 3, 4)]),
    ("GroupNorm", (2, 4), {"affine": False, "eps": 1e-2}, [x(2, 4, 3, 2)]),
    ("BatchNorm1d", (3,), {"affine": False, "momentum": 0.3}, [x(4, 3, 2)]),
    ("BatchNorm2d", (3,), {"bias": False}, [x(4, 3, 2, 2)]),
    ("InstanceNorm1d", (3,), {}, [x(3, 4)]),
    ("InstanceNorm3d", (2,), {"affine": True}, [x(2, 2, 2, 3, 2)]),
    ("LocalResponseNorm", (2,), {"alpha": 0.5, "k": 2.0}, [x(2, 5, 3)]),
    ("RMSNorm", ((3, 4),), {"eps": 1e-3, "elementwise_affine": False}, [x(2, 3, 4)]),
    # embeddings
    ("Embedding", (7, 3), {"max_norm": 1.0, "norm_type": 1.0}, [n(7, 2, 4)]),
    ("Embedding", (7, 3), {"scale_grad_by_freq": True}, [n(3, 2, 4)]),
    ("Embedding", (7, 3), {"sparse": True}, [n(7, 2, 4)]),
    ("EmbeddingBag", (7, 3), {"mode": "mean"}, [n(7, 9), OFFSETS]),
    ("EmbeddingBag", (7, 3), {"mode": "max", "padding_idx": 2}, [n(7, 4, 3)]),
    ("EmbeddingBag", (7, 3), {"mode": "sum", "include_last_offset": True}, [n(7, 9), ENDS]),
    ("EmbeddingBag", (7, 3), {"mode": "sum", "padding_idx": 1}, [n(7, 9), OFFSETS, x(9)]),
    ("EmbeddingBag", (7, 3), {"mode": "sum", "sparse": True}, [n(7, 9), OFFSETS]),
    ("EmbeddingBag", (7, 3), {"max_norm": 1.0}, [n(7, 4, 3)]),
    # attention
    ("MultiheadAttention", (4, 2), {"bias": False}, [x(3, 4), x(5, 4), x(5, 4)]),
    ("MultiheadAttention", (4, 2), {}, [x(3, 2, 4), x(5, 2, 4), x(5, 2, 4)],
     {"need_weights": False}),
    ("MultiheadAttention", (4, 2), {"add_zero_attn": True}, [x(3, 2, 4), x(5, 2, 4), x(5, 2, 4)],
     {"average_attn_weights": False, "key_padding_mask": PADDED}),
    ("MultiheadAttention", (4, 2), {"batch_first": True}, [x(2, 3, 4), x(2, 5, 4), x(2, 5, 4)],
     {"key_padding_mask": PADDED.double() * -3, "attn_mask": x(3, 5).detach()}),
    ("MultiheadAttention", (4, 2), {"add_bias_kv": True, "add_zero_attn": True},
     [x(5, 2, 4)] * 3, {"attn_mask": CAUSAL}),
    ("MultiheadAttention", (4, 2), {}, [x(5, 2, 4)] * 3,
     {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False}),
    ("MultiheadAttention", (4, 2), {}, [x(3, 2, 4), x(5, 2, 4), x(5, 2, 4)],
     {"attn_mask": x(4, 3, 5).detach(), "average_attn_weights": False}),
    # transformers
    ("TransformerEncoderLayer", (4, 2, 8, 0.0), {"batch_first": True, "bias": False},
     [x(2, 5, 4)], {"src_key_padding_mask": PADDED}),
    ("TransformerEncoderLayer", (4, 2, 8, 0.0), {"activation": "gelu"}, [x(5, 4)],
     {"src_mask": CAUSAL, "is_causal": True}),
    ("TransformerDecoderLayer", (4, 2, 8, 0.0), {"norm_first": True, "batch_first": True},
     [x(2, 5, 4), x(2, 3, 4)], {"tgt_mask": CAUSAL, "tgt_is_causal": True}),
    ("Transformer", (4, 2, 1, 2, 8, 0.0), {}, [x(3, 2, 4), x(5, 2, 4)], {"tgt_mask": CAUSAL}),
    ("Transformer", (4, 2, 1, 1, 8, 0.0), {"batch_first": True, "norm_first": True, "bias": False},
     [x(2, 5, 4), x(2, 3, 4)], {"src_key_padding_mask": PADDED}),
    # recurrent
    ("LSTM", (3, 4), {"proj_size": 2, "num_layers": 2, "bidirectional": True, "batch_first": True},
     [x(2, 5, 3)]),
    ("LSTM", (3, 4), {"proj_size": 2}, [x(5, 2, 3), (x(1, 2, 2), x(1, 2, 4))]),
    ("GRU", (3, 4), {"num_layers": 2, "bias": False}, [x(5, 3), x(2, 4)]),
    ("RNN", (3, 4), {"bidirectional": True}, [x(5, 2, 3), x(2, 2, 4)]),
    ("RNNCell", (3, 4), {"nonlinearity": "relu"}, [x(3)]),
    ("LSTMCell", (3, 4), {"bias": False}, [x(2, 3), (x(2, 4), x(2, 4))]),
    # losses
    ("CrossEntropyLoss", (), {"weight": x(5).abs().detach(), "ignore_index": 1}, [x(4, 5), n(5, 4)]),
    ("CrossEntropyLoss", (), {"reduction": "sum"}, [x(4, 5, 3), x(4, 5, 3).softmax(1).detach()]),
    ("CTCLoss", (), {"zero_infinity": True}, [x(6, 2, 4).log_softmax(2).detach().requires_grad_(),
     n(3, 2, 3) + 1, torch.tensor([6, 2]), torch.tensor([3, 3])]),
    ("CTCLoss", (), {"reduction": "none", "blank": 3},
     [x(6, 4).log_softmax(1).detach().requires_grad_(), n(3, 2), torch.tensor(6), torch.tensor(2)]),
    ("BCEWithLogitsLoss", (), {"pos_weight": x(5).abs().detach()}, [x(4, 5), n(2, 4, 5).double()]),
    ("GaussianNLLLoss", (), {"full": True}, [x(4, 5), x(4, 5), x(4, 1).exp().detach()]),
    ("TripletMarginLoss", (), {"swap": True, "p": 3.0}, [x(4, 5), x(4, 5), x(4, 5)]),
    ("MultiLabelMarginLoss", (), {}, [x(2, 4), torch.tensor([[3, 0, -1, 1], [1, -1, 2, 2]])]),
    ("AdaptiveLogSoftmaxWithLoss", (8, 10, [2, 5]), {"head_bias": True, "div_value": 2.0},
     [x(6, 8), torch.tensor([0, 9, 4, 2, 1, 7])]),
    ("AdaptiveLogSoftmaxWithLoss", (8, 10, [4]), {}, [x(8), torch.tensor(7)]),
    ("LinearCrossEntropyLoss", (4, 5), {"out_features": (2,), "bias": True}, [x(3, 4), n(5, 3, 2)]),
    # shapes
    ("Fold", ((4, 5), (2, 3)), {"padding": 1}, [x(1, 12, 25)]),
    ("Unfold", ((2, 3),), {"dilation": 2, "stride": (1, 2)}, [x(2, 2, 5, 7)]),
    ("Upsample", (), {"size": (5, 4), "mode": "bicubic", "align_corners": True}, [x(1, 2, 3, 3)]),
    ("PixelShuffle", (2,), {}, [x(1, 8, 2, 3)]),
    ("CosineSimilarity", (), {"dim": 0}, [x(3, 4), x(3, 4)]),
    ("PairwiseDistance", (), {"p": 1.0, "keepdim": True}, [x(3, 4), x(4)]),
]  # fmt: skip


def over(value, change):
    """The change made to every tensor in a value, a tuple, a list or a dict."""
    if isinstance(value, (tuple, list)):
        return type(value)(over(v, change) for v in value)
    if isinstance(value, dict):
        return {k: over(v, change) for k, v in value.items()}
    return change(value) if isinstance(value, torch.Tensor) else value


def loss(lib, results):
    """A number that depends on all floats of the outputs, each with a weight of its own."""
    total = 0
    for i, t in enumerate(results):
        if t.requires_grad:
            weights = np.random.default_rng(i).standard_normal(t.shape)
            total = total + (t * lib.from_numpy(np.asarray(weights))).sum()
    return total


@pytest.mark.filterwarnings("ignore")  # of torch, about its fast paths
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", LAYERS, ids=[f"{i}-{case[0]}" for i, case in enumerate(LAYERS)])
def test_a_layer_equals_torchs(case, training):
    name, args, kwargs, inputs, *more = case
    called = more[0] if more else {}
    if not training and not kwargs.get("track_running_stats", True):
        kwargs = {**kwargs, "affine": False}
    reference = getattr(torch.nn, name)(*args, **kwargs).double().train(training)
    layer = getattr(nn, name)(*args, **over(kwargs, to_ours)).double().train(training)
    assert repr(layer) == repr(reference)
    theirs_state = reference.state_dict()
    assert list(layer.state_dict()) == list(theirs_state)
    layer.load_state_dict({k: to_ours(v) for k, v in theirs_state.items()})
    ours_in = [over(t, to_ours) for t in inputs]
    theirs_in = over(inputs, lambda t: t.detach().clone().requires_grad_(t.requires_grad))
    ours = outputs(layer(*ours_in, **over(called, to_ours)))
    theirs = outputs(reference(*theirs_in, **called))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-9, 1e-10)
    if any(t.requires_grad for t in theirs):
        loss(dtorch, ours).backward()
        loss(torch, theirs).backward()
    for a, b in zip(
        [*outputs(ours_in), *layer.parameters()], [*outputs(theirs_in), *reference.parameters()]
    ):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            assert a.grad.is_sparse == b.grad.is_sparse
            np.testing.assert_allclose(
                a.grad.to_dense().numpy(), b.grad.to_dense().numpy(), 1e-8, 1e-9
            )
    for (k, a), b in zip(layer.state_dict().items(), reference.state_dict().values()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-9, 1e-10, err_msg=k)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("sort", [True, False])
def test_packed_sequences(name, sort):
    lengths = [5, 3, 3, 1] if sort else [3, 1, 5, 3]
    reference = getattr(torch.nn, name)(3, 4, 2, bidirectional=True).double()
    layer = getattr(nn, name)(3, 4, 2, bidirectional=True).double()
    layer.load_state_dict({k: to_ours(v) for k, v in reference.state_dict().items()})
    data = x(5, 4, 3)
    results = []
    for lib, module, given in ((torch, reference, data.detach()), (dtorch, layer, to_ours(data))):
        rnn = lib.nn.utils.rnn
        packed = rnn.pack_padded_sequence(
            given, lib.from_numpy(np.array(lengths)), enforce_sorted=sort
        )
        y, h = module(packed)
        padded, found = rnn.pad_packed_sequence(y, padding_value=-1.0)
        sum(t.sum() for t in [padded, *outputs(h)]).backward()
        assert found.tolist() == lengths
        grads = [p.grad for p in module.parameters()]
        results.append([t.detach().numpy() for t in [padded, *outputs(h), *grads]])
    for ours, theirs in zip(*results[::-1]):
        np.testing.assert_allclose(ours, theirs, 1e-8, 1e-9)


def test_packed_sequences_in_other_dtypes():
    def program(lib, log):
        rnn = lib.nn.utils.rnn
        packed = rnn.pack_sequence([lib.ones(3, 2), lib.ones(1, 2)])
        for name in ("double", "float", "half", "long", "int", "short", "char", "byte", "cpu"):
            other = getattr(packed, name)()
            log.append((type(other).__name__, str(other.data.dtype).split(".")[1]))
        log.append((packed.is_cuda, packed.is_pinned(), packed.batch_sizes))
        return list(rnn.unpack_sequence(packed.to(lib.float64)))

    assert_same(program)


WRONG_LENGTHS = {
    "unsorted": lambda lib, rnn: rnn.pack_padded_sequence(lib.ones(3, 2), [1, 3]),
    "zero": lambda lib, rnn: rnn.pack_padded_sequence(lib.ones(3, 2), [3, 0]),
    "too few": lambda lib, rnn: rnn.pack_padded_sequence(lib.ones(3, 2), [3]),
    "total": lambda lib, rnn: rnn.pad_packed_sequence(
        rnn.pack_sequence([lib.ones(3)]), total_length=2
    ),
    "side": lambda lib, rnn: rnn.pad_sequence([lib.ones(3)], padding_side="up"),
    "not a list": lambda lib, rnn: rnn.pad_sequence(3),
    "other dimensions": lambda lib, rnn: rnn.pad_sequence([lib.ones(3), lib.ones(3, 2)]),
    "none": lambda lib, rnn: rnn.pad_sequence([]),
}


@pytest.mark.parametrize("wrong", WRONG_LENGTHS)
def test_wrong_sequences(wrong):
    assert_same(lambda lib, log: WRONG_LENGTHS[wrong](lib, lib.nn.utils.rnn), 0)


def test_lengths_beyond_the_input_are_refused():  # torch reads past its end
    with pytest.raises(RuntimeError, match="at most 3"):
        nn.utils.rnn.pack_padded_sequence(dtorch.ones(3, 2), [4, 1])


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH", "RNN_RELU", "no"])
def test_the_base_of_recurrent_layers_knows_its_modes(mode):
    def program(lib, log):
        m = lib.nn.RNNBase(mode, 3, 4, bidirectional=True)
        log.append((m._all_weights, m._flat_weights_names, len(m._flat_weights)))
        log.append([len(weights) for weights in m.all_weights])
        return m.mode, {k: list(v.shape) for k, v in m.state_dict().items()}

    assert_same(program)


def test_bags_of_a_given_table():
    def program(lib, log):
        m = lib.nn.EmbeddingBag.from_pretrained(lib.eye(3), mode="sum", padding_idx=1)
        log.append((repr(m), m.weight.requires_grad))
        log.append(m(lib.tensor([[0, 1], [2, 2]])))
        return lib.nn.EmbeddingBag.from_pretrained(lib.ones(3))

    assert_same(program)


def test_the_parts_of_a_transformer_layer_can_be_overridden():
    def program(lib, log):
        class Quiet(lib.nn.TransformerDecoderLayer):
            def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
                return x * 0

            def _mha_block(self, x, mem, attn_mask, key_padding_mask, is_causal=False):
                return mem.sum() + x * 0

            def _ff_block(self, x):
                return x * 0

        return Quiet(2, 1, 2, norm_first=True)(lib.ones(3, 1, 2), lib.ones(4, 1, 2))

    assert_same(program)


@pytest.mark.parametrize(("v", "n", "d"), [(50, 300, 64), (7, 900, 33), (2000, 700, 20)])
def test_gradients_of_large_embeddings(v, n, d):
    rng = np.random.default_rng(0)
    rows, weight, g = (
        rng.integers(0, v, n),
        rng.standard_normal((v, d)),
        rng.standard_normal((n, d)),
    )
    grads = []
    for lib in (torch, dtorch):
        w = lib.tensor(weight, requires_grad=True)
        lib.nn.functional.embedding(lib.tensor(rows), w, padding_idx=3).backward(lib.tensor(g))
        grads.append(w.grad.numpy())
    np.testing.assert_allclose(*grads)
