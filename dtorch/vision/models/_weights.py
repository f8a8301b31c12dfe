"""Published weights: which files there are, and how images are prepared for them.

Nothing is downloaded. Weights load where their file lies in the cache of `dtorch.hub`, which is
torch's.
"""

from __future__ import annotations

import os
from enum import Enum
from functools import partial
from typing import Any

from dtorch import hub

from ..transforms._presets import ImageClassification
from ._published import PUBLISHED

_URL = "https://download.pytorch.org/models/"


class Weights(Enum):
    """The published weights of one model. DEFAULT is the best of them."""

    def __init__(self, file: str, preparation: dict[str, Any], options: dict[str, Any]) -> None:
        self.url = _URL + file
        self.transforms = partial(ImageClassification, **preparation)
        self.options = options  # arguments of the model
        self.classes = 1000

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @classmethod
    def verify(cls, chosen: Any) -> Any:
        """A member from a member, its name, a bool (True: DEFAULT), or None.

        ValueError for an unknown name, TypeError for another model's weights
        """
        if chosen is None or chosen is False:
            return None
        if isinstance(chosen, cls):
            return chosen
        name = "DEFAULT" if chosen is True else chosen
        if not isinstance(name, str):
            raise TypeError(f"Invalid Weight class provided; expected {cls.__name__}, got {chosen}")
        name = name.removeprefix(f"{cls.__name__}.")
        if name not in cls.__members__:
            raise ValueError(f"{cls.__name__} has {list(cls.__members__)}, not {name!r}")
        return cls[name]

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the file holds; RuntimeError if it is not in the cache."""
        file = os.path.basename(self.url)
        place = os.path.join(hub.get_dir(), "checkpoints", file)
        if not os.path.exists(place):
            raise RuntimeError(
                f"dtorch downloads no weights: get {self.url} by other means and put it at {place}; "
                "or make the model with weights=None and give dtorch.load(file) to its "
                "load_state_dict"
            )
        return hub.load_state_dict_from_url(self.url, weights_only=True)


def _weights_class(name: str, members: dict[str, Any], default: str) -> type[Weights]:
    # Equal values would make aliases, which is what DEFAULT is.
    return Weights(name, [*members.items(), ("DEFAULT", members[default])], module=__package__)  # type: ignore[call-arg,arg-type,return-value]


CLASSES = {
    builder: _weights_class(name, members, default)
    for builder, (name, members, default) in PUBLISHED.items()
}
