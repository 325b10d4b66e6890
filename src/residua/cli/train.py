"""`residua train` and `residua resume`."""

import math
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from residua.cli.app import Overrides, WholeNumber, app
from residua.cli.output import printable
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.recipes.recipe import Recipe
    from residua.schedules import TrainingProgress
    from residua.training.events import Event, Observer
    from residua.training.loop import StopCondition

UntilEpoch = Annotated[
    WholeNumber | None, Parameter(name="--until-epoch", validator=validators.Number(gte=1))
]
# torchrun takes abbreviations of its own options even after the program's name: no option here
# may be one (`--run` was: it abbreviates `--run-path`).


@app.command
def train(
    recipe: str,
    /,
    *overrides: Overrides,
    directory: Annotated[Path | None, Parameter(name="--dir")] = None,
    until_epoch: UntilEpoch = None,
    minutes: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lt=1e7))] = None,
) -> None:
    """Train a network by a recipe.

    Every field of the recipe can be overridden by its dotted path; `residua recipes NAME` shows
    all fields.

    For example:

        residua train quickstart

        residua train resnet44 --dir runs/mine --epochs 10 --optimizer.lr 0.05

        residua train my-recipe.yaml --data.limit 2000 --device cuda

        residua train pocket --minutes 5

        residua train pocket --init runs/other --data.kind folder --data.path pictures

    report/report.html in the run's directory can be opened during the training: it is updated
    after epochs, and the open page reloads itself.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a TOML, YAML or JSON file.
    directory
        The directory to create for the run; left out: runs/NAME-DATE-TIME, with a
        number behind it where there is one already.
    until_epoch
        Save and stop after this epoch; `residua resume` continues.
    minutes
        A budget of time instead of --epochs: measure the speed here, and train as many epochs as
        fit, evaluations included. Schedules are stretched to them, and the run keeps the number.
    """
    from datetime import datetime

    from residua.recipes.loading import parse_overrides, resolve
    from residua.runs.run import check_available
    from residua.training import loop

    resolved = resolve(recipe, overrides)
    if minutes is not None:
        if any(path == "epochs" for path, _ in parse_overrides(overrides)):
            raise UserError("--minutes chooses the number of epochs: leave out --epochs")
        if directory is not None:
            check_available(directory)
        resolved = _fitted(resolved, minutes)
    now = datetime.now().strftime("%Y%m%d-%H%M%S")

    def run(path: Path) -> None:
        start = partial(loop.train, resolved, path)
        _run(start, path, resolved, until_epoch)

    if directory is not None:
        run(directory)
        return
    with _new_directory(Path("runs"), f"{resolved.name}-{now}") as path:
        run(path)


def _fitted(recipe: "Recipe", minutes: float) -> "Recipe":
    """The recipe with as many epochs as fit into the budget; prints the plan."""
    from residua.cli.console import show_plan
    from residua.training.time_budget import fit_to_time

    plan = fit_to_time(recipe, 60 * minutes)
    show_plan(plan, recipe.epochs)
    return plan.recipe


@contextmanager
def _new_directory(parent: Path, name: str) -> Iterator[Path]:
    """Create a directory that no other process uses; it is removed again if it stays empty."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            break
    try:
        yield path
    finally:
        for directory in (path, parent):
            with suppress(OSError):
                directory.rmdir()


@app.command
def resume(
    run: Path,
    /,
    *,
    until_epoch: UntilEpoch = None,
    epochs: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=10**6))] = None,
) -> None:
    """Continue a stopped or killed training exactly where it was saved.

    Parameters
    ----------
    run
        The directory of the run.
    until_epoch
        Save and stop after this epoch.
    epochs
        Extend the training, also a finished one, to this number of epochs in all. Its further
        schedules are those of a training of this length; what that does to the learning rate is
        printed.
    """
    from residua.integrations.observers import send_pending
    from residua.runs.run import Run
    from residua.training import loop

    opened = Run.open(run)
    if epochs is None and opened.result is not None:
        send_pending(opened, _say)
        quoted = printable(shlex.quote(str(run)))
        print(
            f"{printable(str(run))} is finished. `residua report {quoted}` writes its report "
            f"again; `residua resume {quoted} --epochs N` extends it."
        )
        return
    start = partial(loop.resume, run, epochs=epochs)
    _run(start, run, opened.recipe, until_epoch)


def _say(line: str) -> None:
    from rich.markup import escape

    from residua.cli.console import console

    console.print(f"[yellow]{escape(printable(line))}[/]")


def _run(
    start: Callable[["StopCondition"], Iterator["Event"]],
    path: Path,
    recipe: "Recipe",
    until_epoch: int | None,
) -> None:
    """Show a training until it ends, then its figures; the last line is the report's path."""
    from residua.cli.console import ProgressDisplay, console, show, show_result, stop_requests
    from residua.cli.live_report import LiveReport
    from residua.cli.progress_file import ProgressFile
    from residua.integrations.observers import recipe_observers
    from residua.reports import write_report
    from residua.runs.run import Run
    from residua.training.events import Finished

    last_epoch = math.inf if until_epoch is None else until_epoch
    display, progress_file = ProgressDisplay(), ProgressFile()

    def should_stop(progress: "TrainingProgress") -> bool:
        display.check_evaluation(progress.step)
        progress_file.check_evaluation(progress.step)
        return bool(signals) or progress.epoch >= last_epoch

    observers: list[Observer] = [LiveReport(), progress_file, *recipe_observers(recipe, _say)]
    with stop_requests() as signals:
        end = show(start(should_stop), *observers, display=display)
    if isinstance(end, Finished):
        show_result(end.result, path, Run.open(path).data)
    else:
        quoted = printable(shlex.quote(str(path)))
        console.print(
            f"Saved after step {end.step:,}. To continue: residua resume {quoted}", markup=False
        )
    console.print(printable(str(write_report(Run.open(path)))), markup=False)
    if signals and signals[0] == "SIGINT":
        sys.exit(130)
