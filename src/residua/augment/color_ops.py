"""The colour operations of augmentation policies, as defined by Pillow, on whole batches.

Each takes images (N, C, H, W) float32 in [0, 1] and a strength (N, 1, 1, 1), and returns images of
the same shape in [0, 1]. Pillow rounds the result of each operation down to integer levels; here
only operations that are defined on integer levels round.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.augment.base import cached_tensor
from residua.augment.color import blend, luma

ColorFunction = Callable[[Tensor, Tensor], Tensor]
SMOOTHING_KERNEL = (1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0)
"""Of `ImageFilter.SMOOTH`, times 13."""


def identity(images: Tensor, _: Tensor) -> Tensor:
    """Return the images unchanged."""
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black: 0 is black, 1 the image (`ImageEnhance.Brightness`)."""
    return (images * factor).clamp(0, 1)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the greyscale image: 0 is grey, 1 the image (`ImageEnhance.Color`)."""
    return blend(images, luma(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey level: 0 is grey, 1 the image (`ImageEnhance.Contrast`)."""
    return blend(images, luma(images).mean((2, 3), keepdim=True), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the smoothed image: 0 is smooth, 1 the image (`ImageEnhance.Sharpness`).

    Smoothing is a weighted mean of 3 x 3 pixels with weight 5 in the centre; the outermost rows and
    columns are unchanged.
    """
    kernel = cached_tensor(SMOOTHING_KERNEL, images.device).view(3, 3) / 13
    smooth, channels = images.clone(), images.shape[1]
    weights = kernel.expand(channels, 1, 3, 3)
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, weights, groups=channels)
    return blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits of each level (`ImageOps.posterize`)."""
    step = 2 ** (8 - bits)
    return (levels(images) / step).floor() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert all levels that are at least the threshold, 0 to 256 (`ImageOps.solarize`)."""
    return torch.where(levels(images) >= threshold, 1 - images, images)


def invert(images: Tensor, _: Tensor) -> Tensor:
    """Invert all levels (`ImageOps.invert`)."""
    return 1 - images


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to the full range (`ImageOps.autocontrast`)."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    constant = high <= low
    return torch.where(constant, images, (images - low) / torch.where(constant, 1.0, high - low))


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Equalize the histogram of each channel (`ImageOps.equalize`)."""
    pixels = levels(images).long().flatten(2)
    # Integers: GPUs have no deterministic cumulative sum of floats.
    histogram = pixels.new_zeros(*pixels.shape[:2], 256)
    histogram.scatter_add_(2, pixels, torch.ones_like(pixels))
    brightest_count = histogram.gather(2, pixels.amax(2, keepdim=True)).float()
    step = ((pixels.shape[2] - brightest_count) / 255).floor()
    darker_count = (histogram.cumsum(2) - histogram).float()
    lut = ((darker_count + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(max=255)
    equalized = lut.gather(2, pixels).view_as(images) / 255
    return torch.where(step[..., None] > 0, equalized, images)


def levels(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to integer levels, 0 to 255."""
    return (images * 255).round()


def apply_color_ops(
    images: Tensor, choice: Tensor, strength: Tensor, operations: tuple[ColorFunction, ...]
) -> Tensor:
    """Apply one operation to each image.

    A CPU applies each operation to the images that it was chosen for. The host would wait for a
    GPU to learn how many these are, so a GPU applies each operation to all images.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        choice: (N,) int64, indices into `operations`.
        strength: (N,) float32, passed to the operation.
        operations: the operations to choose from.
    """
    apply = apply_to_chosen if images.device.type == "cpu" else apply_to_all
    return apply(images, choice, strength[:, None, None, None], operations)


def apply_to_chosen(
    images: Tensor, choice: Tensor, strength: Tensor, operations: tuple[ColorFunction, ...]
) -> Tensor:
    """Apply each operation to its own images; reads numbers. Strength is (N, 1, 1, 1)."""
    order = choice.argsort(stable=True)
    counts = torch.bincount(choice, minlength=len(operations)).tolist()
    results = [
        operation(images[rows], strength[rows])
        for rows, operation in zip(torch.split(order, counts), operations, strict=True)
        if len(rows)
    ]
    return torch.cat(results)[order.argsort()]


def apply_to_all(
    images: Tensor, choice: Tensor, strength: Tensor, operations: tuple[ColorFunction, ...]
) -> Tensor:
    """Apply each operation to all images, and take the chosen ones. Strength is (N, 1, 1, 1)."""
    result = images
    for index, operation in enumerate(operations):
        chosen = (choice == index)[:, None, None, None]
        result = torch.where(chosen, operation(images, strength), result)
    return result
