"""Image folders with one subfolder for each class."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from residua.data.dataset import Dataset, check_classes
from residua.data.split import Split, Splits, stratified_split
from residua.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
LAYOUT = "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png, or PATH/CLASS/*.png (also jpg webp bmp)"
BACKGROUND = (128, 128, 128)
"""The colour behind transparent pixels: mid-grey, close to the mean of most data sets."""


class ImageFolder(Dataset):
    """PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* with a random test fraction.

    A `val` folder is the holdout, or the test set if there is no `test` folder. The classes are the
    sorted names of the folders in `train`. Hidden files and files with other suffixes are ignored.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    size: int = Field(default=32, ge=1, le=1024)
    """Pixels: the short side is resized to this size, then the centre is cropped to a square."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """The fraction of PATH/CLASS/* in the test set; independent of the seed of the training."""
    unreadable: Literal["error", "skip"] = "error"
    """Whether unreadable files are an error, or are skipped with a warning."""

    @property
    def num_classes(self) -> int:
        """The number of class folders. Raises UserError if the layout is wrong."""
        root = self.path.expanduser()
        train = root / "train"
        return len(_list_files(train if train.is_dir() else root).classes)

    def read(self) -> Splits:
        """Decode all images. Raises UserError if the layout is wrong or files are unreadable."""
        root = self.path.expanduser()
        folders = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
        if "train" not in folders:
            images = self._decode(_list_files(root))
            test_size = max(1, round(self.test_fraction * len(images)))
            train, test = stratified_split(images, test_size, seed=0)
            return Splits(train, None, test)
        if len(folders) == 1:
            raise UserError(f"{root} has a train but no test folder: expected {LAYOUT}")
        listings = {name: _list_files(folder) for name, folder in folders.items()}
        classes = listings["train"].classes
        splits = {
            name: self._decode(listing.relabelled(classes)) for name, listing in listings.items()
        }
        test = splits.pop("test" if "test" in splits else "val")
        return Splits(splits["train"], splits.get("val"), test)

    def _decode(self, listing: "_FileList") -> Split:
        images, errors = decode(listing.paths, self.size)
        split = Split(torch.from_numpy(images), torch.tensor(listing.labels), listing.classes)
        if not errors:
            return split
        message = _error_message(errors, len(listing.paths))
        if self.unreadable == "error" or len(errors) == len(listing.paths):
            raise UserError(message)
        warnings.warn(f"{message}; they are skipped", stacklevel=2)
        unreadable = {error.path for error in errors}
        return split.subset([i for i, path in enumerate(listing.paths) if path not in unreadable])


def read_test_folder(path: Path, size: int, classes: tuple[str, ...]) -> Split:
    """Read a folder of images to evaluate a trained network on: another test set.

    Args:
        path: PATH/CLASS/*, or PATH/test/CLASS/*. Classes may be missing.
        size: pixels, as in `ImageFolder`.
        classes: of the network, in its order.

    Raises:
        UserError: the layout is wrong, the network does not know a class, or files are unreadable.
    """
    root = path.expanduser()
    listing = _list_files(root / "test" if (root / "test").is_dir() else root)
    if unknown := sorted(set(listing.classes) - set(classes)):
        names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise UserError(f"{listing.root} has classes that the network does not know: {names}")
    return ImageFolder(path=root, size=size)._decode(listing.relabelled(classes))


@dataclass(frozen=True)
class _FileList:
    """The sorted image files of a folder with one subfolder for each class."""

    root: Path
    classes: tuple[str, ...]
    paths: list[Path]
    labels: list[int]

    def relabelled(self, classes: tuple[str, ...]) -> "_FileList":
        """Replace the labels by indices into `classes`. Raises UserError for unknown classes."""
        if unknown := sorted(set(self.classes) - set(classes)):
            names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            raise UserError(f"{self.root} has classes that train does not have: {names}")
        index_of = {name: index for index, name in enumerate(classes)}
        indices = [index_of[name] for name in self.classes]
        return _FileList(self.root, classes, self.paths, [indices[label] for label in self.labels])


def _list_files(root: Path) -> _FileList:
    if not root.is_dir():
        raise UserError(f"no folder {root}: expected {LAYOUT}")
    folders = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    paths = {folder.name: _image_paths(folder) for folder in folders}
    if empty := [name for name, in_class in paths.items() if not in_class]:
        raise UserError(f"{root / empty[0]} has no images: expected {LAYOUT}")
    if not paths:
        raise UserError(f"{root} has no classes: expected {LAYOUT}")
    check_classes(tuple(paths))
    labels = [label for label, in_class in enumerate(paths.values()) for _ in in_class]
    all_paths = [path for in_class in paths.values() for path in in_class]
    return _FileList(root, tuple(paths), all_paths, labels)


def _image_paths(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


@dataclass(frozen=True)
class DecodeError:
    """A file that could not be decoded, and the reason."""

    path: Path
    reason: str


def decode(paths: list[Path], size: int) -> tuple[NDArray[np.uint8], list[DecodeError]]:
    """Decode image files to uint8 (N, 3, size, size) in a thread pool.

    The pixels of an unreadable file, or of one that Pillow considers too large, are undefined, and
    the file is in the list of errors.
    """
    images = np.empty((len(paths), 3, size, size), dtype=np.uint8)

    def decode_one(index: int) -> DecodeError | None:
        try:
            images[index] = read_image(paths[index], size).transpose(2, 0, 1)
        except Exception as error:  # Pillow raises almost any exception for a damaged file.
            return DecodeError(paths[index], _reason(error))
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return images, [error for error in pool.map(decode_one, range(len(paths))) if error]


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image as uint8 (size, size, 3).

    The EXIF orientation is applied, the short side is resized and the centre cropped. Resizing is
    Pillow's antialiased bicubic filter; an image of the right size is unchanged. 16-bit values are
    rounded to 8 bits, and transparent pixels become mid-grey.
    """
    with Image.open(path) as image:
        return prepare_image(image, size)


def prepare_image(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Convert an open image to uint8 (size, size, 3), as `read_image` does."""
    rgb = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(crop_and_resize(rgb, size))


def crop_and_resize(image: Image.Image, size: int) -> Image.Image:
    """Crop the centre to a square and resize it by Pillow's antialiased bicubic filter.

    The pixels are those of `ImageOps.fit` in Pillow up to version 12: first all rows are resized,
    then all columns, with values rounded in between. Pillow 13 chooses the order by the sizes,
    which changes pixels; with one direction in each call all versions give the same.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    bicubic = Image.Resampling.BICUBIC
    narrow = image.resize((size, height), bicubic, box=(left, 0, left + side, height))
    return narrow.resize((size, size), bicubic, box=(0, top, size, top + side))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values at 255 instead of scaling.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # Pillow's message would repeat the path.
    return str(error).split("\n")[0] or type(error).__name__


def _error_message(errors: list[DecodeError], total: int) -> str:
    first = "; ".join(f"{error.path} ({error.reason})" for error in errors[:3])
    more = "; ..." if len(errors) > 3 else ""
    return f"{len(errors):,} of {total:,} image files cannot be read: {first}{more}"
