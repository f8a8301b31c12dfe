"""Training is torch's: equal losses over twenty steps, with the same weights, batches and optimizer.

The rates are small enough for no ReLU to flip.  Where one does, the losses part: those of torch itself
by up to 1e-2 in twenty steps of the ResNet at a rate of 2e-3, if its weights are changed by 1e-7.
"""

import io

import numpy as np
import pytest
import torch

import dtorch

STEPS = 20


def resnet(lib):
    """ResNet-18 for images of 32 x 32, eight channels wide."""
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self, n_in, n_out, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(n_out)
            self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(n_out)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride != 1 or n_in != n_out:
                self.downsample = nn.Sequential(
                    nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
                )

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += x if self.downsample is None else self.downsample(x)
            return self.relu(y)

    layers = [nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    for n_in, n_out, stride in ((8, 8, 1), (8, 16, 2), (16, 32, 2), (32, 64, 2)):
        layers += [Block(n_in, n_out, stride), Block(n_out, n_out, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def lstm(lib):
    """A language model on 30 symbols: embedding, two LSTM layers, output tied to nothing."""
    nn = lib.nn

    class LanguageModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(30, 16)
            self.lstm = nn.LSTM(16, 24, 2, batch_first=True)
            self.head = nn.Linear(24, 30)

        def forward(self, x):
            return self.head(self.lstm(self.embedding(x))[0])

    return LanguageModel()


def gpt(lib):
    """A small GPT: learned positions, pre-norm blocks with causal attention, tied weights."""
    nn = lib.nn

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(30, 32), nn.Embedding(12, 32)
            layer = nn.TransformerEncoderLayer(
                32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(32)
            self.head = nn.Linear(32, 30, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, x):
            n = x.shape[1]
            y = self.tokens(x) + self.positions(lib.arange(n))
            mask = nn.Transformer.generate_square_subsequent_mask(n)
            return self.head(self.norm(self.blocks(y, mask=mask, is_causal=True)))

    return GPT()


def images(step):
    rng = np.random.default_rng(step % 4)
    return rng.standard_normal((4, 3, 32, 32)).astype("float32"), rng.integers(10, size=4)


def sentences(step):
    """Sequences with something to learn: each symbol follows from the one before."""
    start = np.random.default_rng(step).integers(30, size=(4, 1))
    text = (start + 7 * np.arange(13)) % 30
    return text[:, :-1], text[:, 1:]


# name: the model, its batches, and the learning rates of SGD and AdamW
MODELS = {
    "resnet": (resnet, images, 1e-4, 3e-4),
    "lstm": (lstm, sentences, 0.5, 1e-2),
    "gpt": (gpt, sentences, 0.02, 2e-3),
}
OPTIMIZERS = {"SGD": {"momentum": 0.9, "weight_decay": 1e-4}, "AdamW": {"weight_decay": 0.1}}


class Run:
    """A model in training with one of the two libraries."""

    def __init__(self, lib, model, optimizer):
        make, self.batches, *rates = MODELS[model]
        self.lib, self.model = lib, make(lib)
        lr = rates[list(OPTIMIZERS).index(optimizer)]
        params = self.model.parameters()
        self.opt = getattr(lib.optim, optimizer)(params, lr, **OPTIMIZERS[optimizer])

    def losses(self, steps):
        """Train for the steps of a range."""
        result = []
        for step in steps:
            x, y = (self.lib.from_numpy(a.copy()) for a in self.batches(step))
            out = self.model(x)
            loss = self.lib.nn.functional.cross_entropy(out.flatten(0, -2), y.flatten())
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
            result.append(loss.item())
        return result

    def save(self, file):
        self.lib.save({"model": self.model.state_dict(), "opt": self.opt.state_dict()}, file)

    def load(self, file):
        file.seek(0)
        saved = self.lib.load(file)
        assert self.model.load_state_dict(saved["model"]).missing_keys == []
        self.opt.load_state_dict(saved["opt"])


def first_weights(model):
    """A file with weights by torch's initialisation."""
    torch.manual_seed(0)
    file = io.BytesIO()
    Run(torch, model, "SGD").save(file)
    return file


@pytest.fixture(autouse=True)
def one_thread():
    """Threads wait for each other when others use the machine."""
    before = [(lib, lib.get_num_threads()) for lib in (torch, dtorch)]
    for lib, _ in before:
        lib.set_num_threads(1)
    yield
    for lib, n in before:
        lib.set_num_threads(n)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_losses_are_torchs_also_across_a_checkpoint_of_the_other_library(model, optimizer):
    file = first_weights(model)
    whole = {}
    for lib in (dtorch, torch):
        run = Run(lib, model, optimizer)
        file.seek(0)
        run.model.load_state_dict(lib.load(file)["model"])
        whole[lib] = run.losses(range(STEPS // 2))
        middle = io.BytesIO()
        run.save(middle)
        whole[lib] += run.losses(range(STEPS // 2, STEPS))

        other = Run(torch if lib is dtorch else dtorch, model, optimizer)
        other.load(middle)
        after = other.losses(range(STEPS // 2, STEPS))
        np.testing.assert_allclose(after, whole[lib][STEPS // 2 :], 1e-4)
    np.testing.assert_allclose(whole[dtorch], whole[torch], 1e-4)
    assert np.mean(whole[dtorch][-4:]) < np.mean(whole[dtorch][:4])


@pytest.mark.parametrize("layer", [
    lambda nn: nn.BatchNorm2d(3), lambda nn: nn.LayerNorm([4, 4]), lambda nn: nn.GroupNorm(3, 3),
    lambda nn: nn.InstanceNorm2d(3), lambda nn: nn.MaxPool2d(2), lambda nn: nn.Conv2d(3, 3, 1),
])  # fmt: skip
def test_the_output_of_a_layer_may_be_written_to(layer):
    """As ReLU(inplace=True) does, and y += x in a residual block."""
    grads = []
    for inplace in (False, True):
        dtorch.manual_seed(0)
        x = dtorch.randn(2, 3, 4, 4, requires_grad=True)
        net = dtorch.nn.Sequential(layer(dtorch.nn), dtorch.nn.ReLU(inplace=inplace))
        y = net(x)
        (y * y.detach().cos()).sum().backward()
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1]
