"""Vision Transformer (Dosovitskiy et al., 2021)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import dtorch
from dtorch import Tensor, nn

from ..ops.misc import MLP, Conv2dNormActivation
from ._registry import register

__all__ = ["VisionTransformer", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"]

_NORM = partial(nn.LayerNorm, eps=1e-6)
_OLD_KEY = re.compile(r"(.*\.mlp\.)linear_([12])(\..*)")


class ConvStemConfig(NamedTuple):
    """One convolution of a stem that stands for the division into patches."""

    out_channels: int
    kernel_size: int
    stride: int
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d
    activation_layer: Callable[..., nn.Module] = nn.ReLU


class MLPBlock(MLP):
    """The feed-forward part of a layer: (..., in_dim), same out."""

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, dropout=dropout)
        for module in self:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)


class EncoderBlock(nn.Module):
    """One layer, normalized before attention and before the MLP: (N, S, hidden_dim), same out."""

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Callable[..., nn.Module] = _NORM,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Position embedding and the layers: (N, seq_length, hidden_dim), same out."""

    def __init__(
        self,
        seq_length: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Callable[..., nn.Module] = _NORM,
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(dtorch.empty(1, seq_length, hidden_dim))
        nn.init.normal_(self.pos_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential()
        for i in range(num_layers):
            layer = EncoderBlock(
                num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer
            )
            self.layers.add_module(f"encoder_layer_{i}", layer)
        self.ln = norm_layer(hidden_dim)

    def forward(self, input: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """x: (N, 3, image_size, image_size) -> (N, num_classes)

    representation_size: of a further layer before the classifier
    conv_stem_configs: a stem of convolutions, rather than one of the patch's size
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
        representation_size: int | None = None,
        norm_layer: Callable[..., nn.Module] = _NORM,
        conv_stem_configs: Sequence[ConvStemConfig] | None = None,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is no multiple of patch_size {patch_size}")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.num_classes = num_classes
        self.conv_proj = _patches(hidden_dim, patch_size, conv_stem_configs)
        self.class_token = nn.Parameter(dtorch.zeros(1, 1, hidden_dim))
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(
            self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout,
            attention_dropout, norm_layer,
        )  # fmt: skip
        self.heads = nn.Sequential()
        if representation_size is not None:
            self.heads.pre_logits = nn.Linear(hidden_dim, representation_size)
            self.heads.act = nn.Tanh()
            std = math.sqrt(1 / hidden_dim)
            nn.init.trunc_normal_(self.heads.pre_logits.weight, std=std)
            nn.init.zeros_(self.heads.pre_logits.bias)
        self.heads.head = nn.Linear(representation_size or hidden_dim, num_classes)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        if h != self.image_size or w != self.image_size:
            raise ValueError(f"Wrong image size! Expected {self.image_size} x {self.image_size}, "
                             f"got {h} x {w}")  # fmt: skip
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)  # (N, patches, hidden_dim)
        tokens = dtorch.cat([self.class_token.expand(n, -1, -1), tokens], 1)
        return self.heads(self.encoder(tokens)[:, 0])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The published files are older than the MLP's form: linear_1 and linear_2 are 0 and 3 now.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            if old := _OLD_KEY.fullmatch(key):
                new = old[1] + {"1": "0", "2": "3"}[old[2]] + old[3]
                state_dict[new] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _patches(hidden_dim: int, patch_size: int, stem: Sequence[ConvStemConfig] | None) -> nn.Module:
    """Patches to vectors: (N, 3, H, W) -> (N, hidden_dim, H / patch_size, W / patch_size)"""
    if stem is None:
        conv = nn.Conv2d(3, hidden_dim, patch_size, stride=patch_size)
        nn.init.trunc_normal_(conv.weight, std=math.sqrt(1 / (3 * patch_size**2)))
        nn.init.zeros_(conv.bias)
        return conv
    layers, channels = nn.Sequential(), 3
    for i, config in enumerate(stem):
        layer = Conv2dNormActivation(
            channels, config.out_channels, config.kernel_size, config.stride,
            norm_layer=config.norm_layer, activation_layer=config.activation_layer,
        )  # fmt: skip
        layers.add_module(f"conv_bn_relu_{i}", layer)
        channels = config.out_channels
    layers.conv_last = nn.Conv2d(channels, hidden_dim, 1)
    nn.init.normal_(layers.conv_last.weight, std=math.sqrt(2 / hidden_dim))
    nn.init.zeros_(layers.conv_last.bias)
    return layers


def _vit(
    patch: int, layers: int, heads: int, dim: int, mlp: int, options: dict[str, Any]
) -> VisionTransformer:
    return VisionTransformer(
        options.pop("image_size", 224), patch, layers, heads, dim, mlp, **options
    )


@register()
def vit_b_16(**options: Any) -> VisionTransformer:
    """ViT-B with patches of 16 x 16; the arguments are those of the class but the sizes (image_size
    is 224 by default)."""
    return _vit(16, 12, 12, 768, 3072, options)


@register()
def vit_b_32(**options: Any) -> VisionTransformer:
    """ViT-B with patches of 32 x 32."""
    return _vit(32, 12, 12, 768, 3072, options)


@register()
def vit_l_16(**options: Any) -> VisionTransformer:
    """ViT-L with patches of 16 x 16."""
    return _vit(16, 24, 16, 1024, 4096, options)


@register()
def vit_l_32(**options: Any) -> VisionTransformer:
    """ViT-L with patches of 32 x 32."""
    return _vit(32, 24, 16, 1024, 4096, options)


@register()
def vit_h_14(**options: Any) -> VisionTransformer:
    """ViT-H with patches of 14 x 14."""
    return _vit(14, 32, 16, 1280, 5120, options)
