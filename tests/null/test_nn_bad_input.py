"""Bad input to layers: torch's types of errors, and a module that is as it was before."""

import copy
import warnings

import pytest
import torch

import dtorch

F32, F64, I64, C64, BOOL = "float32", "float64", "int64", "complex64", "bool"


class T:
    """A tensor to be made by either library: ones of a shape, or given values."""

    def __init__(self, *shape, dtype=F32, values=None):
        self.shape, self.dtype, self.values = shape, dtype, values

    def make(self, lib):
        dtype = getattr(lib, self.dtype)
        if self.values is not None:
            return lib.tensor(self.values, dtype=dtype)
        return lib.ones(self.shape, dtype=dtype)

    def __repr__(self):
        return f"{list(self.shape)}{'' if self.dtype == F32 else self.dtype}"


def made(value, lib):
    if isinstance(value, (tuple, list)):
        return type(value)(made(v, lib) for v in value)
    if isinstance(value, dict):
        return {k: made(v, lib) for k, v in value.items()}
    return value.make(lib) if isinstance(value, T) else value


# layer, its arguments, what it is called with (None: building it is what fails)
CASES = [
    # linear
    ("Linear", (3, 2), [T(4)]), ("Linear", (3, 2), [T(2, 3, dtype=F64)]),
    ("Linear", (3, 2), [T(2, 3, dtype=I64)]), ("Linear", (3, 2), [T()]),
    ("Linear", (3, 2), ["text"]), ("Linear", (3, 2), []), ("Linear", (3, 2), [T(3), T(3)]),
    ("Linear", (3,), None), ("Linear", ("a", 2), None), ("Linear", (3, -1), None),
    ("Bilinear", (0, 2, 2), None), ("Bilinear", (2, 3, 2), [T(4, 2), T(5, 3)]),
    ("Bilinear", (2, 3, 2), [T(4, 3), T(4, 3)]),
    # convolutions
    ("Conv1d", (2, 3, 3), [T(1, 3, 5)]), ("Conv1d", (2, 3, 3), [T(5)]),
    ("Conv1d", (2, 3, 3), [T(1, 2, 2)]), ("Conv2d", (2, 3, 3), [T(1, 2, 5)]),
    ("Conv2d", (2, 3, 3), [T(1, 2, 5, 5, dtype=F64)]),
    ("Conv2d", (2, 3, 3), [T(1, 2, 5, 5, dtype=I64)]),
    ("Conv2d", (2, 3, 3), [T(1, 2, 5, 5, dtype=C64)]),
    ("Conv3d", (2, 3, 3), [T(2, 5, 5)]), ("Conv2d", (3, 4, 3, 1, 0, 1, 2), None),
    ("Conv2d", (4, 3, 3, 1, 0, 1, 2), None), ("Conv2d", (2, 2, 3, 1, 0, 1, 0), None),
    ("Conv2d", (2, 2, 3, 2, "same"), None), ("Conv2d", (2, 2, 3, 1, "full"), None),
    ("Conv2d", (2, 2, 3, 1, 0, 1, 1, True, "mirror"), None),
    ("Conv2d", (2, 2, 3, 1, 3, 1, 1, True, "reflect"), [T(1, 2, 3, 3)]),
    ("Conv2d", (2, 2, 3, 0), [T(1, 2, 5, 5)]), ("Conv2d", (2, 2, 3, 1, -1), [T(1, 2, 5, 5)]),
    ("ConvTranspose2d", (2, 3, 3), [T(1, 3, 4, 4)]),
    ("ConvTranspose2d", (2, 3, 3, 1, 0, 1), [T(1, 2, 4, 4)]),
    ("ConvTranspose2d", (2, 3, 3, 2), [T(1, 2, 4, 4), (20, 20)]),
    ("ConvTranspose2d", (2, 3, 3, 2), [T(1, 2, 4, 4), (9,)]),
    ("ConvTranspose1d", (2, 3, 3, 1, 0, 0, 1, True, 1, "reflect"), None),
    # pooling
    ("MaxPool2d", (3,), [T(4, 4)]), ("MaxPool2d", (5,), [T(1, 2, 3, 3)]),
    ("MaxPool2d", (2, 2, 2), [T(1, 2, 4, 4)]), ("MaxPool1d", (2, 0), [T(1, 2, 4)]),
    ("MaxPool3d", (2,), [T(1, 2, 3, 3)]), ("AvgPool1d", (2,), [T(4)]),
    ("AvgPool2d", (2, 1, 2), [T(1, 1, 4, 4)]), ("AvgPool2d", (2,), [T(1, 1, 4, 4, dtype=BOOL)]),
    ("AdaptiveAvgPool2d", ((2, 2),), [T(3)]), ("AdaptiveAvgPool2d", ((2, 2, 2),), [T(1, 1, 4, 4)]),
    ("AdaptiveMaxPool1d", (-1,), [T(1, 2, 4)]), ("LPPool1d", (2.0, 9), [T(1, 2, 4)]),
    ("MaxUnpool2d", (2,), [T(1, 1, 2, 2), T(1, 1, 2, 2)]),
    ("MaxUnpool2d", (2,), [T(1, 1, 2, 2), T(1, 1, 2, 3, dtype=I64)]),
    ("MaxUnpool2d", (2,), [T(1, 1, 1, 1), T(1, 1, 1, 1, dtype=I64), (9, 9)]),
    ("FractionalMaxPool2d", (2,), None), ("FractionalMaxPool2d", (2, 3, 0.5), None),
    ("FractionalMaxPool2d", (2, None, 1.5), None), ("FractionalMaxPool3d", (0, 2), None),
    # normalization
    ("BatchNorm1d", (3,), [T(2, 4)]), ("BatchNorm1d", (3,), [T(2, 3, 4, 4)]),
    ("BatchNorm1d", (3,), [T(1, 3)]), ("BatchNorm1d", (3,), [T(2, 3, dtype=I64)]),
    ("BatchNorm2d", (3,), [T(2, 3)]), ("BatchNorm2d", (3,), [T(2, 3, 2, 2, dtype=C64)]),
    ("BatchNorm1d", (3, -1.0), [T(2, 3)]), ("BatchNorm3d", (3,), [T(2, 3, 2, 2)]),
    ("InstanceNorm1d", (3,), [T(2, 3, 1)]),
    ("InstanceNorm2d", (3, 1e-5, 0.1, True), [T(2, 4, 3, 3)]),
    ("InstanceNorm2d", (3,), [T(2, 3)]), ("InstanceNorm3d", (3,), [T(2, 3, 1)]),
    ("LayerNorm", (3,), [T(2, 4)]), ("LayerNorm", ((3, 4),), [T(4)]),
    ("LayerNorm", (3,), [T(2, 3, dtype=C64)]), ("RMSNorm", (3,), [T(2, 4)]),
    ("GroupNorm", (2, 3), None), ("GroupNorm", (3, 6), [T(2, 4, 3)]),
    ("GroupNorm", (2, 4), [T(4)]), ("GroupNorm", (2, 4), [T(2, 4, 3, dtype=C64)]),
    ("BatchNorm1d", (3,), [T(2, 3, dtype=F64)]), ("LayerNorm", (3,), [T(2, 3, dtype=F64)]),
    ("GroupNorm", (2, 4), [T(2, 4, 3, dtype=F64)]), ("LayerNorm", (3,), [T(2, 3, dtype=I64)]),
    ("BatchNorm1d", (3, 1e-5, 0.1, False), [T(2, 3, dtype=C64)]),
    ("InstanceNorm1d", (3,), [T(2, 3, 4, dtype=C64)]),
    ("LocalResponseNorm", (2,), [T(3)]),
    # activations, dropout, padding
    ("Softmax", (3,), [T(2, 3)]), ("GLU", (1,), [T(2, 3)]), ("PReLU", (3,), [T(2, 4)]),
    ("Softplus", (), [T(3, dtype=I64)]), ("GELU", ("no",), [T(3)]), ("GELU", (), [T(3, dtype=I64)]),
    ("Threshold", (1,), None), ("RReLU", (0.5, 0.2), [T(3)]), ("Hardtanh", (2.0, 1.0), None),
    ("Dropout", (1.5,), None), ("Dropout2d", (-0.1,), None), ("Softmax2d", (), [T(2, 3)]),
    ("ReflectionPad1d", (3,), [T(1, 2, 3)]), ("ReflectionPad2d", (1,), [T(3)]),
    ("ReplicationPad2d", (1,), [T(2, 3)]), ("CircularPad1d", (5,), [T(1, 2, 3)]),
    ("ConstantPad1d", (-4, 0.0), [T(1, 2, 3)]),
    # embeddings
    ("Embedding", (5, 2), [T(3)]), ("Embedding", (5, 2), [T(values=[5], dtype=I64)]),
    ("Embedding", (5, 2), [T(values=[-1], dtype=I64)]), ("Embedding", (5, 2, 7), None),
    ("EmbeddingBag", (5, 2), [T(4, dtype=I64)]),
    ("EmbeddingBag", (5, 2), [T(2, 2, dtype=I64), T(2, dtype=I64)]),
    ("EmbeddingBag", (5, 2), [T(3, dtype=I64), T(values=[1, 2], dtype=I64)]),
    ("EmbeddingBag", (5, 2), [T(3, dtype=I64), T(values=[0], dtype=I64), T(3)]),
    ("EmbeddingBag", (5, 2), [T(2, 2, 2, dtype=I64)]),
    # recurrent layers
    ("RNN", (3, 4), [T(5, 2, 4)]), ("RNN", (3, 4), [T(5)]),
("LSTM", (3, 4), [T(5, 2, 3), T(1, 2, 4)]),
    ("LSTM", (3, 4), [T(5, 2, 3), (T(1, 3, 4), T(1, 2, 4))]),
    ("LSTM", (3, 4), [T(5, 3), (T(1, 1, 4), T(1, 1, 4))]),
    ("GRU", (3, 4), [T(5, 2, 3), T(2, 2, 4)]), ("GRU", (3, 4), [T(5, 2, 3, dtype=F64)]),
    ("LSTM", (3, 4, 0), None), ("LSTM", (3, 0), None), ("RNN", (3, 4, 1, "gelu"), None),
    ("GRUCell", (3, 4), [T(2, 4)]), ("GRUCell", (3, 4), [T(2, 3), T(3, 4)]),
    ("LSTMCell", (3, 4), [T(2, 3, 1)]), ("RNNCell", (3, 4, True, "gelu"), [T(2, 3)]),
    ("LSTM", ("3", 4), None), ("GRU", (3, 4, 1, 1), None), ("RNN", (-1, 4), None),
    ("LSTM", (3, 4, 1, True, "no"), None), ("LSTM", (3, 4, 1, True, False, 1.5), None),
    ("RNNBase", ("no", 3, 4), None),
    ("LSTMCell", (3, 4), [T(2, 3), (T(2, 4), T(2, 5))]),
    ("LSTMCell", (3, 4), [T(2, 3), (T(1, 1, 2, 4), T(2, 4))]), ("GRUCell", (3, 4), [T(2, 3), T(2, 5)]),
    # attention and transformers
    ("MultiheadAttention", (5, 2), None), ("MultiheadAttention", (0, 1), None),
    ("MultiheadAttention", (4, 2), [T(3, 2, 5), T(3, 2, 4), T(3, 2, 4)]),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4), T(3, 4), T(3, 4)]),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4), T(5, 2, 4), T(4, 2, 4)]),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4)] * 3, {"attn_mask": T(2, 3, dtype=BOOL)}),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4)] * 3, {"key_padding_mask": T(3, 3, dtype=BOOL)}),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4)] * 3, {"attn_mask": T(3, 3, dtype=I64)}),
    ("MultiheadAttention", (4, 2), [T(3, 2, 4)] * 3, {"is_causal": True}),
    ("TransformerEncoderLayer", (5, 2), None), ("TransformerEncoderLayer", (4, 2, 8), [T(3, 2, 5)]),
    ("TransformerEncoderLayer", (4, 2, 8, 0.0, "tanh"), None),
    ("Transformer", (4, 2, 1, 1, 8), [T(3, 2, 4), T(3, 3, 4)]),
    ("Transformer", (4, 2, 1, 1, 8), [T(3, 2, 5), T(3, 2, 5)]),
    # losses
    ("CrossEntropyLoss", (), [T(2, 3), T(values=[0, 3], dtype=I64)]),
    ("CrossEntropyLoss", (), [T(2, 3), T(3, dtype=I64)]),
    ("CrossEntropyLoss", (), [T(2, 3), T(2)]),
    ("CrossEntropyLoss", (T(2),), [T(2, 3), T(2, dtype=I64)]),
    ("NLLLoss", (), [T(), T(dtype=I64)]), ("MSELoss", (), [T(3, dtype=C64), T(3, dtype=C64)]),
    ("SmoothL1Loss", (), [T(3, dtype=C64), T(3, dtype=C64)]),
    ("HuberLoss", (), [T(3, dtype=C64), T(3, dtype=C64)]),
    ("CrossEntropyLoss", (), [T(2, 3), T(2, 3, dtype=I64)]),
    ("CrossEntropyLoss", (None, None, 1), [T(2, 3), T(2, 3)]),
    ("NLLLoss", (T(3, dtype=F64),), [T(2, 3), T(2, dtype=I64)]), ("HuberLoss", ("mean", 1j), None),
    ("HuberLoss", ("mean", -1.0), [T(3), T(3)]), ("L1Loss", (None, None, "no"), [T(3), T(3)]),
    ("SmoothL1Loss", (None, None, "mean", -1.0), [T(3), T(3)]),
    ("BCELoss", (), [T(values=[1.5]), T(1)]), ("BCELoss", (), [T(2), T(3)]),
    ("BCEWithLogitsLoss", (), [T(2), T(3)]), ("KLDivLoss", (None, None, "no"), [T(3), T(3)]),
    ("CTCLoss", (9,), [T(4, 1, 3), T(1, 2, dtype=I64), (4,), (2,)]),
    ("CTCLoss", (), [T(4, 1, 3), T(1, 2, dtype=I64), (5,), (2,)]),
    ("CosineEmbeddingLoss", (), [T(2, 3), T(2, 3), T(2, 3)]),
    ("MultiMarginLoss", (3,), None), ("MultiMarginLoss", (), [T(2, 3), T(3, dtype=I64)]),
    ("TripletMarginLoss", (-1.0,), None), ("TripletMarginLoss", (), [T(2, 3), T(2), T(2, 3)]),
    ("GaussianNLLLoss", (), [T(2), T(2), T(values=[-1.0, 1.0])]),
    ("PoissonNLLLoss", (True, False, None, 1e-8, None, "no"), [T(2), T(2)]),
    ("MarginRankingLoss", (), [T(2), T(2), T(2, 1)]),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, []), None), ("AdaptiveLogSoftmaxWithLoss", (4, 5, [5]), None),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, [3, 2]), None),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, [2]), [T(2, 4), T(values=[0, 5], dtype=I64)]),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, [2]), [T(2, 4), T(3, dtype=I64)]),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, [2]), [T(4), T(1, dtype=I64)]),
    ("AdaptiveLogSoftmaxWithLoss", (4, 5, [2]), [T(4), T(2, 2, dtype=I64)]),
    # shapes and resampling
    ("Unflatten", (1, (2, 2)), [T(2, 6)]), ("Unflatten", (1, 4.0), None), ("Flatten", (3,), [T(2, 3)]),
    ("PixelShuffle", (2,), [T(1, 3, 2, 2)]), ("PixelUnshuffle", (2,), [T(1, 3, 3, 3)]),
    ("ChannelShuffle", (2,), [T(1, 3, 2, 2)]), ("Fold", ((4, 5), (2, 3)), [T(1, 12, 10)]),
    ("Unfold", (5,), [T(1, 2, 3, 3)]), ("Upsample", (), [T(1, 2, 3, 3)]),
    ("Upsample", ((4, 4), 2.0), [T(1, 2, 3, 3)]), ("Upsample", (4, None, "linear"), [T(1, 2, 3, 3)]),
    ("Upsample", (4, None, "bilinear"), [T(1, 2, 3, 3, dtype=C64)]),
    ("Upsample", (4, None, "no"), [T(1, 2, 3, 3)]),
    ("CosineSimilarity", (3,), [T(2, 3), T(2, 3)]), ("PairwiseDistance", (), [T(2, 3), T(2, 4)]),
    # containers and Module
    ("Sequential", (1,), None), ("ModuleList", ([1],), None), ("ModuleDict", ({"a": 1},), None),
    ("ParameterList", (1,), None), ("Module", (1,), None), ("Module", (), [T(1)]),
]  # fmt: skip


def outcome(lib, name, args, inputs, kwargs):
    """The type of the error, or None; and whether a module's state is still the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = getattr(lib.nn, name)(*made(args, lib))
        except Exception as error:  # noqa: BLE001  any: its type is the result
            return type(error).__name__, True
        if inputs is None:
            return None, True
        before = copy.deepcopy(module.state_dict())
        try:
            module(*made(inputs, lib), **made(kwargs, lib))
        except Exception as error:  # noqa: BLE001
            after = module.state_dict()
            same = all(before[k].equal(v) for k, v in after.items())
            return type(error).__name__, same and list(before) == list(after)
    return None, True


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_errors_are_torchs_and_change_nothing(case):
    name, args, inputs, *more = case
    ours, unchanged = outcome(dtorch, name, args, inputs, *(more or [{}]))
    assert ours == outcome(torch, name, args, inputs, *(more or [{}]))[0]
    assert unchanged
