"""Image files of any kind as small square uint8 images."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from residua.data.progress import report_progress

Fit = Literal["crop", "pad", "stretch"]
"""How an image that is not square becomes square: crop the centre of the long side, pad the short
side with grey, or change the aspect ratio."""
Channels = Literal[1, 3]
"""Grey or RGB."""

FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "TGA", "ICO", "JPEG2000", "MPO",
)  # fmt: skip
"""The formats that are decoded, whatever the name of a file. Pillow knows others, some of which
start other programs."""
SUFFIXES = {
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".tif", ".tiff", ".bmp",
    ".dib", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".jp2", ".j2k", ".mpo",
}  # fmt: skip
"""Of files that are read as images."""
UNSUPPORTED_SUFFIXES = {
    ".heic", ".heif", ".svg", ".jxl", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".exr",
}  # fmt: skip
"""Of images that cannot be decoded here: they count as unreadable."""
BACKGROUND = (128, 128, 128)
"""The colour behind transparent pixels and beside padded images: mid-grey, close to the mean of
most data sets."""
MAX_PIXELS = 178_956_970
"""The largest image that is decoded; Pillow refuses to open larger ones as decompression bombs."""
LARGE_PIXELS = 20_000_000
"""Images with more pixels are decoded one at a time: they take up to 0.5 GB of memory each."""

_ORIENTATION = 0x0112
"""The tag of the orientation in EXIF."""
_large_image = Lock()
Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Preparation:
    """How image files are converted to the images of a data set."""

    size: int
    """Pixels of each side."""
    fit: Fit = "crop"
    channels: Channels = 3


@dataclass(frozen=True)
class DecodeError:
    """A file that could not be decoded, and the reason."""

    path: Path
    reason: str


def decode(
    paths: Sequence[Path], preparation: Preparation
) -> tuple[NDArray[np.uint8], list[DecodeError]]:
    """Decode image files to uint8 (N, C, size, size) in a thread pool.

    The pixels of an unreadable file are undefined, and the file is in the list of errors.
    """
    size = preparation.size
    images = np.empty((len(paths), preparation.channels, size, size), dtype=np.uint8)

    def decode_one(index: int) -> DecodeError | None:
        try:
            pixels = read_image(paths[index], size, preparation.fit, preparation.channels)
        except Exception as error:  # Pillow raises almost any exception for a damaged file.
            return DecodeError(paths[index], error_reason(error))
        images[index] = pixels.transpose(2, 0, 1)
        return None

    results = map_files(decode_one, range(len(paths)))
    return images, [error for error in results if error is not None]


def map_files(function: Callable[[Item], Value], items: Sequence[Item]) -> Iterator[Value]:
    """Apply a function that decodes a file to each item, in a thread pool, and report progress.

    The results have the order of the items. Only a few are kept, so they may be large.
    """
    pending: deque[Future[Value]] = deque()
    report_progress(0, len(items))
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            for submitted, item in enumerate(items, 1):
                pending.append(pool.submit(function, item))
                if len(pending) > 256:
                    yield pending.popleft().result()
                    report_progress(submitted - len(pending), len(items))
            while pending:
                yield pending.popleft().result()
                report_progress(len(items) - len(pending), len(items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_image(
    path: Path, size: int, fit: Fit = "crop", channels: Channels = 3
) -> NDArray[np.uint8]:
    """Read an image file as uint8 (size, size, channels); of an animation, the first frame.

    The EXIF orientation is applied. Resizing is Pillow's antialiased bicubic filter; an image of
    the right size is unchanged. 16-bit values are rounded to 8 bits, and transparent pixels become
    mid-grey. JPEG files of more than `LARGE_PIXELS` are decoded at a reduced size.

    Raises:
        OSError, ValueError: the file cannot be decoded. Pillow raises others too.
    """
    with open_image(path) as image:
        if image.width * image.height <= LARGE_PIXELS:
            return prepare_image(image, size, fit, channels)
        with _large_image:
            return prepare_image(image, size, fit, channels)


def open_image(path: Path) -> Image.Image:
    """Open an image file without decoding it.

    Raises:
        OSError, ValueError: it is not an image, or too large. Pillow raises others too.
    """
    if path.suffix.lower() in UNSUPPORTED_SUFFIXES:
        raise ValueError(f"{path.suffix.lower()} is not supported: convert it to PNG or JPEG")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    try:
        return Image.open(path, formats=_formats())
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {MAX_PIXELS:,} pixels: a decompression bomb?") from None


def prepare_image(
    image: Image.Image, size: int, fit: Fit = "crop", channels: Channels = 3
) -> NDArray[np.uint8]:
    """Convert an open image to uint8 (size, size, channels), as `read_image` does."""
    if image.width * image.height > LARGE_PIXELS:
        # A JPEG file that is not decoded yet is decoded at a half to an eighth of its size.
        image.draft(None, (8 * size, 8 * size))
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    flat = _to_rgb(image if upright else ImageOps.exif_transpose(image))
    if channels == 1:
        flat = flat.convert("L")
    width, height = flat.size
    if fit == "pad":
        scale = size / max(width, height)
        fitted = ImageOps.pad(
            _resize(flat, max(1, round(width * scale)), max(1, round(height * scale))),
            (size, size),
            color=BACKGROUND[0] if channels == 1 else BACKGROUND,
        )
    elif fit == "stretch":
        fitted = _resize(flat, size, size)
    else:
        side = min(width, height)
        fitted = _resize(flat, size, size, ((width - side) / 2, (height - side) / 2, side))
    return np.asarray(fitted).reshape(size, size, channels)


def _resize(
    image: Image.Image, width: int, height: int, square: tuple[float, float, int] | None = None
) -> Image.Image:
    """Resize an image, or a square of it, by Pillow's antialiased bicubic filter.

    The pixels are those of Pillow up to version 12: first all rows are resized, then all columns,
    with values rounded in between. Pillow 13 chooses the order by the sizes, which changes pixels;
    with one direction in each call all versions give the same.

    Args:
        image: 8-bit grey or RGB.
        width: of the result, at least 1 pixel.
        height: of the result, at least 1 pixel.
        square: left, top and side of the square; None takes the whole image.
    """
    bicubic = Image.Resampling.BICUBIC
    left, top, right, bottom = 0.0, 0.0, float(image.width), float(image.height)
    if square is not None:
        left, top, side = square
        right, bottom = left + side, top + side
    narrow = image.resize((width, image.height), bicubic, box=(left, 0, right, image.height))
    return narrow.resize((width, height), bicubic, box=(0, top, width, bottom))


def error_reason(error: Exception) -> str:
    """Why a file cannot be read: one line that does not repeat its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(
            "floating-point pixels have no defined range: convert them to 8 or 16 bits"
        )
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values at 255 instead of scaling.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    background = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
