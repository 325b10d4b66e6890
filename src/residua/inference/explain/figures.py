"""Images of explanations: heat maps over an image, and small images side by side."""

import math

import matplotlib as mpl
import torch
import torch.nn.functional as F
from torch import Tensor

from residua.inference.explain.filters import rescale

HEATMAP_OPACITY = 0.6
POSITIVE, NEGATIVE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
"""Blue and orange of the palette of Okabe and Ito."""
CLIPPED_SHARE = 0.01
"""Of the pixels, the strongest of which are drawn at full opacity."""


def overlay_heatmap(image: Tensor, heatmap: Tensor, scale: int = 4) -> Tensor:
    """An image with a heat map over it: dark is 0, bright yellow is 1.

    Args:
        image: (C, H, W) uint8.
        heatmap: (H, W) float32 in [0, 1], as `grad_cam` returns it.
        scale: pixels of the result for each pixel of the image.

    Returns:
        (3, scale * H, scale * W) uint8.
    """
    large = _enlarged(image, scale)
    smooth = F.interpolate(heatmap[None, None].cpu(), large.shape[1:], mode="bicubic")[0, 0]
    colors = mpl.colormaps["inferno"](smooth.clamp(0, 1).numpy())[..., :3]
    return _blend(large, 255 * torch.from_numpy(colors).permute(2, 0, 1), HEATMAP_OPACITY)


def overlay_attribution(image: Tensor, values: Tensor, scale: int = 4) -> Tensor:
    """An image in grey, with what its pixels add to a logit in blue, or take from it in orange.

    Args:
        image: (C, H, W) uint8.
        values: (C, H, W) float32, as in `Attribution`; summed over the channels.
        scale: pixels of the result for each pixel of the image.

    Returns:
        (3, scale * H, scale * W) uint8.
    """
    grey = image.float().mean(0, keepdim=True).expand(3, -1, -1)
    pale = 255 - (255 - grey) * 0.55
    signed = values.sum(0).cpu()
    strongest = signed.abs().flatten().quantile(1 - CLIPPED_SHARE).clamp(min=1e-12)
    colors = torch.where(
        signed > 0, torch.tensor(POSITIVE)[:, None, None], torch.tensor(NEGATIVE)[:, None, None]
    )
    opacity = (signed.abs() / strongest).clamp(max=1)
    return _enlarged(_blend(pale, colors, opacity), scale)


def mosaic(images: Tensor, columns: int) -> Tensor:
    """Small images side by side, with transparent gaps of a pixel.

    Args:
        images: (M, C, H, W) float32 in [0, 1].
        columns: images a row.

    Returns:
        (rows, columns, 4) float32 in [0, 1]: RGBA, as pixels.
    """
    images = images.expand(-1, 3, -1, -1)  # Filters of grey images have one channel.
    cells = F.pad(torch.cat([images, torch.ones_like(images[:, :1])], 1), (0, 1, 0, 1))
    padded = F.pad(cells, (0, 0, 0, 0, 0, 0, 0, -len(cells) % columns))
    rows = padded.reshape(-1, columns, *cells.shape[1:]).permute(0, 3, 1, 4, 2)
    return rows.flatten(2, 3).flatten(0, 1)


def filter_mosaic(filters: Tensor, limit: int) -> Tensor:
    """The first filters (M, 3, k, k), each rescaled to its own range, in a square mosaic."""
    shown = rescale(filters)[:limit]
    return mosaic(shown, math.ceil(math.sqrt(len(shown))))


def channel_mosaic(channels: Tensor, limit: int, columns: int = 8) -> Tensor:
    """The strongest channels (C, H, W) in grey, each rescaled to its own range, in a mosaic.

    Strength is the mean absolute activation.
    """
    strongest = channels.abs().mean((1, 2)).argsort(descending=True, stable=True)[:limit]
    shown = rescale(channels[strongest][:, None]).expand(-1, 3, -1, -1)
    return mosaic(shown, min(columns, len(shown)))


def _enlarged(image: Tensor, scale: int) -> Tensor:
    return image.cpu().expand(3, -1, -1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def _blend(image: Tensor, colors: Tensor, opacity: Tensor | float) -> Tensor:
    return (image + (colors - image) * opacity).round().clamp(0, 255).byte()
