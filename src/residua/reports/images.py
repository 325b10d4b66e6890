"""The small pictures of a report: single images, sheets of them, and the confusion matrix."""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from residua.reports.picture import COLOURS, data_uri

LARGEST = 96
"""The side in pixels above which images are made smaller: a report is not an album."""


def thumbnail(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 as a picture, its sides at most LARGEST."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def address(image: Tensor) -> str:
    """(3, H, W) uint8 as a data address."""
    return data_uri(_png(thumbnail(image)))


def sheet(rows: list[Tensor], columns: int = 8) -> bytes:
    """Images (M, 3, H, W) uint8 one beside another as a PNG; the i-th of every row belong together.

    Each image is shown enlarged; where there are several rows, they lie below one another.
    """
    scale = max(1, LARGEST // max(rows[0].shape[-2:]))
    cell = max(max(thumbnail(images[0]).size) for images in rows) * scale + 8
    count = len(rows[0])
    lines = math.ceil(count / columns)
    gap = 10 if len(rows) > 1 else 0
    height = lines * (cell * len(rows) + gap)
    canvas = Image.new("RGBA", (min(count, columns) * cell, height))
    for depth, images in enumerate(rows):
        for place, image in enumerate(images):
            line, column = divmod(place, columns)
            small = thumbnail(image)
            size = (small.width * scale, small.height * scale)
            large = small.resize(size, Image.Resampling.NEAREST)
            canvas.paste(large, (column * cell, line * (cell * len(rows) + gap) + depth * cell))
    return _png(canvas)


def matrix_picture(matrix: Tensor, scale: int = 8) -> bytes:
    """Counts (K, K), true by predicted, as a PNG: right blue, wrong orange, none transparent."""
    share = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    right = torch.eye(len(matrix), dtype=torch.bool)
    # The root lets a few mistakes be seen beside many hits.
    opacity = torch.where(right, share, (share / share[~right].max().clamp(min=1e-9))).sqrt()
    pixels = np.empty((*matrix.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(right[..., None], _rgb("test"), _rgb("train"))
    pixels[..., 3] = (255 * opacity).round().to(torch.uint8).numpy()
    size = (len(matrix) * scale,) * 2
    return _png(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))


def _rgb(name: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[name][1:]))


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
