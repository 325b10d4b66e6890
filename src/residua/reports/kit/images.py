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
"""Colours from the palette of Okabe and Ito, for colour-blind readers, on white.

style.css has one for light and one for dark pages under each of these names.
"""
DARK_COLORS = {
    "ink": "#9aa2af",
    "rule": "#30353e",
    "train": "#f0904a",
    "test": "#5cb3ea",
    "target": "#35c39c",
    "violet": "#d98bc6",
    "amber": "#e0ad3a",
    "sky": "#8fd0f5",
}
"""The same on dark pages, for images that style.css cannot recolour."""
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
    """An animated WebP file, which is played once."""

    still: bytes
    """Its last frame, a WebP file for readers who asked for reduced motion."""
    dark: bytes
    """The animation for dark pages."""
    dark_still: bytes

    @property
    def inline(self) -> Markup:
        """The animation as HTML that refers to no file."""
        dark, still = "screen and (prefers-color-scheme: dark)", "(prefers-reduced-motion: reduce)"
        sources = {
            f"{dark} and {still}": self.dark_still,
            still: self.still,
            "print": self.still,
            dark: self.dark,
        }
        tags = [
            Markup('<source media="{}" srcset="{}">').format(media, data_uri(content, "webp"))
            for media, content in sources.items()
        ]
        # Loaded when it is seen, so that it starts then.
        uri = data_uri(self.content, "webp")
        image = Markup('<img loading="lazy" alt="{}" src="{}">').format(self.alt, uri)
        return Markup("<picture>{}{}</picture>").format(Markup("").join(tags), image)


@dataclass(frozen=True)
class Picture:
    """A small image inside a page."""

    uri: str
    """A data URI."""
    alt: str
    """What it shows, for readers who do not see it."""


def data_uri(content: bytes, kind: str = "png") -> str:
    """An image file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture(image: Tensor, alt: str, max_side: int = MAX_SIDE) -> Picture:
    """(C, H, W) uint8 as a PNG, reduced to sides of at most `max_side` pixels."""
    return Picture(data_uri(png(_thumbnail(image, max_side))), alt)


def mosaic_file(name: str, alt: str, mosaic: Tensor, scale: int) -> ImageFile:
    """A mosaic (H, W, 4) float32 in [0, 1] as a PNG file, enlarged by a whole factor."""
    pixels = (255 * mosaic).round().byte().repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    return ImageFile(name, alt, png(Image.fromarray(pixels.contiguous().numpy())))


def contact_sheet(rows: Sequence[Tensor], columns: int = 8) -> bytes:
    """Images side by side as a PNG, enlarged.

    Args:
        rows: (M, C, H, W) uint8 each; the i-th images of all rows are shown below one another.
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


def _thumbnail(image: Tensor, max_side: int = MAX_SIDE) -> Image.Image:
    """(C, H, W) uint8 as an image with sides of at most `max_side`."""
    rgb = image.expand(3, -1, -1)  # Grey images have one channel.
    small = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
    small.thumbnail((max_side, max_side))
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
