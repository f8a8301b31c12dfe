"""The outputs of layers inside a model, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtorch import nn

__all__ = ["create_feature_extractor", "get_graph_node_names"]


class _Extractor(nn.Module):
    """A model that returns {output name: what the module of that place returned}."""

    def __init__(self, model: nn.Module, places: dict[str, str]) -> None:
        super().__init__()
        self.model = model
        self.places = places

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def keep(name: str) -> Any:
            return lambda module, args, output: found.__setitem__(name, output)

        modules = dict(self.model.named_modules())
        handles = [
            modules[place].register_forward_hook(keep(name)) for place, name in self.places.items()
        ]
        try:
            self.model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return {name: found[name] for name in self.places.values()}


def create_feature_extractor(
    model: nn.Module, return_nodes: Sequence[str] | dict[str, str], **options: Any
) -> nn.Module:
    """A module that calls the model and returns outputs of modules inside it, by hooks.

    return_nodes: modules' names ("layer4", "features.3"), or {name: name of the output}

    Unlike torchvision's it knows modules only, not operations between them, and the model runs to
    its end.  ValueError for a name that is no module.
    """
    if options:
        raise ValueError(f"only modules can be nodes here; {sorted(options)} have no meaning")
    pairs = return_nodes if isinstance(return_nodes, dict) else {n: n for n in return_nodes}
    names = get_graph_node_names(model)[0]
    places = {}
    for node, out in pairs.items():
        if node not in names:
            raise ValueError(f"node: '{node}' is no module of the model. Hint: use "
                             "get_graph_node_names(model)")  # fmt: skip
        places[node] = str(out)
    return _Extractor(model, places)


def get_graph_node_names(model: nn.Module, **options: Any) -> tuple[list[str], list[str]]:
    """The names that `create_feature_extractor` knows, for training and for evaluation: equal here."""
    names = [name for name, _ in model.named_modules() if name]
    return names, names
