"""Comparing one's own runs: groups by recipe, spread over seeds, tests of the differences."""

from pathlib import Path

from residua.errors import UserError
from residua.files import write_atomic
from residua.reports import keep_pictures
from residua.reports.comparison.content import Comparison, comparison
from residua.reports.templates import html_environment, markdown_environment

__all__ = ["Comparison", "comparison", "write_comparison"]

FIGURES = "figures"
HTML = html_environment("residua.reports.comparison", "residua.reports")
MARKDOWN = markdown_environment("residua.reports.comparison", "residua.reports")


def write_comparison(said: Comparison, directory: Path) -> Path:
    """Write compare.md with its figures, and compare.html, which needs no other file.

    Args:
        said: the comparison.
        directory: where to write; it is made if it is missing.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: the directory is a run's, or cannot be written.
    """
    if (directory / "recipe.json").exists():
        raise UserError(f"{directory} holds a run: choose another --output")
    try:
        keep_pictures(said.charts, directory / FIGURES)
        text = MARKDOWN.get_template("compare.md.jinja").render(said=said, figures=FIGURES)
        write_atomic(directory / "compare.md", text)
        page = HTML.get_template("compare.html.jinja").render(said=said)
        write_atomic(directory / "compare.html", page)
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror}") from None
    return directory / "compare.html"
