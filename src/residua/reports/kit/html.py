"""Documents as HTML pages that refer to no other file."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from residua.files import write_atomic
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import without_controls


def write_html(document: doc.Document, path: Path, refresh: int | None = None) -> None:
    """Write a document as one page.

    Args:
        document: what to write.
        path: of the file.
        refresh: seconds after which an open page is loaded again; None for never.

    Raises:
        OSError: the file cannot be written.
    """
    page = TEMPLATES.get_template("page.html.jinja")
    write_atomic(path, without_controls(page.render(document=document, refresh=refresh)))


def _render_block(block: doc.Block) -> Markup:
    """HTML of a block, by the macro that is named after its class."""
    name = "paragraph" if isinstance(block, str) else type(block).__name__.lower()
    macros: Any = TEMPLATES.get_template("blocks.html.jinja").module
    return Markup(getattr(macros, name)(block))


def _breakable(name: str) -> Markup:
    """A name that may be broken after its dots and underscores."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))


def _anchor(section: doc.Section) -> str:
    return re.sub(r"\W+", "-", (section.label or section.title).lower())


TEMPLATES = Environment(
    loader=PackageLoader("residua.reports.kit", "."),
    undefined=StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"block": _render_block, "breakable": _breakable, "anchor": _anchor}
