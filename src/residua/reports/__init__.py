"""Reports on runs, as Markdown and as HTML pages.

run_data.py reads a run. run_report/ describes one run, training_log.py prints it in the form of the
published documents, published/ compares it with them, and comparison/ compares runs. Each makes a
document from the blocks of kit/, which writes it.

Only the files of runs are read, never their data sets.
"""

from collections.abc import Sequence
from pathlib import Path

from residua.reports.kit.html import write_html
from residua.reports.kit.markdown import write_markdown
from residua.reports.published.comparison import find_reference, published_section
from residua.reports.run_data import RunData, replicates_of
from residua.reports.run_report.contents import Contents
from residua.reports.run_report.report import report_document
from residua.reports.training_log import training_log_document
from residua.runs.run import Run

__all__ = ["write_report"]


def write_report(
    run: Run,
    reference: str | None = None,
    replicates: Sequence[Run] = (),
    refresh: int | None = None,
) -> Path:
    """Write a run's report.md and training-log.md with their figures, and report.html.

    The run may be unfinished: the report says what is missing. The HTML page needs no other file.

    Args:
        run: the run.
        reference: the published system to compare with, one of `published.names()`; None for the
            system that the recipe is named after, if there is one.
        replicates: further runs; those with the same recipe and another seed tell the spread over
            seeds, the others are ignored.
        refresh: seconds after which an open page is loaded again; None for never.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: files of the run are damaged, or there is no published system of that name.
        OSError: a file cannot be written.
    """
    contents = Contents.gather(run)
    published = find_reference(contents.run.recipe, reference)
    section = None
    if published is not None:
        seeds = replicates_of(contents.run, map(RunData.read, replicates))
        section = published_section(contents.run, published, seeds)
    document = report_document(contents, section)
    write_markdown(document, run.report_dir / "report.md")
    write_markdown(training_log_document(contents), run.report_dir / "training-log.md")
    page = run.report_dir / "report.html"
    write_html(document, page, refresh)
    return page
