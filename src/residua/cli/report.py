"""`residua report` and `residua compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

from residua.cli.app import app
from residua.cli.output import printable
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.data import Split
    from residua.runs.run import Run


@app.command
def report(run: Path, /, *more: Path, reference: str | None = None) -> None:
    """Write the report of a finished or running training, and print its path.

    Parameters
    ----------
    run
        The directory of the run.
    more
        Further runs, reported too; runs of one recipe with other seeds give the seed spread.
    reference
        The published system to compare with (resnet44, resnet44v2_run1 ...); left out: the
        system that the recipe is named after.
    """
    from residua.reports import write_report
    from residua.runs.run import Run

    runs = [Run.open(path) for path in (run, *more)]
    for each in runs:
        print(printable(str(write_report(each, reference, runs))))


@app.command
def compare(
    run: Path, /, *more: Path, output: Path = Path("runs/compare"), pictures: bool = True
) -> None:
    """Compare runs: recipes side by side, spread over seeds, where two networks differ.

    Of two runs, or of the first runs of each recipe, it says which classes and which test images
    only one of them classifies correctly.

    Parameters
    ----------
    run
        The directory of a run.
    more
        Further runs; runs that differ only in seed and name count as one recipe.
    output
        The directory for compare.md and compare.html.
    pictures
        Whether to show images that only one of two networks classifies correctly, which needs the
        data set.
    """
    from residua.cli.console import console
    from residua.reports.comparison import compare_runs, write_comparison
    from residua.reports.comparison.differences import image_verdict
    from residua.reports.kit.tables import terminal_table
    from residua.runs.run import Run

    runs = [Run.open(path) for path in (run, *more)]
    comparison = compare_runs(runs)
    test, missing = None, ""
    if pictures and comparison.images:
        test, missing = _test_set(runs[0])
    page = write_comparison(comparison, output, test)
    console.print(terminal_table(comparison.results))
    for verdict in comparison.verdicts:
        console.print(printable(verdict), markup=False)
    for pair in comparison.images:
        console.print(printable(image_verdict(pair)), markup=False)
    for note in comparison.image_notes:
        console.print(printable(note), markup=False)
    if missing:
        console.print(printable(f"No pictures: {missing}"), markup=False)
    print(printable(str(page)))


def _test_set(run: "Run") -> "tuple[Split | None, str]":
    """The test set of a run, or the reason why it is not at hand."""
    split = run.data.splits.get("test")
    try:
        test = run.recipe.data.load(run.recipe.seed).test
    except UserError as error:
        return None, str(error)
    if split is None or test.checksum != split.sha256:
        return None, "the test set is not the one that the run was evaluated on"
    return test, ""
