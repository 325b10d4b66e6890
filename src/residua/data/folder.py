"""A folder of images, a folder a class."""

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

from residua.data.dataset import Dataset
from residua.data.split import Split, Splits, hold_out
from residua.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
LAYOUT = "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png, or PATH/CLASS/*.png (also jpg webp bmp)"
MATTE = (128, 128, 128)
"""What shows through transparent pixels: mid-grey, near any set's mean."""


class Folder(Dataset):
    """PATH/train/CLASS/* and PATH/test/CLASS/*; or PATH/CLASS/*, of which a fraction is the test.

    `val` stands in for a missing `test`, and is the holdout beside one. The classes are the names
    of train's folders, sorted. Hidden files and files that are no images by their name are passed
    over.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    size: int = Field(default=32, ge=1, le=1024)
    """Pixels: the short side is resized to it, then the centre is cropped to a square."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """How much of PATH/CLASS/* is the test; the same images whatever the training's seed."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do about files that cannot be read: stop, or warn and go on without them."""

    @property
    def class_count(self) -> int:
        """Folders of classes. Raises UserError for a missing layout."""
        root = self.path.expanduser()
        train = root / "train"
        return len(_listing(train if train.is_dir() else root).classes)

    def read(self) -> Splits:
        """Decode every image. Raises UserError for a missing layout or unreadable files."""
        root = self.path.expanduser()
        parts = {name: root / name for name in ("train", "val", "test")}
        present = {name: folder for name, folder in parts.items() if folder.is_dir()}
        if "train" not in present:
            return self._divided(root)
        if len(present) == 1:
            raise UserError(f"{root} has a train but no test folder: expected {LAYOUT}")
        listings = {name: _listing(folder) for name, folder in present.items()}
        classes = tuple(listings["train"].classes)
        splits = {name: self._decoded(listing.among(classes)) for name, listing in listings.items()}
        test = splits.pop("test", None) or splits.pop("val")
        return Splits(splits["train"], splits.get("val"), test)

    def _divided(self, root: Path) -> Splits:
        listing = _listing(root)
        images = self._decoded(listing.among(listing.classes))
        train, test = hold_out(images, max(1, round(self.test_fraction * len(images))), seed=0)
        return Splits(train, None, test)

    def _decoded(self, listing: "_Listing") -> Split:
        images, faults = decode(listing.files, self.size)
        split = Split(torch.from_numpy(images), torch.tensor(listing.labels), listing.classes)
        if not faults:
            return split
        message = _told(faults, len(listing.files))
        if self.unreadable == "error" or len(faults) == len(listing.files):
            raise UserError(message)
        warnings.warn(f"{message}; going on without", stacklevel=2)
        bad = {fault.file for fault in faults}
        return split.subset([i for i, file in enumerate(listing.files) if file not in bad])


@dataclass(frozen=True)
class _Listing:
    """The image files of one folder of classes, sorted."""

    root: Path
    classes: tuple[str, ...]
    files: list[Path]
    labels: list[int]

    def among(self, classes: tuple[str, ...]) -> "_Listing":
        """Label by the places in `classes` instead, which has to have all of this one's."""
        if unknown := sorted(set(self.classes) - set(classes)):
            names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            raise UserError(f"{self.root} has classes that train has not: {names}")
        places = [classes.index(name) for name in self.classes]
        return _Listing(self.root, classes, self.files, [places[label] for label in self.labels])


def _listing(root: Path) -> _Listing:
    if not root.is_dir():
        raise UserError(f"no folder {root}: expected {LAYOUT}")
    folders = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    files = {folder.name: _image_files(folder) for folder in folders}
    if empty := [name for name, found in files.items() if not found]:
        raise UserError(f"{root / empty[0]} has no images: expected {LAYOUT}")
    if not files:
        raise UserError(f"{root} has no classes: expected {LAYOUT}")
    labels = [label for label, found in enumerate(files.values()) for _ in found]
    return _Listing(
        root, tuple(files), [file for found in files.values() for file in found], labels
    )


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


@dataclass(frozen=True)
class DecodeError:
    """A file that could not be read, and why."""

    file: Path
    reason: str


def decode(files: list[Path], size: int) -> tuple[NDArray[np.uint8], list[DecodeError]]:
    """Decode files to uint8 (N, 3, size, size), in a thread pool.

    An unreadable file, or one with more pixels than Pillow thinks safe, leaves its place
    undefined and is named among the faults.
    """
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)

    def attempt(place: int) -> DecodeError | None:
        try:
            images[place] = read_image(files[place], size).transpose(2, 0, 1)
        except Exception as error:  # Pillow's decoders raise almost anything at a broken file.
            return DecodeError(files[place], _reason(error))
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return images, [fault for fault in pool.map(attempt, range(len(files))) if fault]


def read_image(file: Path, size: int) -> NDArray[np.uint8]:
    """Read one image as uint8 (size, size, 3): upright by its EXIF, short side resized, cropped.

    Resized by Pillow's bicubic filter, which is antialiased; an image of the right size keeps its
    bytes. 16-bit greys lose their low byte by rounding, transparency shows mid-grey.
    """
    with Image.open(file) as image:
        return prepare_image(image, size)


def prepare_image(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Convert an open image to uint8 (size, size, 3), as `read_image` does."""
    upright = _rgb(ImageOps.exif_transpose(image))
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255 instead of scaling them.
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    matte = Image.new("RGBA", image.size, MATTE)
    return Image.alpha_composite(matte, image.convert("RGBA")).convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # Pillow's own words repeat the path.
    return str(error).split("\n")[0] or type(error).__name__


def _told(faults: list[DecodeError], total: int) -> str:
    first = "; ".join(f"{fault.file} ({fault.reason})" for fault in faults[:3])
    more = "; ..." if len(faults) > 3 else ""
    return f"{len(faults):,} of {total:,} image files cannot be read: {first}{more}"
