"""Small image models of every family, and what torchvision's give for the same weights and images.

`python -m tests.vision_values.vision_models` writes vision_models.json; it needs torchvision 0.28.
"""

import json
from pathlib import Path

import numpy as np

VALUES = Path(__file__).with_suffix(".json")

# Each makes a model of torchvision's or of dtorch's `models`.
SMALL = {
    "squeezenet": lambda m: m.squeezenet1_1(num_classes=3),
    "resnet": lambda m: m.ResNet(m.resnet.BasicBlock, [1, 1, 1, 1], 3),
    "bottleneck": lambda m: m.ResNet(
        m.resnet.Bottleneck, [1, 1, 1, 1], 3, groups=2, width_per_group=8,
        replace_stride_with_dilation=[False, True, True],
    ),
    "densenet": lambda m: m.DenseNet(4, (2, 2), 8, num_classes=3),
    "googlenet": lambda m: m.googlenet(num_classes=3, transform_input=True, init_weights=False),
    "mobilenet_v2": lambda m: m.mobilenet_v2(num_classes=3, width_mult=0.25),
    "mobilenet_v3": lambda m: m.mobilenet_v3_small(num_classes=3, width_mult=0.5, dilated=True),
    "shufflenet": lambda m: m.shufflenet_v2_x0_5(num_classes=3),
    "efficientnet": lambda m: m.EfficientNet(
        [m.efficientnet.FusedMBConvConfig(4, 3, 2, 8, 16, 2),
         m.efficientnet.MBConvConfig(4, 5, 2, 16, 24, 2)],
        dropout=0.2, num_classes=3,
    ),
    "convnext": lambda m: m.ConvNeXt(
        [m.convnext.CNBlockConfig(8, 16, 1), m.convnext.CNBlockConfig(16, None, 2)],
        num_classes=3,
    ),
    "vit": lambda m: m.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=3),
}  # fmt: skip


def weights(state):
    """An array for each entry of a state_dict, drawn in its order."""
    rng = np.random.default_rng(0)
    made = {}
    for key, value in state.items():
        shape = tuple(value.shape)
        if not shape:
            made[key] = np.array(0)
        elif len(shape) == 1:
            made[key] = (0.5 + rng.random(shape)).astype("float32")
        else:
            fan_in = np.prod(shape[1:])
            made[key] = ((rng.random(shape) - 0.5) * (12 / fan_in) ** 0.5).astype("float32")
    return made


IMAGES = np.random.default_rng(1).random((2, 3, 64, 64)).astype("float32")


def main():
    import torch
    from torchvision import models

    values = {}
    for name, make in SMALL.items():
        model = make(models).eval()
        state = model.state_dict()
        model.load_state_dict({k: torch.from_numpy(v) for k, v in weights(state).items()})
        with torch.no_grad():
            values[name] = model(torch.from_numpy(IMAGES)).double().numpy().round(6).tolist()
    VALUES.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
