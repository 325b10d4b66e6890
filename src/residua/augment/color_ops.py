"""The colour operations of augmentation policies, as Pillow defines them, each on a whole batch.

Each takes images (N, 3, H, W) float32 in [0, 1] and a strength (N, 1, 1, 1), and gives images of
the same shape in [0, 1]. Pillow rounds down to whole grey levels at the end of each; here only
those operations round that are defined on whole levels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.augment.color import blend, grey

ColorFunction = Callable[[Tensor, Tensor], Tensor]


def unchanged(images: Tensor, _: Tensor) -> Tensor:
    """The images as they are."""
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Between black (0) and the image (1), or beyond it (`ImageEnhance.Brightness`)."""
    return (images * factor).clamp(0, 1)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Between grey (0) and the image (1), or beyond it (`ImageEnhance.Color`)."""
    return blend(images, grey(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Between the mean grey (0) and the image (1), or beyond it (`ImageEnhance.Contrast`)."""
    return blend(images, grey(images).mean((2, 3), keepdim=True), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Between smooth (0) and the image (1), or beyond it (`ImageEnhance.Sharpness`).

    Smooth is the mean over 3 x 3 pixels in which the middle counts five times; the outermost rows
    and columns stay as they are.
    """
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, (kernel / 13).expand(3, 1, 3, 3), groups=3)
    return blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the highest bits of each grey level (`ImageOps.posterize`)."""
    step = 2 ** (8 - bits)
    return (levels(images) / step).floor() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the grey levels from the threshold (0 to 256) on (`ImageOps.solarize`)."""
    return torch.where(levels(images) >= threshold, 1 - images, images)


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch every channel from its darkest to its brightest place (`ImageOps.autocontrast`)."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / torch.where(flat, 1.0, high - low))


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Spread every channel's grey levels evenly, by its histogram (`ImageOps.equalize`)."""
    places = levels(images).long().flatten(2)
    histogram = torch.zeros(*places.shape[:2], 256, device=images.device)
    histogram.scatter_add_(2, places, torch.ones_like(places, dtype=histogram.dtype))
    brightest = histogram.gather(2, places.amax(2, keepdim=True))
    step = ((places.shape[2] - brightest) / 255).floor()
    below = histogram.cumsum(2) - histogram
    table = ((below + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(max=255)
    spread = table.gather(2, places).view_as(images) / 255
    return torch.where(step[..., None] > 0, spread, images)


def levels(images: Tensor) -> Tensor:
    """Images in [0, 1] as whole grey levels, 0 to 255."""
    return (images * 255).round()


def apply_color_ops(
    images: Tensor, choice: Tensor, strength: Tensor, operations: tuple[ColorFunction, ...]
) -> Tensor:
    """Each image changed by its own operation.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        choice: (N,) int64: which of the operations.
        strength: (N,) float32: what the operation is given.
        operations: what there is to choose from.
    """
    order = choice.argsort(stable=True)
    # One wait for the device; doing everything to every image would cost a CPU far more.
    counts = torch.bincount(choice, minlength=len(operations)).tolist()
    changed = [
        operation(images[rows], strength[rows, None, None, None])
        for rows, operation in zip(torch.split(order, counts), operations, strict=True)
        if len(rows)
    ]
    return torch.cat(changed)[order.argsort()]
