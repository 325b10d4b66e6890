"""Reports: what a run was, how it went and what came of it, as Markdown and as one HTML page."""

from pathlib import Path

from residua.report.content import content
from residua.report.picture import Picture
from residua.report.templates import HTML, MARKDOWN
from residua.run import Run, write

__all__ = ["write_report"]

FIGURES = "figures"


def write_report(run: Run) -> Path:
    """Write report/report.md with its figures, and report/report.html, which needs no other file.

    Only the run is read, and it may be unfinished: the report says what is missing.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: files of the run are damaged.
    """
    said = content(run)
    (run.report / FIGURES).mkdir(parents=True, exist_ok=True)
    for picture in said.pictures:
        _keep(picture, run.report / FIGURES / picture.name)
    markdown = MARKDOWN.get_template("report.md.jinja")
    write(run.report / "report.md", markdown.render(report=said, figures=FIGURES))
    page = HTML.get_template("report.html.jinja")
    write(run.report / "report.html", page.render(report=said))
    return run.report / "report.html"


def _keep(picture: Picture, path: Path) -> None:
    """Write a picture that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(picture.content)
    partial.replace(path)
