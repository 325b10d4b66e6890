"""`residua train` and `residua resume`."""

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from residua.cli.app import Overrides, app

if TYPE_CHECKING:
    from residua.training.events import Event
    from residua.training.loop import StopCondition

UntilEpoch = Annotated[int | None, Parameter(name="--until-epoch")]
# torchrun takes abbreviations of its own options even after the program's name: no option here
# may be one (`--run` was: it abbreviates `--run-path`).


@app.command
def train(
    recipe: str,
    /,
    *overrides: Overrides,
    directory: Annotated[Path | None, Parameter(name="--dir")] = None,
    until_epoch: UntilEpoch = None,
) -> None:
    """Train a network by a recipe.

    Every field of the recipe can be overridden by its dotted path; `residua recipes NAME` shows
    all fields.

    For example:

        residua train quickstart

        residua train resnet44 --dir runs/mine --epochs 10 --optimizer.lr 0.05

        residua train my-recipe.yaml --data.limit 2000 --device cuda

    report/report.html in the run's directory can be opened during the training: it is updated
    after epochs, and the open page reloads itself.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a TOML, YAML or JSON file.
    directory
        The directory to create for the run; left out: runs/NAME-DATE-TIME.
    until_epoch
        Save and stop after this epoch; `residua resume` continues.
    """
    from datetime import datetime

    from residua.recipes.loading import resolve
    from residua.training import loop

    resolved = resolve(recipe, overrides)
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = directory or Path("runs") / f"{resolved.name}-{now}"
    _run(lambda should_stop: loop.train(resolved, path, should_stop), path, until_epoch)


@app.command
def resume(run: Path, /, *, until_epoch: UntilEpoch = None) -> None:
    """Continue a stopped or killed training exactly where it was saved.

    Parameters
    ----------
    run
        The directory of the run.
    until_epoch
        Save and stop after this epoch.
    """
    from residua.runs.run import Run
    from residua.training import loop

    if Run.open(run).result is not None:
        print(f"{run} is finished. `residua report {run}` writes its report again.")
        return
    _run(lambda should_stop: loop.resume(run, should_stop), run, until_epoch)


def _run(
    start: Callable[["StopCondition"], Iterator["Event"]], path: Path, until_epoch: int | None
) -> None:
    """Show a training until it ends, then its figures; the last line is the report's path."""
    from residua.cli.console import console, show, show_result, stop_requests
    from residua.cli.live_report import LiveReport
    from residua.reports import write_report
    from residua.runs.run import Run
    from residua.training.events import Finished

    last_epoch = until_epoch or math.inf
    with stop_requests() as signals:
        events = start(lambda progress: bool(signals) or progress.epoch >= last_epoch)
        end = show(events, LiveReport())
    if isinstance(end, Finished):
        show_result(end.result)
    else:
        console.print(f"Saved after step {end.step:,}. To continue: residua resume {path}")
    print(write_report(Run.open(path)))
    if signals and signals[0] == "SIGINT":
        sys.exit(130)
