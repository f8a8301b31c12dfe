"""The weights that torchvision publishes: file, preparation of images, arguments of the model."""

# fmt: off
from __future__ import annotations

from typing import Any

_Entry = tuple[str, dict[str, Any], dict[str, Any]]

# builder: (class of the weights, its members, the default)
PUBLISHED: dict[str, tuple[str, dict[str, _Entry], str]] = {
    "alexnet": ("AlexNet_Weights", {
        "IMAGENET1K_V1": ("alexnet-owt-7be5be79.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "convnext_base": ("ConvNeXt_Base_Weights", {
        "IMAGENET1K_V1": ("convnext_base-6075fbad.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V1"),
    "convnext_large": ("ConvNeXt_Large_Weights", {
        "IMAGENET1K_V1": ("convnext_large-ea097f82.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V1"),
    "convnext_small": ("ConvNeXt_Small_Weights", {
        "IMAGENET1K_V1": ("convnext_small-0c510722.pth", {"crop_size": 224, "resize_size": 230}, {}),
    }, "IMAGENET1K_V1"),
    "convnext_tiny": ("ConvNeXt_Tiny_Weights", {
        "IMAGENET1K_V1": ("convnext_tiny-983f1562.pth", {"crop_size": 224, "resize_size": 236}, {}),
    }, "IMAGENET1K_V1"),
    "densenet121": ("DenseNet121_Weights", {
        "IMAGENET1K_V1": ("densenet121-a639ec97.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "densenet161": ("DenseNet161_Weights", {
        "IMAGENET1K_V1": ("densenet161-8d451a50.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "densenet169": ("DenseNet169_Weights", {
        "IMAGENET1K_V1": ("densenet169-b2777c0a.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "densenet201": ("DenseNet201_Weights", {
        "IMAGENET1K_V1": ("densenet201-c1103571.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "efficientnet_b0": ("EfficientNet_B0_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b0_rwightman-7f5810bc.pth",
            {"crop_size": 224, "resize_size": 256, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b1": ("EfficientNet_B1_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b1_rwightman-bac287d4.pth",
            {"crop_size": 240, "resize_size": 256, "interpolation": "bicubic"},
            {},
        ),
        "IMAGENET1K_V2": ("efficientnet_b1-c27df63c.pth", {"crop_size": 240, "resize_size": 255}, {}),
    }, "IMAGENET1K_V2"),
    "efficientnet_b2": ("EfficientNet_B2_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b2_rwightman-c35c1473.pth",
            {"crop_size": 288, "resize_size": 288, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b3": ("EfficientNet_B3_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b3_rwightman-b3899882.pth",
            {"crop_size": 300, "resize_size": 320, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b4": ("EfficientNet_B4_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b4_rwightman-23ab8bcd.pth",
            {"crop_size": 380, "resize_size": 384, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b5": ("EfficientNet_B5_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b5_lukemelas-1a07897c.pth",
            {"crop_size": 456, "resize_size": 456, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b6": ("EfficientNet_B6_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b6_lukemelas-24a108a5.pth",
            {"crop_size": 528, "resize_size": 528, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_b7": ("EfficientNet_B7_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_b7_lukemelas-c5b4e57e.pth",
            {"crop_size": 600, "resize_size": 600, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_v2_l": ("EfficientNet_V2_L_Weights", {
        "IMAGENET1K_V1": (
            "efficientnet_v2_l-59c71312.pth",
            {"crop_size": 480, "resize_size": 480, "interpolation": "bicubic",
             "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "efficientnet_v2_m": ("EfficientNet_V2_M_Weights", {
        "IMAGENET1K_V1": ("efficientnet_v2_m-dc08266a.pth", {"crop_size": 480, "resize_size": 480}, {}),
    }, "IMAGENET1K_V1"),
    "efficientnet_v2_s": ("EfficientNet_V2_S_Weights", {
        "IMAGENET1K_V1": ("efficientnet_v2_s-dd5fe13b.pth", {"crop_size": 384, "resize_size": 384}, {}),
    }, "IMAGENET1K_V1"),
    "googlenet": ("GoogLeNet_Weights", {
        "IMAGENET1K_V1": ("googlenet-1378be20.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "inception_v3": ("Inception_V3_Weights", {
        "IMAGENET1K_V1": (
            "inception_v3_google-0cc3c7bd.pth",
            {"crop_size": 299, "resize_size": 342},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "mobilenet_v2": ("MobileNet_V2_Weights", {
        "IMAGENET1K_V1": ("mobilenet_v2-b0353104.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("mobilenet_v2-7ebf99e0.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "mobilenet_v3_large": ("MobileNet_V3_Large_Weights", {
        "IMAGENET1K_V1": ("mobilenet_v3_large-8738ca79.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": (
            "mobilenet_v3_large-5c1a4163.pth",
            {"crop_size": 224, "resize_size": 232},
            {},
        ),
    }, "IMAGENET1K_V2"),
    "mobilenet_v3_small": ("MobileNet_V3_Small_Weights", {
        "IMAGENET1K_V1": ("mobilenet_v3_small-047dcff4.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "resnet101": ("ResNet101_Weights", {
        "IMAGENET1K_V1": ("resnet101-63fe2227.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("resnet101-cd907fc2.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "resnet152": ("ResNet152_Weights", {
        "IMAGENET1K_V1": ("resnet152-394f9c45.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("resnet152-f82ba261.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "resnet18": ("ResNet18_Weights", {
        "IMAGENET1K_V1": ("resnet18-f37072fd.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "resnet34": ("ResNet34_Weights", {
        "IMAGENET1K_V1": ("resnet34-b627a593.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "resnet50": ("ResNet50_Weights", {
        "IMAGENET1K_V1": ("resnet50-0676ba61.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("resnet50-11ad3fa6.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "resnext101_32x8d": ("ResNeXt101_32X8D_Weights", {
        "IMAGENET1K_V1": ("resnext101_32x8d-8ba56ff5.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("resnext101_32x8d-110c445d.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "resnext101_64x4d": ("ResNeXt101_64X4D_Weights", {
        "IMAGENET1K_V1": ("resnext101_64x4d-173b62eb.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V1"),
    "resnext50_32x4d": ("ResNeXt50_32X4D_Weights", {
        "IMAGENET1K_V1": ("resnext50_32x4d-7cdf4587.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("resnext50_32x4d-1a0047aa.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "shufflenet_v2_x0_5": ("ShuffleNet_V2_X0_5_Weights", {
        "IMAGENET1K_V1": ("shufflenetv2_x0.5-f707e7126e.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "shufflenet_v2_x1_0": ("ShuffleNet_V2_X1_0_Weights", {
        "IMAGENET1K_V1": ("shufflenetv2_x1-5666bf0f80.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "shufflenet_v2_x1_5": ("ShuffleNet_V2_X1_5_Weights", {
        "IMAGENET1K_V1": ("shufflenetv2_x1_5-3c479a10.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V1"),
    "shufflenet_v2_x2_0": ("ShuffleNet_V2_X2_0_Weights", {
        "IMAGENET1K_V1": ("shufflenetv2_x2_0-8be3c8ee.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V1"),
    "squeezenet1_0": ("SqueezeNet1_0_Weights", {
        "IMAGENET1K_V1": ("squeezenet1_0-b66bff10.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "squeezenet1_1": ("SqueezeNet1_1_Weights", {
        "IMAGENET1K_V1": ("squeezenet1_1-b8a52dc0.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg11": ("VGG11_Weights", {
        "IMAGENET1K_V1": ("vgg11-8a719046.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg11_bn": ("VGG11_BN_Weights", {
        "IMAGENET1K_V1": ("vgg11_bn-6002323d.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg13": ("VGG13_Weights", {
        "IMAGENET1K_V1": ("vgg13-19584684.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg13_bn": ("VGG13_BN_Weights", {
        "IMAGENET1K_V1": ("vgg13_bn-abd245e5.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg16": ("VGG16_Weights", {
        "IMAGENET1K_V1": ("vgg16-397923af.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg16_bn": ("VGG16_BN_Weights", {
        "IMAGENET1K_V1": ("vgg16_bn-6c64b313.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg19": ("VGG19_Weights", {
        "IMAGENET1K_V1": ("vgg19-dcbb9e9d.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vgg19_bn": ("VGG19_BN_Weights", {
        "IMAGENET1K_V1": ("vgg19_bn-c79401a0.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vit_b_16": ("ViT_B_16_Weights", {
        "IMAGENET1K_V1": ("vit_b_16-c867db91.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_SWAG_E2E_V1": (
            "vit_b_16_swag-9ac1b537.pth",
            {"crop_size": 384, "resize_size": 384, "interpolation": "bicubic"},
            {"image_size": 384},
        ),
        "IMAGENET1K_SWAG_LINEAR_V1": (
            "vit_b_16_lc_swag-4e70ced5.pth",
            {"crop_size": 224, "resize_size": 224, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "vit_b_32": ("ViT_B_32_Weights", {
        "IMAGENET1K_V1": ("vit_b_32-d86f8d99.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "vit_h_14": ("ViT_H_14_Weights", {
        "IMAGENET1K_SWAG_E2E_V1": (
            "vit_h_14_swag-80465313.pth",
            {"crop_size": 518, "resize_size": 518, "interpolation": "bicubic"},
            {"image_size": 518},
        ),
        "IMAGENET1K_SWAG_LINEAR_V1": (
            "vit_h_14_lc_swag-c1eb923e.pth",
            {"crop_size": 224, "resize_size": 224, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_SWAG_E2E_V1"),
    "vit_l_16": ("ViT_L_16_Weights", {
        "IMAGENET1K_V1": ("vit_l_16-852ce7e3.pth", {"crop_size": 224, "resize_size": 242}, {}),
        "IMAGENET1K_SWAG_E2E_V1": (
            "vit_l_16_swag-4f3808c9.pth",
            {"crop_size": 512, "resize_size": 512, "interpolation": "bicubic"},
            {"image_size": 512},
        ),
        "IMAGENET1K_SWAG_LINEAR_V1": (
            "vit_l_16_lc_swag-4d563306.pth",
            {"crop_size": 224, "resize_size": 224, "interpolation": "bicubic"},
            {},
        ),
    }, "IMAGENET1K_V1"),
    "vit_l_32": ("ViT_L_32_Weights", {
        "IMAGENET1K_V1": ("vit_l_32-c7638314.pth", {"crop_size": 224}, {}),
    }, "IMAGENET1K_V1"),
    "wide_resnet101_2": ("Wide_ResNet101_2_Weights", {
        "IMAGENET1K_V1": ("wide_resnet101_2-32ee1156.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("wide_resnet101_2-d733dc28.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
    "wide_resnet50_2": ("Wide_ResNet50_2_Weights", {
        "IMAGENET1K_V1": ("wide_resnet50_2-95faca4d.pth", {"crop_size": 224}, {}),
        "IMAGENET1K_V2": ("wide_resnet50_2-9ba9bcbe.pth", {"crop_size": 224, "resize_size": 232}, {}),
    }, "IMAGENET1K_V2"),
}
