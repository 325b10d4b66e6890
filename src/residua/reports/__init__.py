"""Reports: what a run was, how it went and what came of it, as Markdown and as one HTML page."""

from collections.abc import Sequence
from pathlib import Path

from residua.files import write_atomic
from residua.reports.against import chosen
from residua.reports.content import content
from residua.reports.picture import Picture
from residua.reports.seeds import siblings
from residua.reports.templates import HTML, MARKDOWN
from residua.reports.training_log import training_log
from residua.runs.run import Run

__all__ = ["keep_pictures", "write_report"]

FIGURES = "figures"


def write_report(
    run: Run,
    against: str | None = None,
    others: Sequence[Run] = (),
    refresh: int | None = None,
) -> Path:
    """Write a run's report: report.md and training-log.md with their figures, and report.html.

    Only runs are read, and they may be unfinished: the report says what is missing. The HTML page
    needs no other file.

    Args:
        run: the run.
        against: the published system to hold it against, one of `published.names()`; left out:
            the system that its recipe is named after, if there is one.
        others: further runs; those of the same recipe with other seeds tell the seed spread.
        refresh: seconds after which an open page reads its file again; None for never.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: files of the run are damaged, or nothing is published under that name.
    """
    said = content(run, chosen(run, against), siblings(run, others))
    keep_pictures(said.pictures, run.report / FIGURES)
    markdown = MARKDOWN.get_template("report.md.jinja")
    write_atomic(run.report / "report.md", markdown.render(report=said, figures=FIGURES))
    log = MARKDOWN.get_template("training-log.md.jinja")
    text = log.render(report=said, log=training_log(run, said), figures=FIGURES)
    write_atomic(run.report / "training-log.md", text)
    page = HTML.get_template("report.html.jinja")
    write_atomic(run.report / "report.html", page.render(report=said, refresh=refresh))
    return run.report / "report.html"


def keep_pictures(pictures: Sequence[Picture], directory: Path) -> None:
    """Write pictures into a directory, each one whole or not there."""
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        write_atomic(directory / picture.name, picture.content)
