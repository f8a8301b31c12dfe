"""What several models need: rounded channels; the outputs of layers inside a model."""

from __future__ import annotations

from typing import Any

from dtorch import nn


def _make_divisible(v: float, divisor: int, min_value: int | None = None) -> int:
    """The multiple of divisor nearest to v, but not below 90 % of it, nor below min_value."""
    rounded = max(min_value or divisor, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * v else rounded


class IntermediateLayerGetter(nn.ModuleDict):
    """A model's children up to the last one that is asked for; returns their outputs by name.

    model: its children are called one after the other, in the order in which they were made
    return_layers: {name of a child: name of its output}; ValueError for a child that is not there
    """

    def __init__(self, model: nn.Module, return_layers: dict[str, str]) -> None:
        names = [name for name, _ in model.named_children()]
        if missing := set(return_layers) - set(names):
            raise ValueError(f"return_layers are not present in model: {sorted(missing)}")
        last = max(names.index(name) for name in return_layers)
        super().__init__({name: getattr(model, name) for name in names[: last + 1]})
        self.return_layers = dict(return_layers)

    def forward(self, x: Any) -> dict[str, Any]:
        out = {}
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                out[self.return_layers[name]] = x
        return out
