"""Image classification models, with torchvision's names, arguments and state_dict keys.

    model = resnet50(num_classes=10)
    model = resnet50(); model.load_state_dict(dtorch.load("resnet50-0676ba61.pth"))

A file a family. `_registry.py` has the list of them, `_published.py` that of the published weights.
"""

from ._registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from ._weights import CLASSES as _classes
from ._weights import Weights as WeightsEnum
from .alexnet import *  # noqa: F403
from .convnext import *  # noqa: F403
from .densenet import *  # noqa: F403
from .efficientnet import *  # noqa: F403
from .googlenet import *  # noqa: F403
from .inception import *  # noqa: F403
from .mobilenetv2 import *  # noqa: F403
from .mobilenetv3 import *  # noqa: F403
from .resnet import *  # noqa: F403
from .shufflenetv2 import *  # noqa: F403
from .squeezenet import *  # noqa: F403
from .vgg import *  # noqa: F403
from .vision_transformer import *  # noqa: F403

# AlexNet_Weights, ResNet50_Weights ... are made from the table of published files.
globals().update({weights.__name__: weights for weights in _classes.values()})
