"""Comparisons of runs: groups by recipe, spread over seeds, tests of the differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from residua.data import Split
from residua.errors import UserError
from residua.reports.comparison import tables
from residua.reports.comparison.curves import group_charts
from residua.reports.comparison.differences import difference_sections
from residua.reports.comparison.groups import Group, group_runs
from residua.reports.comparison.predictions import ImageComparison, image_comparisons
from residua.reports.comparison.significance import tests_table, verdicts
from residua.reports.kit import document as doc
from residua.reports.kit.html import write_html
from residua.reports.kit.images import ImageFile
from residua.reports.kit.markdown import write_markdown
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData
from residua.reports.run_report.curves import NO_EPOCH
from residua.runs.run import Run

__all__ = ["Comparison", "compare_runs", "write_comparison"]


@dataclass(frozen=True)
class Comparison:
    """The comparison of groups of runs; tables may be without rows."""

    groups: list[Group]
    verdicts: list[str]
    """A sentence on each pair of groups."""
    results: Table
    """Accuracies and speed of each group."""
    tests: Table
    fit: Table
    """Training accuracy and loss of each group."""
    differences: Table
    """The fields in which the recipes differ."""
    runs: Table
    charts: list[ImageFile]
    notes: list[str]
    images: list[ImageComparison]
    """Pairs of networks on the same test images."""
    image_notes: list[str]


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare runs, finished or not.

    Raises:
        UserError: files of a run are damaged.
    """
    groups = group_runs([RunData.read(run) for run in runs])
    images, image_notes = image_comparisons(groups)
    return Comparison(
        groups=groups,
        verdicts=verdicts(groups),
        results=tables.results_table(groups),
        tests=tests_table(groups),
        fit=tables.fit_table(groups),
        differences=tables.differences_table(groups),
        runs=tables.runs_table(groups),
        charts=group_charts(groups),
        notes=_notes(groups),
        images=images,
        image_notes=image_notes,
    )


def write_comparison(comparison: Comparison, directory: Path, test: Split | None = None) -> Path:
    """Write compare.md with its figures, and compare.html, which needs no other file.

    Args:
        comparison: what to write.
        directory: where to write; it is created where it is missing.
        test: the test set, for pictures of the images that two networks classify differently;
            None for no pictures.

    Returns:
        The path of the HTML page.

    Raises:
        UserError: the directory is a run's, or cannot be written.
    """
    if (directory / "recipe.json").exists():
        raise UserError(f"{directory} is a run: choose another --output")
    document, page = _document(comparison, test), directory / "compare.html"
    try:
        write_markdown(document, directory / "compare.md")
        write_html(document, page)
    except OSError as error:
        raise UserError(f"cannot write {directory}: {error.strerror}") from None
    return page


def _document(comparison: Comparison, test: Split | None) -> doc.Document:
    results: list[doc.Block] = [
        comparison.results,
        doc.Caption("Mean ± sample standard deviation over n finished runs with different seeds."),
        *([comparison.tests] if comparison.tests.rows else []),
        doc.Heading("Fit to the training set in the last epoch"),
        comparison.fit,
    ]
    band = "Lines are means over a recipe's runs, bands are ± one sample standard deviation."
    curves: list[doc.Block] = [NO_EPOCH]
    if comparison.charts:
        curves = [doc.Figures(comparison.charts), doc.Caption(band)]
    sections = [
        doc.Section("Results", results),
        *difference_sections(comparison.images, test, comparison.image_notes),
        doc.Section("Curves", curves),
    ]
    if comparison.differences.rows:
        sections.append(doc.Section("Differences between the recipes", [comparison.differences]))
    notes = doc.Bullets(comparison.notes, remarks=True)
    sections.append(doc.Section("Runs", [comparison.runs, notes]))
    return doc.Document(
        title=" · ".join(group.label for group in comparison.groups),
        subtitle="Comparison of runs",
        intro=[doc.Bullets(comparison.verdicts)] if comparison.verdicts else [],
        sections=sections,
        footer="Written by residua from the files of the runs.",
    )


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = ["Runs form a group where their recipes differ only in name and seed."]
    for group in groups:
        unfinished = len(group.runs) - len(group.finished)
        if unfinished:
            notes.append(
                f"{group.label}: {unfinished} of {len(group.runs)} runs are unfinished; they are "
                "in the curves, not in the results."
            )
        if group.repeated:
            seeds = ", ".join(str(run.recipe.seed) for run in group.repeated)
            notes.append(
                f"{group.label}: {len(group.repeated)} further runs with seeds that the group "
                f"already has (seed {seeds}) are left out: they are no independent evidence."
            )
    open_runs = sum(run.test_is_open for group in groups for run in group.runs)
    if open_runs:
        notes.append(
            f"{open_runs} finished runs were not evaluated on the test set (`residua evaluate RUN` "
            f"does that on purpose): the figures here are of the {tables.compared_split(groups)} "
            "set."
        )
    if len({group.test_set for group in groups} - {""}) > 1:
        notes.append(
            "The runs have different test sets: their accuracies are of different images and are "
            "not compared."
        )
    if any(group.recipe.tta != "none" for group in groups):
        notes.append(
            "Some evaluations use test-time augmentation: see the field tta of the recipes."
        )
    notes.append(
        "Accuracies of best epochs that were selected on the test set are optimistic; compare last "
        "epochs first. Tests are Welch's, over seeds, two-sided, with Holm's correction for the "
        "number of pairs."
    )
    return notes
