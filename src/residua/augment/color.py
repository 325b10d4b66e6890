"""Colour augmentation, on images in [0, 1]."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, ColorOp, cached_tensor
from residua.schedules import NonNegative, Probability

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the luma (ITU-R BT.601)."""


class ColorJitter(ColorOp):
    """Change brightness, contrast, saturation and hue, in this order, by uniform random amounts.

    The operations are those of torchvision's ColorJitter, with separate parameters for each image.
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: NonNegative = 0.0
    """The factor is uniform in [max(0, 1 - b), 1 + b]; the same holds for contrast, saturation."""
    contrast: NonNegative = 0.0
    saturation: NonNegative = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)
    """The shift is uniform in [-hue, hue], in turns of the hue circle."""
    p: Probability = 1.0

    def sample(self, random: BatchRandom) -> Tensor:
        """(N, 4): three factors and a hue shift; 1, 1, 1, 0 for unchanged images."""
        strengths = map(random.value, (self.brightness, self.contrast, self.saturation))
        factors = [random.uniform(max(0.0, 1 - strength), 1 + strength) for strength in strengths]
        params = torch.stack([*factors, random.uniform(-self.hue, self.hue)], 1)
        identity = cached_tensor((1.0, 1.0, 1.0, 0.0), params.device)
        return torch.where(random.bernoulli(self.p)[:, None], params, identity)

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        """Apply the factors and the shift of each image."""
        brightness, contrast, saturation, hue = params[:, :, None, None, None].unbind(1)
        if self.brightness != 0:
            images = (images * brightness).clamp(0, 1)
        if self.contrast != 0:
            images = blend(images, luma(images).mean((2, 3), keepdim=True), contrast)
        if self.saturation != 0:
            images = blend(images, luma(images), saturation)
        return shift_hue(images, hue) if self.hue else images


def luma(images: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of images (N, 3, H, W); a grey image is its own."""
    if images.shape[1] == 1:
        return images
    return (images * cached_tensor(LUMA_WEIGHTS, images.device)[:, None, None]).sum(1, keepdim=True)


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Interpolate from `other` (0) to the image (1) or extrapolate beyond; clamped to [0, 1]."""
    return (other + (images - other) * factor).clamp(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of (N, 3, H, W) in [0, 1] by (N, 1, 1, 1) turns of the hue circle.

    Grey images (N, 1, H, W) have none.
    """
    if images.shape[1] == 1:
        return images
    value, argmax = images.max(1, keepdim=True)
    chroma = value - images.min(1, keepdim=True).values
    red, green, blue = images.unsqueeze(2).unbind(1)
    divisor = torch.where(chroma > 0, chroma, 1.0)
    sextants = torch.where(
        argmax == 0,
        (green - blue) / divisor,
        torch.where(argmax == 1, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    offsets = cached_tensor((5.0, 3.0, 1.0), images.device)[:, None, None]
    k = torch.remainder(offsets + sextants + turns * 6, 6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
