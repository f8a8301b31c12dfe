"""The models that training is timed on, written once for torch and for dtorch.

`MODELS[name](lib)` gives (model, make_optimizer, batch -> loss, batch): everything but the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Task(NamedTuple):
    model: Any
    optimizer: Any
    loss: Callable[[], Any]  # of one fixed batch


def _sgd(lib: Any, model: Any, lr: float = 0.01) -> Any:
    return lib.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def _adamw(lib: Any, model: Any) -> Any:
    return lib.optim.AdamW(model.parameters(), lr=1e-3)


def _images(lib: Any, n: int, c: int, size: int, classes: int) -> tuple[Any, Any]:
    return lib.randn(n, c, size, size), lib.randint(0, classes, (n,))


def _classifier(lib: Any, model: Any, x: Any, y: Any, optimizer: Any = None) -> Task:
    ce = lib.nn.functional.cross_entropy
    return Task(model, optimizer or _sgd(lib, model), lambda: ce(model(x), y))


def _layers(lib: Any, *sizes: int) -> Any:
    nn = lib.nn
    layers: list[Any] = []
    for i, o in zip(sizes, sizes[1:]):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_mlp(lib: Any) -> Task:
    return _classifier(lib, _layers(lib, 64, 64, 10), lib.randn(32, 64), lib.randint(0, 10, (32,)))


def wide_mlp(lib: Any) -> Task:
    model = _layers(lib, 784, 1024, 1024, 10)
    return _classifier(lib, model, lib.randn(128, 784), lib.randint(0, 10, (128,)))


def lenet(lib: Any) -> Task:
    nn = lib.nn
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    return _classifier(lib, model, *_images(lib, 64, 1, 28, 10))


def _block(lib: Any, bottleneck: bool) -> Any:
    nn = lib.nn

    class Block(nn.Module):  # type: ignore[misc]
        expansion = 4 if bottleneck else 1

        def __init__(self, i: int, width: int, stride: int) -> None:
            super().__init__()
            o = width * self.expansion
            if bottleneck:
                convs = [(i, width, 1, 1), (width, width, 3, stride), (width, o, 1, 1)]
            else:
                convs = [(i, width, 3, stride), (width, o, 3, 1)]
            layers: list[Any] = []
            for a, b, k, s in convs:
                layers += [nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b)]
                layers.append(nn.ReLU(inplace=True))
            self.body = nn.Sequential(*layers[:-1])
            self.relu = nn.ReLU(inplace=True)
            self.short = None
            if stride != 1 or i != o:
                self.short = nn.Sequential(
                    nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)
                )

        def forward(self, x: Any) -> Any:
            y = self.body(x)
            y += x if self.short is None else self.short(x)
            return self.relu(y)

    return Block


def _resnet(lib: Any, bottleneck: bool, counts: tuple[int, ...], large: bool) -> Any:
    nn, block = lib.nn, _block(lib, bottleneck)
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False) if large else nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    layers, i = [stem, nn.BatchNorm2d(64), nn.ReLU(inplace=True)], 64
    if large:
        layers.append(nn.MaxPool2d(3, 2, 1))
    for stage, count in enumerate(counts):
        for k in range(count):
            width = 64 << stage
            layers.append(block(i, width, 2 if stage and not k else 1))
            i = width * block.expansion
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, 10)]
    return nn.Sequential(*layers)


def resnet18_small(lib: Any) -> Task:
    return _classifier(lib, _resnet(lib, False, (2, 2, 2, 2), False), *_images(lib, 16, 3, 32, 10))


def resnet18(lib: Any) -> Task:
    return _classifier(lib, _resnet(lib, False, (2, 2, 2, 2), True), *_images(lib, 2, 3, 224, 10))


def resnet50_small(lib: Any) -> Task:
    return _classifier(lib, _resnet(lib, True, (3, 4, 6, 3), False), *_images(lib, 8, 3, 32, 10))


def resnet50(lib: Any) -> Task:
    return _classifier(lib, _resnet(lib, True, (3, 4, 6, 3), True), *_images(lib, 2, 3, 224, 10))


def mobilenet(lib: Any) -> Task:
    """Inverted residuals with depthwise convolutions, as in MobileNet v2, on 32x32 images."""
    nn = lib.nn

    class Inverted(nn.Module):  # type: ignore[misc]
        def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
            super().__init__()
            h = i * expand
            self.skip = stride == 1 and i == o
            self.body = nn.Sequential(
                nn.Conv2d(i, h, 1, bias=False), nn.BatchNorm2d(h), nn.ReLU6(inplace=True),
                nn.Conv2d(h, h, 3, stride, 1, groups=h, bias=False), nn.BatchNorm2d(h),
                nn.ReLU6(inplace=True), nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.skip else self.body(x)

    layers: list[Any] = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    i = 32
    for o, count, stride in ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 3, 2), (96, 2, 1)):
        for k in range(count):
            layers.append(Inverted(i, o, stride if not k else 1, 6 if i != 32 or o != 16 else 1))
            i = o
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, 10)]
    return _classifier(lib, nn.Sequential(*layers), *_images(lib, 16, 3, 32, 10))


def unet(lib: Any) -> Task:
    nn, F = lib.nn, lib.nn.functional

    def double(i: int, o: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
        )  # fmt: skip

    class UNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([double(1, 16), double(16, 32), double(32, 64)])
            self.up = nn.ModuleList(
                [nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)]
            )
            self.merge = nn.ModuleList([double(64, 32), double(32, 16)])
            self.last = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for i, layer in enumerate(self.down):
                x = layer(F.max_pool2d(x, 2) if i else x)
                kept.append(x)
            for up, merge, skip in zip(self.up, self.merge, (kept[1], kept[0])):
                x = merge(lib.cat([up(x), skip], 1))
            return self.last(x)

    x, y = lib.randn(4, 1, 64, 64), lib.randint(0, 2, (4, 64, 64))
    model = UNet()
    return _classifier(lib, model, x, y, _adamw(lib, model))


def _recurrent(lib: Any, kind: str) -> Task:
    nn = lib.nn
    vocabulary, width = 2000, 200

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(vocabulary, width)
            self.rnn = getattr(nn, kind)(width, width, 2)
            self.out = nn.Linear(width, vocabulary)

        def forward(self, x: Any) -> Any:
            return self.out(self.rnn(self.embed(x))[0]).flatten(0, 1)

    x, y = lib.randint(0, vocabulary, (35, 20)), lib.randint(0, vocabulary, (700,))
    return _classifier(lib, Model(), x, y)


def lstm(lib: Any) -> Task:
    return _recurrent(lib, "LSTM")


def gru(lib: Any) -> Task:
    return _recurrent(lib, "GRU")


def vae(lib: Any) -> Task:
    nn, F = lib.nn, lib.nn.functional

    class VAE(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.heads = nn.Linear(784, 400), nn.Linear(400, 40)
            self.decode = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

        def forward(self, x: Any) -> Any:
            mean, logvar = self.heads(F.relu(self.encode(x))).chunk(2, 1)
            z = mean + lib.randn_like(mean) * (0.5 * logvar).exp()
            fit = F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="sum")
            return fit - 0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum()

    model, x = VAE(), lib.rand(128, 784)
    return Task(model, _adamw(lib, model), lambda: model(x))


def dcgan(lib: Any) -> Task:
    """The generator's step, through the discriminator."""
    nn, F = lib.nn, lib.nn.functional
    generator = nn.Sequential(
        nn.ConvTranspose2d(64, 128, 4, 1, 0, bias=False), nn.BatchNorm2d(128), nn.ReLU(True),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(True),
        nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2, True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2, True),
        nn.Conv2d(128, 1, 4, 1, 0, bias=False), nn.Flatten(),
    )  # fmt: skip
    model, noise, real = nn.Sequential(generator, judge), lib.randn(16, 64, 1, 1), lib.ones(16, 1)
    return Task(model, _adamw(lib, model),
                lambda: F.binary_cross_entropy_with_logits(model(noise), real))  # fmt: skip


def _attention_block(lib: Any, causal: bool) -> Any:
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: Any) -> Any:  # x: (B, T, width)
            b, t, c = x.shape
            q, k, v = (
                h.view(b, t, self.heads, c // self.heads).transpose(1, 2)
                for h in self.qkv(self.norm1(x)).split(c, 2)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
            return x + self.mlp(self.norm2(x))

    return Block


def _transformer(lib: Any, vocabulary: int, width: int, heads: int, depth: int, batch: int,
                 length: int, causal: bool) -> Task:  # fmt: skip
    nn, block = lib.nn, _attention_block(lib, causal)

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*[block(width, heads) for _ in range(depth)])
            self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            self.register_buffer("places", lib.arange(length))

        def forward(self, x: Any) -> Any:
            x = self.blocks(self.embed(x) + self.place(self.places))
            return self.out(self.norm(x)).flatten(0, 1)

    x = lib.randint(0, vocabulary, (batch, length))
    y = lib.randint(0, vocabulary, (batch * length,))
    model = Model()
    return _classifier(lib, model, x, y, _adamw(lib, model))


def char_gpt(lib: Any) -> Task:
    return _transformer(lib, 65, 128, 4, 4, 12, 64, True)


def gpt2_like(lib: Any) -> Task:
    return _transformer(lib, 5000, 384, 6, 6, 4, 256, True)


def bert_like(lib: Any) -> Task:
    return _transformer(lib, 5000, 256, 4, 4, 8, 128, False)


def vit_tiny(lib: Any) -> Task:
    nn, block = lib.nn, _attention_block(lib, False)

    class ViT(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 192, 4, 4)
            self.place = nn.Parameter(lib.zeros(1, 64, 192))
            self.blocks = nn.Sequential(*[block(192, 3) for _ in range(6)])
            self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2) + self.place
            return self.head(self.norm(self.blocks(x)).mean(1))

    model = ViT()
    return _classifier(lib, model, *_images(lib, 16, 3, 32, 10), _adamw(lib, model))


def gcn(lib: Any) -> Task:
    """Two graph convolutions over a dense, normalized adjacency matrix of 1,000 nodes."""
    nn, F = lib.nn, lib.nn.functional
    adjacency = (lib.rand(1000, 1000) < 0.01).float() + lib.eye(1000)
    adjacency = adjacency / adjacency.sum(1, keepdim=True)
    x, y = lib.randn(1000, 128), lib.randint(0, 7, (1000,))
    first, second = nn.Linear(128, 64), nn.Linear(64, 7)
    model = nn.ModuleList([first, second])
    return Task(
        model, _adamw(lib, model),
        lambda: F.cross_entropy(adjacency @ second(F.relu(adjacency @ first(x))), y),
    )  # fmt: skip


MODELS: dict[str, Callable[[Any], Task]] = {
    "small MLP": small_mlp, "wide MLP": wide_mlp, "LeNet": lenet,
    "ResNet-18 32x32": resnet18_small, "ResNet-18 224x224": resnet18,
    "ResNet-50 32x32": resnet50_small, "ResNet-50 224x224": resnet50,
    "MobileNet-v2": mobilenet, "U-Net": unet, "LSTM": lstm, "GRU": gru, "VAE": vae,
    "DCGAN": dcgan, "ViT-tiny": vit_tiny, "char-GPT": char_gpt, "GPT-2-like": gpt2_like,
    "BERT-like": bert_like, "GCN": gcn,
}  # fmt: skip
