"""COCO (Lin et al., 2014): images with boxes or captions, from its JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtorch.utils.data.dataset import Dataset

from .folder import pil_loader


class CocoDetection(Dataset[tuple[Any, Any]]):
    """Images of a folder, each with the list of its annotations as the file has them.

    A sample is ``(image, annotations)``: a PIL image of mode "RGB", and dicts with "bbox" (x, y,
    width, height), "category_id" and so on. ``ids`` are the images' numbers, sorted; ``categories``
    {number: dict}.

    root: the folder of the images; annFile: say, instances_val2017.json
    transforms: of both, called as transforms(image, target)

    Raises:
        RuntimeError: the file is no COCO file, or names an image outside the folder.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        annFile: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        transforms: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = transforms
        content = _read(Path(annFile).expanduser())
        self.images = {image["id"]: image for image in content["images"]}
        self.categories = {c["id"]: c for c in content.get("categories", [])}
        self.annotations: dict[int, list[dict[str, Any]]] = {number: [] for number in self.images}
        for annotation in content["annotations"]:
            number = annotation["image_id"]
            if number not in self.annotations:
                raise RuntimeError(
                    f"{annFile}: an annotation is of image {number}, which is not there"
                )
            self.annotations[number].append(annotation)
        self.ids = sorted(self.images)

    def _load_image(self, id: int) -> Any:
        path = self.root / self.images[id]["file_name"]
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise RuntimeError(
                f"the image {self.images[id]['file_name']!r} lies outside {self.root}"
            )
        return pil_loader(str(path))

    def _load_target(self, id: int) -> Any:
        return self.annotations[id]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        number = self.ids[index]
        image, target = self._load_image(number), self._load_target(number)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return (image, target) if self.transforms is None else self.transforms(image, target)

    def __len__(self) -> int:
        return len(self.ids)


class CocoCaptions(CocoDetection):
    """Images of a folder, each with the list of its captions (annFile: captions_val2017.json)."""

    def _load_target(self, id: int) -> list[str]:
        return [annotation["caption"] for annotation in self.annotations[id]]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:  # of the encoding, too
        raise RuntimeError(f"{path} is no whole JSON file: {error}") from error
    well_formed = isinstance(content, dict) and all(
        isinstance(content.get(key), list)
        and all(isinstance(entry, dict) and needed <= entry.keys() for entry in content[key])
        for key, needed in (("images", {"id", "file_name"}), ("annotations", {"image_id"}))
    )
    if not well_formed:
        raise RuntimeError(f"{path} is no COCO file: it has no lists of images and annotations")
    return content
