"""`residua report` and `residua compare`."""

from pathlib import Path

from residua.cli.app import app
from residua.cli.output import printable


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
def compare(run: Path, /, *more: Path, output: Path = Path("runs/compare")) -> None:
    """Compare runs: recipes side by side, spread over seeds, tests of the differences.

    Parameters
    ----------
    run
        The directory of a run.
    more
        Further runs; runs that differ only in seed and name count as one recipe.
    output
        The directory for compare.md and compare.html.
    """
    from residua.cli.console import console
    from residua.reports.comparison import compare_runs, write_comparison
    from residua.reports.kit.tables import terminal_table
    from residua.runs.run import Run

    comparison = compare_runs([Run.open(path) for path in (run, *more)])
    page = write_comparison(comparison, output)
    console.print(terminal_table(comparison.results))
    for verdict in comparison.verdicts:
        console.print(printable(verdict), markup=False)
    print(printable(str(page)))
