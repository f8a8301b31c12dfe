"""Image models: keys, shapes and counts of torchvision's, and their values on small images."""

import hashlib
import json
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dtorch
from dtorch import nn
from dtorch.vision import models
from dtorch.vision.models._utils import IntermediateLayerGetter
from dtorch.vision.models.feature_extraction import create_feature_extractor
from tests.vision_values.vision_models import IMAGES, SMALL, VALUES, weights

TABLE = Path(__file__).parents[1] / "vision_values" / "vision_models.txt"
PUBLISHED = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def no_values(monkeypatch):
    """Parameters keep the memory that they were given, untouched: large models cost nothing."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize(("name", "count", "entries", "digest"), PUBLISHED)
def test_keys_and_shapes_are_torchvisions(no_values, name, count, entries, digest):
    model = models.get_model(name)
    state = model.state_dict()
    assert len(state) == int(entries)
    lines = "\n".join(sorted(f"{key} {tuple(value.shape)}" for key, value in state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == digest
    assert sum(parameter.numel() for parameter in model.parameters()) == int(count)


def test_every_published_model_is_listed():
    names = [row[0] for row in PUBLISHED]
    assert models.list_models() == names
    assert models.list_models(include="vgg*", exclude=["*_bn", "vgg19"]) == [
        "vgg11",
        "vgg13",
        "vgg16",
    ]
    found = [n for n in models.__dict__ if n.islower() and callable(models.__dict__[n])]
    assert set(names) <= set(found)


@pytest.mark.parametrize("name", SMALL)
def test_outputs_are_torchvisions(no_values, name):
    model = SMALL[name](models).eval()
    state = {k: dtorch.from_numpy(v) for k, v in weights(model.state_dict()).items()}
    model.load_state_dict(state)
    with dtorch.no_grad():
        out = model(dtorch.from_numpy(IMAGES)).numpy()
    expected = np.array(json.loads(VALUES.read_text())[name])
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(out, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet_v3", "convnext", "vit"])
def test_every_parameter_gets_a_gradient(name):
    model = SMALL[name](models).train()
    model(dtorch.from_numpy(IMAGES)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_initial_values():
    dtorch.manual_seed(0)
    model = models.resnet18(zero_init_residual=True)
    weight = model.layer4[0].conv2.weight  # (512, 512, 3, 3)
    assert abs(float(weight.std()) - (2 / (512 * 9)) ** 0.5) < 1e-4
    assert float(model.layer1[0].bn2.weight.abs().max()) == 0
    vit = models.VisionTransformer(32, 16, 1, 2, 64, 32, num_classes=3)
    assert float(vit.heads.head.weight.abs().max()) == float(vit.class_token.abs().max()) == 0
    assert abs(float(vit.conv_proj.weight.std()) - (1 / (3 * 256)) ** 0.5) < 1e-3
    mobile = models.mobilenet_v2(width_mult=0.25)
    assert abs(float(mobile.classifier[1].weight.std()) - 0.01) < 1e-4


def test_auxiliary_classifiers_answer_while_training(no_values):
    model = models.googlenet(num_classes=3)
    out = model(dtorch.from_numpy(IMAGES))
    assert [tuple(part.shape) for part in out] == [(2, 3)] * 3
    assert out._fields == ("logits", "aux_logits2", "aux_logits1")
    assert models.googlenet(num_classes=3, aux_logits=False).aux1 is None


def test_published_weights_load_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(dtorch.hub, "_dir", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"downloads no weights: get https://\S*f37072fd.pth"):
        models.resnet18(pretrained=True)
    ours = models.squeezenet1_1()
    (tmp_path / "checkpoints").mkdir()
    dtorch.save(ours.state_dict(), tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    for chosen in ("DEFAULT", "IMAGENET1K_V1", models.SqueezeNet1_1_Weights.DEFAULT, True):
        theirs = models.squeezenet1_1(weights=chosen)
        assert dtorch.equal(theirs.classifier[1].weight, ours.classifier[1].weight)
    with pytest.raises(ValueError, match="1000 classes, got num_classes=3"):
        models.squeezenet1_1(weights="DEFAULT", num_classes=3)
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        models.squeezenet1_1(weights="V9")
    with pytest.raises(TypeError, match="expected SqueezeNet1_1_Weights"):
        models.squeezenet1_1(weights=models.ResNet18_Weights.DEFAULT)
    assert models.get_weight("ResNet50_Weights.DEFAULT") is models.ResNet50_Weights.IMAGENET1K_V2


def test_files_with_old_keys_load():
    model = models.DenseNet(4, (2,), 8, num_classes=3)
    state = model.state_dict()
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in state.items()}
    assert old.keys() != state.keys()
    model.load_state_dict(old)
    vit = models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3)
    state = vit.state_dict()
    old = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
           for k, v in state.items()}  # fmt: skip
    vit.load_state_dict(old)


def test_outputs_of_layers_inside():
    model = models.resnet18(num_classes=3).eval()
    x = dtorch.from_numpy(IMAGES)
    with dtorch.no_grad():
        after = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        expected = model.layer2(model.layer1(after))
        by_hooks = create_feature_extractor(model, {"layer1": "a", "layer2.1": "b"})(x)
        getter = IntermediateLayerGetter(model, {"layer2": "b"})
    assert list(by_hooks) == ["a", "b"]
    assert dtorch.equal(by_hooks["b"], expected)
    assert dtorch.equal(getter(x)["b"], expected)
    with pytest.raises(ValueError, match="is no module"):
        create_feature_extractor(model, ["layer9"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.get_model("resnet19"), "Unknown model resnet19"),
        (lambda: models.resnet18(replace_stride_with_dilation=[True]), "3-element"),
        (lambda: models.VisionTransformer(30, 16, 1, 1, 8, 8), "no multiple"),
        (lambda: models.SqueezeNet("2_0"), "1_0 or 1_1"),
        (lambda: models.mobilenet_v2(inverted_residual_setting=[[1, 2]]), "4 numbers"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_whole_models_are_saved_under_torchvisions_names(tmp_path):
    for name in ("resnet", "densenet", "efficientnet", "vit"):
        model = SMALL[name](models).eval()
        dtorch.save(model, tmp_path / "model.pth")
        with zipfile.ZipFile(tmp_path / "model.pth") as file:
            code = file.read("model/data.pkl")
        named = {arg for op, arg, _ in pickletools.genops(code) if op.name == "GLOBAL"}
        assert not [arg for arg in named if "dtorch" in arg]
        file_of = {"vit": "vision_transformer"}.get(name, name)
        assert f"torchvision.models.{file_of} {type(model).__name__}" in named
        again = dtorch.load(tmp_path / "model.pth", weights_only=False)
        assert type(again) is type(model)
        x = dtorch.from_numpy(IMAGES)
        with dtorch.no_grad():
            assert dtorch.equal(again(x), model(x))
