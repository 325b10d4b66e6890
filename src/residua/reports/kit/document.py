"""A document as a list of blocks, without any markup.

A `str` among the blocks is a paragraph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from residua.reports.kit.images import ImageFile, Picture
from residua.reports.kit.tables import Table

Tone = Literal["", "good", "bad", "neutral"]


@dataclass(frozen=True)
class Strong:
    """Emphasised text."""

    text: str
    tone: Tone = ""


class Text:
    """A paragraph or a list item of which parts are emphasised."""

    def __init__(self, *parts: str | Strong) -> None:
        self.parts = parts


@dataclass(frozen=True)
class Caption:
    """A paragraph that explains the block before it."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str | Text]
    remarks: bool = False
    """Whether the items are of minor importance."""


@dataclass(frozen=True)
class Metric:
    """One important figure."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Metrics:
    """The important figures, shown as cards."""

    metrics: Sequence[Metric]


@dataclass(frozen=True)
class Code:
    """Text as typed: a command or a file."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Figures:
    """Charts side by side, or a single wide image."""

    images: Sequence[ImageFile]
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Small images, each with its captions; Markdown shows them in one file."""

    columns: Sequence[str]
    """What each of an image's captions is."""
    tiles: Sequence["Tile"]
    sheet: ImageFile | None = None
    """The images in one file; None for documents that are not written as Markdown."""
    large: bool = False
    """Whether the images are shown larger."""


@dataclass(frozen=True)
class Tile:
    """Images of a gallery that belong together."""

    pictures: Sequence[Picture]
    captions: Sequence[str]


@dataclass(frozen=True)
class Columns:
    """Lists of blocks side by side, as many as fit."""

    columns: Sequence[Sequence["Block"]]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away."""

    summary: str
    blocks: Sequence["Block"]


Block: TypeAlias = (
    str | Text | Caption | Heading | Bullets | Table | Metrics | Code | Figures
    | Gallery | Columns | Details
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: Sequence[Block]
    label: str = ""
    """What the navigation calls it; empty for its title."""
    folded: bool = False
    """Whether a page shows its heading only, until it is opened or its link is followed."""


@dataclass(frozen=True)
class Document:
    """A page."""

    title: str
    subtitle: str
    intro: Sequence[Block]
    sections: Sequence[Section]
    footer: str = ""
