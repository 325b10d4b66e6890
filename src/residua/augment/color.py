"""Augmentations of colour, on images in [0, 1]."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from residua.augment.base import BatchRandom, ColorOp, constant
from residua.schedules import NonNegative, Probability

LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in a grey (ITU-R BT.601)."""


class ColorJitter(ColorOp):
    """Change brightness, contrast, saturation and hue, in this order, by uniformly drawn amounts.

    The operations are those of torchvision's transform of the same name, with one draw an image.
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: NonNegative = 0.0
    """The factor is uniform in [max(0, 1 - b), 1 + b]; likewise contrast and saturation."""
    contrast: NonNegative = 0.0
    saturation: NonNegative = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)
    """The shift is uniform in [-hue, hue], in turns of the colour circle."""
    p: Probability = 1.0

    def draw(self, draw: BatchRandom) -> Tensor:
        """(N, 4): three factors and a shift; 1, 1, 1, 0 where the image is left alone."""
        strengths = map(draw.number, (self.brightness, self.contrast, self.saturation))
        factors = [draw.uniform(max(0.0, 1 - strength), 1 + strength) for strength in strengths]
        amounts = torch.stack([*factors, draw.uniform(-self.hue, self.hue)], 1)
        nothing = constant((1.0, 1.0, 1.0, 0.0), amounts.device)
        return torch.where(draw.chosen(self.p)[:, None], amounts, nothing)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Each image with its own factors and shift."""
        brightness, contrast, saturation, hue = drawn[:, :, None, None, None].unbind(1)
        if self.brightness != 0:
            images = (images * brightness).clamp(0, 1)
        if self.contrast != 0:
            images = blend(images, grey(images).mean((2, 3), keepdim=True), contrast)
        if self.saturation != 0:
            images = blend(images, grey(images), saturation)
        return shift_hue(images, hue) if self.hue else images


def grey(images: Tensor) -> Tensor:
    """(N, 3, H, W) to the luma (N, 1, H, W)."""
    return (images * constant(LUMA, images.device)[:, None, None]).sum(1, keepdim=True)


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Between another image (0) and the image (1), or beyond it, kept in [0, 1]."""
    return (other + (images - other) * factor).clamp(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of (N, 3, H, W) in [0, 1] by (N, 1, 1, 1) turns of the colour circle."""
    value, most = images.max(1, keepdim=True)
    chroma = value - images.min(1, keepdim=True).values
    red, green, blue = images.unsqueeze(2).unbind(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.where(
        most == 0,
        (green - blue) / safe,
        torch.where(most == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    offsets = constant((5.0, 3.0, 1.0), images.device)[:, None, None]
    k = torch.remainder(offsets + sixths + turns * 6, 6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
