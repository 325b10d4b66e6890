"""Images of any kind as the small uint8 tensors that a network takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from residua.data.decoding import Preparation, open_image, prepare_image

ImageLike = Path | str | Image.Image | NDArray[Any] | Tensor
"""One image of any size:

- the path of a file, or a PIL image of any mode. The EXIF orientation is applied, transparent
  pixels become mid-grey, 16-bit values are rounded to 8 bits; of an animation the first frame.
- a numpy array with the channels last: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
- a torch tensor with the channels first: (H, W), (1, H, W), (3, H, W) or (4, H, W).

One channel is grey, three are RGB, four are RGB and alpha. Arrays and tensors are uint8, or
floating point in [0, 1] as of torchvision's `ToTensor`, which is rounded to 8 bits.
"""
Images = ImageLike | Iterable[ImageLike]
"""One image, or several: a list, an iterator, an array (N, H, W, C) or a tensor (N, C, H, W)."""
CHANNELS = (1, 3, 4)
MAX_PIXELS = 89_478_485
"""The largest picture that is decoded: Pillow warns of decompression bombs from here on."""


@dataclass(frozen=True)
class UnreadableImage:
    """A file that has no answer, because it cannot be read as an image."""

    path: str
    reason: str
    """One line, without the path."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def each_image(images: Images) -> Iterable[ImageLike]:
    """One image as a list of one; several as they are."""
    if isinstance(images, Path | str | Image.Image):
        return [images]
    if isinstance(images, Tensor | np.ndarray) and images.ndim < 4:
        return [images]
    return images


def read_pixels(path: Path | str, how: Preparation) -> Tensor | UnreadableImage:
    """Read a file as uint8 (channels, size, size), as `prepare_image` does."""
    try:
        with open_image(Path(path)) as image:
            if image.width * image.height > MAX_PIXELS:
                return UnreadableImage(
                    str(path),
                    f"{image.width:,} x {image.height:,} pixels are too many; the limit is "
                    f"{MAX_PIXELS:,}",
                )
            return _as_tensor(prepare_image(image, how.size, how.fit, how.channels))
    except MemoryError:
        return UnreadableImage(str(path), "it does not fit into memory")
    except Exception as error:  # Pillow raises almost any exception for a damaged file.
        return UnreadableImage(str(path), _reason(error))


def to_pixels(image: Image.Image | NDArray[Any] | Tensor, how: Preparation) -> Tensor:
    """Convert an image in memory to uint8 (channels, size, size), as `prepare_image` does.

    Raises:
        ValueError: an array or a tensor has another type, shape or range than `ImageLike` says.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_rounded(_channels_last(image)))
    return _as_tensor(prepare_image(image, how.size, how.fit, how.channels))


def _channels_last(image: NDArray[Any] | Tensor) -> NDArray[Any]:
    """(H, W) or (H, W, 3 or 4)."""
    if isinstance(image, Tensor):
        form = "tensors are (H, W) or (C, H, W)"
        floating = image.is_floating_point()
        array = (image.detach().cpu().float() if floating else image.cpu()).numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(image, np.ndarray):
        form, array = "arrays are (H, W) or (H, W, C)", image
    else:
        raise ValueError(f"{type(image).__name__} is not an image")
    valid = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    if not valid or 0 in array.shape:
        raise ValueError(f"an image of shape {tuple(image.shape)}: {form}, with 1, 3 or 4 channels")
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _rounded(array: NDArray[Any]) -> NDArray[np.uint8]:
    if np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(
                "floating-point images must be in [0, 1], as they are before normalization"
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"images are {array.dtype}, not uint8 or floating point in [0, 1]")
    return np.ascontiguousarray(array)


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {MAX_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
