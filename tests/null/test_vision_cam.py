"""Maps of what a model looks at, of a model whose gradients have a closed form."""

import numpy as np
import pytest

import dtorch
from dtorch import nn
from dtorch.vision.cam import GradCAM, GradCAMPlusPlus, ScoreCAM, overlay

H, W = 6, 8
CONV = nn.Conv2d(3, 4, 3, padding=1)
MODEL = nn.Sequential(CONV, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
X = dtorch.from_numpy(np.random.default_rng(0).random((2, 3, H, W)).astype("float32"))


@pytest.fixture(autouse=True)
def _same_weights():
    dtorch.manual_seed(3)
    for layer in (CONV, MODEL[4]):
        layer.reset_parameters()
    MODEL.train()


def unit(maps):
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)


def activations():
    with dtorch.no_grad():
        return MODEL[1](CONV(X)).numpy().astype(float)  # (2, 4, H, W)


def best():
    with dtorch.no_grad():
        return MODEL(X).argmax(1).numpy()


def test_grad_cam():
    # The gradient of a class's score is its row of weights over H W, at each place.
    w = MODEL[4].weight.detach().numpy()
    for target, classes in ((None, best()), (3, [3, 3]), ([1, 4], [1, 4])):
        got = GradCAM(MODEL, MODEL[1])(X, target).numpy()
        expected = np.einsum("nk,nkhw->nhw", w[classes], activations()).clip(0)
        assert np.allclose(got, unit(expected), atol=1e-5)
    assert got.max() == 1
    assert got.shape == (2, H, W)
    assert MODEL.training
    assert MODEL[4].weight.grad is None
    assert not MODEL[1]._forward_hooks


def test_grad_cam_plus_plus():
    g = MODEL[4].weight.detach().numpy().astype(float)[best()][:, :, None, None] / (H * W)
    a = activations()
    below = 2 * g**2 + a.sum((2, 3), keepdims=True) * g**3
    weights = H * W * (g**2 / below * g.clip(0))  # the same at each place
    got = GradCAMPlusPlus(MODEL, MODEL[1])(X).numpy()
    assert np.allclose(got, unit((weights * a).sum(1).clip(0)), atol=1e-4)


def test_score_cam():
    a, classes = activations(), best()
    black = MODEL(X * 0).softmax(1).detach().numpy()
    expected = np.zeros((2, H, W))
    for n in range(2):
        for k in range(4):
            mask = unit(a[n, k][None])[0].astype("float32")
            probability = MODEL(X[n : n + 1] * dtorch.from_numpy(mask)).softmax(1)
            gain = probability.detach().numpy()[0, classes[n]] - black[n, classes[n]]
            expected[n] += gain * a[n, k]
    got = ScoreCAM(MODEL, MODEL[1])(X).numpy()
    assert np.allclose(got, unit(expected.clip(0)), atol=1e-3)


def test_small_layers_and_frozen_parameters():
    model = nn.Sequential(nn.Conv2d(3, 2, 2, stride=2), nn.Flatten(), nn.Linear(24, 3))
    model.requires_grad_(False)
    heat = GradCAM(model, model[0])(X)
    assert tuple(heat.shape) == (2, H, W)


def test_overlay():
    heat = dtorch.zeros(H, W)
    heat[0, 1:4] = dtorch.tensor([0.25, 0.5, 0.75])
    heat[0, 4] = 1
    black = overlay(dtorch.zeros(3, H, W), heat, alpha=1.0)
    colors = [black.getpixel((x, 0)) for x in range(5)]
    assert colors == [(0, 0, 128), (0, 128, 255), (128, 255, 128), (255, 128, 0), (128, 0, 0)]
    half = overlay(X[0], heat, alpha=0.0)
    assert np.abs(np.asarray(half) / 255 - X[0].permute(1, 2, 0).numpy()).max() < 1 / 255
    with pytest.raises(ValueError, match="the image's size"):
        overlay(X[0], heat[:3])


def test_bad_arguments():
    with pytest.raises(ValueError, match="no module of the model"):
        GradCAM(MODEL, nn.ReLU())
    with pytest.raises(ValueError, match=r"should be of shape \(N, K, h, w\)"):
        GradCAM(MODEL, MODEL[4])(X)
    with pytest.raises(ValueError, match="a class below 5"):
        GradCAM(MODEL, MODEL[1])(X, 5)
    assert MODEL.training
