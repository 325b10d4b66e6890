"""The templates beside this module, and how each kind escapes what comes from a run."""

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from residua.reports.words import count, percent

SPECIAL = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>\\`*[]|$"} | {"\n": " "})
"""What Markdown would take for markup, as HTML entities."""


def _environment(packages: Sequence[str], **options: Any) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ".") for package in packages]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= {"percent": percent, "thousands": count, "breaking": _breaking}
    return environment


def html_environment(*packages: str) -> Environment:
    """Templates of HTML beside the modules of these packages, the first one's first."""
    return _environment(packages)


def markdown_environment(*packages: str) -> Environment:
    """Templates of Markdown beside the modules of these packages, the first one's first."""
    return _environment(packages, finalize=_for_markdown)


def _breaking(name: str) -> Markup:
    """A name that may be broken after its dots and underscores."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))


def _for_markdown(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return Markup(value.translate(SPECIAL))
    return value


HTML = html_environment("residua.reports")
MARKDOWN = markdown_environment("residua.reports")


def matrix_drawing(matrix: Tensor, names: Sequence[str], alt: str) -> str:
    """Counts (K, K), true by predicted, as an SVG file with its classes' names."""
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).tolist()
    short = [name if len(name) <= 18 else f"{name[:17]}…" for name in names]
    template = HTML.get_template("matrix.svg.jinja")
    return template.render(counts=matrix.tolist(), shares=shares, names=short, alt=alt)
