"""Files of whole models: what dtorch saves torch loads and runs, and the reverse."""

import io

import numpy as np
import pytest
import torch

import dtorch

# A module, and the shape of what it is called with.
MODULES = {
    "convolutions": (lambda nn: nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(2), nn.ReLU(),
        nn.MaxPool2d(2), nn.InstanceNorm2d(2), nn.ConvTranspose2d(2, 2, 2), nn.Upsample(scale_factor=2),
        nn.ZeroPad2d(1), nn.PixelUnshuffle(2), nn.Flatten(), nn.Linear(128, 3), nn.LogSoftmax(-1),
    ), (2, 1, 4, 4)),
    "lstm": (lambda nn: nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
    "gru": (lambda nn: nn.GRU(3, 4, bias=False), (5, 2, 3)),
    "transformer": (lambda nn: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"), (3, 2, 8)),
    "norms": (lambda nn: nn.Sequential(
        nn.LayerNorm(4), nn.PReLU(), nn.GroupNorm(2, 4), nn.Unflatten(1, (2, 2)), nn.CircularPad1d(1)
    ), (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("writer", "reader"), [(dtorch, torch), (torch, dtorch), (dtorch, dtorch)])
def test_whole_modules(name, writer, reader):
    make, shape = MODULES[name]
    module, file = make(writer.nn).eval(), io.BytesIO()
    writer.save(module, file)
    assert b"dtorch" not in file.getvalue()
    file.seek(0)
    loaded = reader.load(file, weights_only=False)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    want, got = module(writer.tensor(x)), loaded(reader.tensor(x))
    for w, g in zip(*([y[0]] if isinstance(y, tuple) else [y] for y in (want, got))):
        np.testing.assert_allclose(g.detach().numpy(), w.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert repr(loaded) == repr(module)
    loaded.train()
    assert [k for k, _ in loaded.named_parameters()] == [k for k, _ in module.named_parameters()]
