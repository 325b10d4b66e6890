"""Pictures of filters, activations and grounds; `savefig` writes each as PNG or SVG."""

import math

from matplotlib.figure import Figure
from torch import Tensor


def tiles(images: Tensor, columns: int = 8, title: str = "") -> Figure:
    """Images side by side: filters (M, 3, H, W) in [0, 1], or channels (M, H, W) in any unit.

    Channels are drawn in grey, each from its own minimum to its own maximum.
    """
    rows, across = math.ceil(len(images) / columns), min(columns, len(images))
    figure = Figure(figsize=(across * 0.8, rows * 0.8 + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for place, image in enumerate(images.detach().cpu()):
        axes = figure.add_subplot(rows, across, place + 1)
        axes.set_axis_off()
        pixels = image.permute(1, 2, 0) if image.ndim == 3 else image
        axes.imshow(pixels.numpy(), cmap="gray", interpolation="nearest")
    return figure


def overlay(image: Tensor, places: Tensor, title: str = "") -> Figure:
    """An image, and beside it the same with a map laid over.

    Args:
        image: (3, H, W) float32 in [0, 1], not normalised.
        places: (H, W) float32 in [0, 1], as `grad_cam` gives them.
        title: above both.
    """
    figure = Figure(figsize=(4.4, 2.4), layout="constrained")
    figure.suptitle(title, fontsize=9)
    pixels = image.detach().cpu().permute(1, 2, 0).numpy()
    for place in (1, 2):
        axes = figure.add_subplot(1, 2, place)
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="nearest")
    axes.imshow(places.detach().cpu().numpy(), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return figure
