"""Folders of samples, a folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .vision import VisionDataset

IMG_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    return filename.lower().endswith(extensions)


def is_image_file(filename: str) -> bool:
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: str | os.PathLike[str]) -> tuple[list[str], dict[str, int]]:
    """The folders in a directory, sorted, and their numbers; FileNotFoundError if there are none."""
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
    return classes, {name: i for i, name in enumerate(classes)}


def make_dataset(
    directory: str | os.PathLike[str],
    class_to_idx: dict[str, int] | None = None,
    extensions: str | tuple[str, ...] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """(path, class) of every file in the classes' folders and below, sorted.

    Exactly one of extensions and is_valid_file says which files count.

    FileNotFoundError for a class without any, unless allow_empty
    """
    if (extensions is None) == (is_valid_file is None):
        raise ValueError("Both extensions and is_valid_file cannot be None or not None at the same "
                         "time")  # fmt: skip
    class_to_idx = find_classes(directory)[1] if class_to_idx is None else class_to_idx
    if not class_to_idx:
        raise ValueError("'class_to_index' must have at least one entry to collect any samples.")
    samples, empty = [], []
    for name in sorted(class_to_idx):
        paths = [
            os.path.join(folder, file)
            for folder, _, files in sorted(os.walk(Path(directory) / name, followlinks=True))
            for file in sorted(files)
        ]
        if is_valid_file is not None:
            paths = [path for path in paths if is_valid_file(path)]
        else:
            paths = [p for p in paths if has_file_allowed_extension(p, extensions)]  # type: ignore[arg-type]
        samples += [(path, class_to_idx[name]) for path in paths]
        if not paths:
            empty.append(name)
    if empty and not allow_empty:
        wanted = f" Supported extensions are: {extensions}" if extensions else ""
        raise FileNotFoundError(f"Found no valid file for the classes {', '.join(empty)}.{wanted}")
    return samples


def pil_loader(path: str) -> Any:
    """The image in a file, in mode "RGB"; RuntimeError for a file that is damaged, or no image."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images are read by pillow: pip install 'dtorch[vision]'") from error
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RuntimeError(f"{path} is no whole image: {error}") from error


default_loader = pil_loader


class DatasetFolder(VisionDataset):
    """Files in ``root/class/...``, each read by a function.

    A sample is ``(loader(path), target)``. ``samples`` lists (path, target); ``classes`` are the
    folders' names, sorted.

    loader: from a path to a sample
    extensions, is_valid_file: exactly one of them says which files count
    allow_empty: classes without files are none of a mistake

    FileNotFoundError where there are no classes, or no files of one
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform, target_transform)
        assert self.root is not None
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.loader = loader
        self.extensions = extensions
        self.samples = self.make_dataset(
            self.root, self.class_to_idx, extensions, is_valid_file, allow_empty
        )
        self.targets = [target for _, target in self.samples]  # type: ignore[assignment]

    # A subclass may say otherwise what the classes and samples are.
    make_dataset = staticmethod(make_dataset)

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        return find_classes(directory)

    def _image(self, index: int) -> Any:
        return self.loader(self.samples[index][0])

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Images in ``root/class/...``: a sample is a PIL image of mode "RGB" and an int."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(
            root, loader, IMG_EXTENSIONS if is_valid_file is None else None, transform,
            target_transform, is_valid_file, allow_empty,
        )  # fmt: skip
        self.imgs = self.samples


class ImageNet(ImageFolder):
    """ImageNet 2012 as torchvision lays it out: ``root/train/n01440764/...``, ``root/val/...``.

    The archives are not unpacked here. ``wnids`` are the folders' names; ``classes`` tuples of
    words, from torchvision's ``root/meta.bin``, where that is there, else the folders' names.

    split: "train" or "val"

    RuntimeError if the split's folder is not there, or meta.bin is damaged
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "train", **options: Any) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"Unknown value '{split}' for argument split: train or val expected")
        self.split = split
        folder = Path(root).expanduser()
        if not (folder / split).is_dir():
            raise RuntimeError(
                f"expected a folder a class in {folder / split}: unpack the archives of "
                "https://image-net.org so"
            )
        super().__init__(folder / split, **options)
        self.wnids, self.wnid_to_idx = self.classes, self.class_to_idx
        if (folder / "meta.bin").is_file():
            words = _imagenet_words(folder / "meta.bin")
            self.classes = [words.get(wnid, (wnid,)) for wnid in self.wnids]  # type: ignore[misc]
            self.class_to_idx = {name: i for i, names in enumerate(self.classes) for name in names}

    def extra_repr(self) -> str:
        return f"Split: {self.split}"


def _imagenet_words(path: Path) -> dict[str, tuple[str, ...]]:
    """{wnid: words} of meta.bin, which holds that and the labels of the validation set."""
    from dtorch.core.serialize import load

    content = load(path, weights_only=True)
    if not (isinstance(content, tuple) and len(content) == 2 and isinstance(content[0], dict)):
        raise RuntimeError(f"{path}: expected ({{wnid: words}}, labels)")
    return content[0]
