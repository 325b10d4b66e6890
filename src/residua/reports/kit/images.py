"""Image files of reports, and the small images of data sets in them."""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image
from torch import Tensor

COLORS = {
    "ink": "#69707d",
    "rule": "#c9cdd4",
    "train": "#d55e00",
    "test": "#0072b2",
    "target": "#00876a",
    "violet": "#b0579a",
    "amber": "#b37f00",
    "sky": "#3a94c8",
}
"""Colours from the palette of Okabe and Ito, for colour-blind readers, on white and on black.

style.css has one for light and one for dark pages under each of these names.
"""
MAX_SIDE = 96
"""Side in pixels to which larger images are reduced."""


@dataclass(frozen=True)
class ImageFile:
    """An image file: *.svg, *.png or *.webp."""

    name: str
    alt: str
    """What it shows, for readers who do not see it."""
    content: bytes

    @property
    def inline(self) -> Markup:
        """The image as HTML that refers to no file."""
        if self.name.endswith(".svg"):
            return _inline_svg(self.content.decode(), self.alt)
        uri = data_uri(self.content, self.name.rpartition(".")[2])
        return Markup('<img alt="{}" src="{}">').format(self.alt, uri)


@dataclass(frozen=True)
class Animation(ImageFile):
    """An animated WebP file."""

    still: bytes
    """Its last frame, a WebP file for readers who asked for reduced motion."""

    @property
    def inline(self) -> Markup:
        """The animation as HTML that refers to no file."""
        return Markup(
            '<picture><source media="(prefers-reduced-motion: reduce)" srcset="{}">{}</picture>'
        ).format(data_uri(self.still, "webp"), super().inline)


def data_uri(content: bytes, kind: str = "png") -> str:
    """An image file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def image_uri(image: Tensor) -> str:
    """(3, H, W) uint8 as the data URI of a PNG."""
    return data_uri(png(_thumbnail(image)))


def contact_sheet(rows: Sequence[Tensor], columns: int = 8) -> bytes:
    """Images side by side as a PNG, enlarged.

    Args:
        rows: (M, 3, H, W) uint8 each; the i-th images of all rows are shown below one another.
        columns: images a line.
    """
    scale = max(1, MAX_SIDE // max(rows[0].shape[-2:]))
    cell = max(max(_thumbnail(images[0]).size) for images in rows) * scale + 8
    count = len(rows[0])
    line_height = cell * len(rows) + (10 if len(rows) > 1 else 0)
    size = (min(count, columns) * cell, math.ceil(count / columns) * line_height)
    canvas = Image.new("RGBA", size)
    for row, images in enumerate(rows):
        for index, image in enumerate(images):
            line, column = divmod(index, columns)
            small = _thumbnail(image)
            large = small.resize(
                (small.width * scale, small.height * scale), Image.Resampling.NEAREST
            )
            canvas.paste(large, (column * cell, line * line_height + row * cell))
    return png(canvas)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _thumbnail(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 as an image with sides of at most MAX_SIDE."""
    small = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    return small


def _inline_svg(svg: str, alt: str) -> Markup:
    """An SVG file as an element whose size and colours are the page's."""
    opening, _, content = svg[svg.index("<svg") :].partition(">")
    view_box = re.findall(r'viewBox="([\d. -]+)"', opening)[0]
    for name, color in COLORS.items():
        content = content.replace(color, f"var(--{name})")
    width = float(view_box.split()[2])
    start = Markup('<svg viewBox="{}" style="--width: {:.0f}px" role="img" aria-label="{}">')
    return start.format(view_box, width, alt) + Markup(content)
