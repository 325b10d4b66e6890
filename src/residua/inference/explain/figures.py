"""Figures of filters, activation maps and heat maps; `savefig` writes them as PNG or SVG."""

import math

from matplotlib.figure import Figure
from torch import Tensor


def image_grid(images: Tensor, columns: int = 8, title: str = "") -> Figure:
    """Draw images in a grid: filters (M, 3, H, W) in [0, 1], or channels (M, H, W) in any unit.

    Channels are drawn in grey, each from its minimum to its maximum.
    """
    rows, across = math.ceil(len(images) / columns), min(columns, len(images))
    figure = Figure(figsize=(across * 0.8, rows * 0.8 + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for index, image in enumerate(images.detach().cpu()):
        axes = figure.add_subplot(rows, across, index + 1)
        axes.set_axis_off()
        pixels = image.permute(1, 2, 0) if image.ndim == 3 else image
        axes.imshow(pixels.numpy(), cmap="gray", interpolation="nearest")
    return figure


def overlay_heatmap(image: Tensor, heatmap: Tensor, title: str = "") -> Figure:
    """Draw an image, and beside it the image with a heat map over it.

    Args:
        image: (3, H, W) float32 in [0, 1], not normalized.
        heatmap: (H, W) float32 in [0, 1], as `grad_cam` returns it.
        title: above both.
    """
    figure = Figure(figsize=(4.4, 2.4), layout="constrained")
    figure.suptitle(title, fontsize=9)
    pixels = image.detach().cpu().permute(1, 2, 0).numpy()
    for column in (1, 2):
        axes = figure.add_subplot(1, 2, column)
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="nearest")
    axes.imshow(heatmap.detach().cpu().numpy(), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return figure
