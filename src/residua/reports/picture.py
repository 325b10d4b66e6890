"""A picture of the report: a file beside the Markdown, and part of the HTML."""

import base64
import re
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = {
    "ink": "#69707d",
    "rule": "#c9cdd4",
    "train": "#d55e00",
    "test": "#0072b2",
    "target": "#00876a",
    "violet": "#b0579a",
    "amber": "#b37f00",
    "sky": "#3a94c8",
}
"""Colours of the charts, from the palette of Okabe and Ito, which the colour-blind can tell apart.

They are readable on white and on black; the page has finer ones for each, under the same names.
"""


@dataclass(frozen=True)
class Picture:
    """An image file."""

    name: str
    """Of the file: *.svg, *.png or *.webp."""
    alt: str
    """What it shows, for those who do not see it."""
    content: bytes

    @property
    def inline(self) -> Markup:
        """The picture as HTML that needs no file."""
        if self.name.endswith(".svg"):
            return _inlined(self.content.decode(), self.alt)
        return Markup('<img alt="{}" src="{}">').format(self.alt, self._address(self.content))

    def _address(self, content: bytes) -> str:
        return data_uri(content, self.name.rpartition(".")[2])


@dataclass(frozen=True)
class Film(Picture):
    """An animation."""

    still: bytes
    """Its last picture alone, for those who want nothing to move."""

    @property
    def inline(self) -> Markup:
        """The film as HTML that needs no file."""
        return Markup(
            '<picture><source media="(prefers-reduced-motion: reduce)" srcset="{}">{}</picture>'
        ).format(self._address(self.still), super().inline)


def data_uri(content: bytes, kind: str = "png") -> str:
    """An image file as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _inlined(svg: str, alt: str) -> Markup:
    """An SVG file as an element that takes its size and its colours from the page."""
    opening, rest = re.match(r".*?(<svg[^>]*>)(.*)", svg, re.DOTALL).groups()  # type: ignore[union-attr]
    box = re.search(r'viewBox="([\d. -]+)"', opening).group(1)  # type: ignore[union-attr]
    for name, colour in COLOURS.items():
        rest = rest.replace(colour, f"var(--{name})")
    width = float(box.split()[2])
    start = Markup('<svg viewBox="{}" style="--width: {:.0f}px" role="img" aria-label="{}">')
    start = start.format(box, width, alt)
    return start + Markup(rest)
