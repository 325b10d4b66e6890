"""`residua runs` and `residua watch`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from residua.cli.app import app
from residua.cli.output import printable

if TYPE_CHECKING:
    from residua.reports.kit.tables import Table
    from residua.runs.listing import RunSummary

Interval = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3600))]


@app.command
def runs(
    directory: Path = Path("runs"),
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """List the runs of a directory: recipe, state, epoch, accuracies, age.

    The accuracies are those of the split that epochs are selected on.

    For example:

        residua runs

        residua runs records --json

    Parameters
    ----------
    directory
        Where to search for runs; left out: runs.
    as_json
        Print a JSON list instead of a table.
    """
    from residua.cli.console import console
    from residua.errors import UserError
    from residua.reports.kit.tables import terminal_table
    from residua.runs.listing import find_runs, summarize_run

    summaries = [summarize_run(path) for path in find_runs(directory)]
    if as_json:
        print(json.dumps([summary.model_dump(mode="json") for summary in summaries], indent=2))
        return
    if not summaries:
        raise UserError(f"there is no run in {directory}: `residua train quickstart` makes one")
    console.print(terminal_table(_table(summaries, directory)))
    for summary in summaries:
        if summary.error:
            console.print(f"damaged: {printable(summary.error)}", markup=False)


def _table(summaries: "list[RunSummary]", directory: Path) -> "Table":
    from residua.reports.kit.tables import Table

    def accuracy(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    rows = []
    for summary in summaries:
        path = Path(summary.path)
        rows.append(
            (
                str(path.relative_to(directory) if path != directory else path),
                summary.recipe,
                summary.state,
                f"{summary.epoch}/{summary.epochs}" if summary.epochs else "–",
                accuracy(summary.last_accuracy),
                accuracy(summary.best_accuracy),
                _format_age(summary.age),
            )
        )
    columns = ("run", "recipe", "state", "epoch", "last, %", "best, %", "age")
    return Table(columns, rows, text_columns=3)


def _format_age(seconds: float) -> str:
    """Seconds in the largest unit that is reached."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@app.command
def watch(
    *run: Path,
    every: Interval = 2.0,
    once: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show runs that are training elsewhere: progress, speed, time left, curves, warnings.

    It reads the runs' files only, so it also works over ssh and for runs on a shared drive. It
    ends when all runs have ended, or with Ctrl-C; the trainings continue.

    For example:

        residua watch runs/first runs/second

        residua watch

    Parameters
    ----------
    run
        Directories of runs; left out: all unfinished ones in runs.
    every
        Seconds between updates.
    once
        Print the present state once; so it is where the output is not a terminal.
    """
    from residua.cli.console import console
    from residua.cli.watch_view import follow, view
    from residua.errors import UserError
    from residua.runs.listing import find_runs
    from residua.runs.run import Run

    opened = [Run.open(path) for path in run or find_runs(Path("runs"))]
    if not run:
        opened = [each for each in opened if each.state != "finished"]
    if not opened:
        raise UserError("there is no unfinished run in runs: name the runs to watch")
    if once or not console.is_terminal:
        console.print(view(opened, console.width))
    else:
        follow(opened, every)
