"""Documents as Markdown, with their images in files beside them."""

import re
from collections.abc import Sequence
from pathlib import Path

from residua.files import write_atomic
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import without_controls
from residua.reports.kit.images import ImageFile
from residua.reports.kit.tables import Table, escape_markdown, markdown_table

IMAGE_DIR = "figures"


def write_markdown(document: doc.Document, path: Path) -> None:
    """Write a document, and its images into figures/ beside it; each file atomically.

    Raises:
        OSError: a file cannot be written.
    """
    images: list[ImageFile] = []
    blocks = [f"# {escape_markdown(document.title)}", *_render(document.intro, images)]
    for section in document.sections:
        blocks += [f"## {escape_markdown(section.title)}", *_render(section.blocks, images)]
    image_dir = path.parent / IMAGE_DIR
    image_dir.mkdir(parents=True, exist_ok=True)
    for image in images:
        write_atomic(image_dir / image.name, image.content)
    write_atomic(path, without_controls("\n\n".join(filter(None, blocks)) + "\n"))


def _render(blocks: Sequence[doc.Block], images: list[ImageFile]) -> list[str]:
    """Markdown of each block; adds the images that it links to."""
    return [_render_block(block, images) for block in blocks]


def _render_block(block: doc.Block, images: list[ImageFile]) -> str:  # noqa: PLR0911
    match block:
        case str() | doc.Text() | doc.Caption():
            return _inline(block.text if isinstance(block, doc.Caption) else block)
        case doc.Heading():
            return f"### {escape_markdown(block.text)}"
        case doc.Bullets():
            return "\n".join(f"- {_inline(item)}" for item in block.items)
        case Table():
            return markdown_table(block)
        case doc.Metrics():
            metrics = [(metric.label, metric.value, metric.note) for metric in block.metrics]
            return markdown_table(Table(("Figure", "Value", ""), metrics, 3))
        case doc.Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return f"{fence}{block.language}\n{block.text}\n{fence}"
        case doc.Figures():
            return "\n\n".join(_image(image, images) for image in block.images)
        case doc.Gallery():
            rows = [(str(i), *tile.captions) for i, tile in enumerate(block.tiles, 1)]
            table = markdown_table(Table(("", *block.columns), rows, 1 + len(block.columns)))
            if block.sheet is None:
                return table
            order = "From left to right and from top to bottom:"
            return "\n\n".join((_image(block.sheet, images), order, table))
        case doc.Columns():
            return "\n\n".join(
                _render([inner for column in block.columns for inner in column], images)
            )
        case doc.Details():
            inner = "\n\n".join(_render(block.blocks, images))
            summary = f"<summary>{escape_markdown(block.summary)}</summary>"
            return f"<details>\n{summary}\n\n{inner}\n\n</details>"


def _inline(text: str | doc.Text) -> str:
    if isinstance(text, str):
        return escape_markdown(text)
    return "".join(
        escape_markdown(part) if isinstance(part, str) else f"**{escape_markdown(part.text)}**"
        for part in text.parts
    )


def _image(image: ImageFile, images: list[ImageFile]) -> str:
    images.append(image)
    return f"![{escape_markdown(image.alt)}]({IMAGE_DIR}/{image.name})"
