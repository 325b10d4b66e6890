"""`residua train` and `residua resume`."""

import math
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from residua.cli.app import Overrides, WholeNumber, app
from residua.cli.output import printable
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.distributed import World
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

        torchrun --nproc-per-node 4 -m residua train resnet44 --dir runs/mine

    report/report.html in the run's directory can be opened during the training: it is updated
    after epochs, and the open page reloads itself.

    torchrun starts several processes, which share each batch: on CPUs, on the GPUs of a machine, or
    on several machines. There, and in a job that Slurm starts again, the command continues the
    training that --dir holds already.

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
    from residua.distributed import joined_world
    from residua.recipes.loading import parse_overrides, resolve
    from residua.runs.run import check_available
    from residua.training import loop

    with joined_world() as world:
        resolved = loop.shared_recipe(world, lambda: resolve(recipe, overrides))
        if minutes is not None:
            if world.size > 1:
                raise UserError("--minutes measures one process: give --epochs to several")
            if any(path == "epochs" for path, _ in parse_overrides(overrides)):
                raise UserError("--minutes chooses the number of epochs: leave out --epochs")
            if directory is not None:
                check_available(directory)
            resolved = _fitted(resolved, minutes)

        def run(path: Path) -> None:
            _run(world, partial(loop.train, resolved, path), path, resolved, until_epoch)

        if directory is None:
            with _shared_directory(world, Path("runs"), resolved.name) as path:
                run(path)
        elif world.from_writer(lambda: _existing(directory, resolved)):
            _resume(world, directory, until_epoch)
        else:
            run(directory)


def _fitted(recipe: "Recipe", minutes: float) -> "Recipe":
    """The recipe with as many epochs as fit into the budget; prints the plan."""
    from residua.cli.console import show_plan
    from residua.training.time_budget import fit_to_time

    plan = fit_to_time(recipe, 60 * minutes)
    show_plan(plan, recipe.epochs)
    return plan.recipe


def _existing(path: Path, recipe: "Recipe") -> str:
    """What a command that is started again continues: the run of this recipe, or nothing ("").

    torchrun starts all processes again when one of them failed, or when a machine joined; Slurm
    starts a job again that was requeued.

    Raises:
        UserError: the run there is of another recipe.
    """
    from residua.runs.run import Run

    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    again = "TORCHELASTIC_RUN_ID" in os.environ or restarts != "0"
    if not again or not (path / "recipe.json").exists():
        return ""
    before, recipe = Run.open(path).recipe, recipe.replace(data=recipe.data.resolved())
    # A run keeps what was chosen at its start, and how it was extended.
    chosen = {"precision"} if recipe.precision == "auto" else set[str]()
    chosen |= {"init", "normalization"} if recipe.init else set()
    chosen |= {"epochs", "extensions"} if before.extensions else set()
    smaller = before.batch_size < recipe.batch_size
    chosen |= {"batch_size", "gradient_accumulation"} if smaller else set()
    fields = recipe.__class__.model_fields.keys() - chosen
    if any(getattr(before, name) != getattr(recipe, name) for name in fields):
        raise UserError(f"{path} is a run of another recipe: `residua resume`, or another --dir")
    return str(path)


@contextmanager
def _shared_directory(world: "World", parent: Path, name: str) -> Iterator[Path]:
    """The path of a new directory of the writer, which is removed again if it stays empty.

    Raises:
        UserError: torchrun will start the command again, which needs a directory to continue.
    """
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise UserError("--max-restarts needs --dir: a restarted training continues what is there")
    if not world.is_writer:
        yield Path(world.from_writer(str))
        return
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    with _new_directory(parent, f"{name}-{now}") as path:
        yield Path(world.from_writer(lambda: str(path)))


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

    With the same number of processes (torchrun) the outcome is that of a training that was never
    stopped; with another number, batches and augmentation are the same, but not the last bits.

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
    from residua.distributed import joined_world

    with joined_world() as world:
        _resume(world, run, until_epoch, epochs)


def _resume(world: "World", run: Path, until_epoch: int | None, epochs: int | None = None) -> None:
    """Continue a run, unless it is finished and not to be extended."""
    from residua.integrations.observers import send_pending
    from residua.runs.run import Run
    from residua.training import loop

    recipe = loop.shared_recipe(world, lambda: Run.open(run).recipe)
    if world.size > 1 and epochs == recipe.epochs and recipe.extensions:
        epochs = None  # torchrun started the command again, which had extended the run.
    finished = world.from_writer(lambda: "finished" if Run.open(run).result else "")
    if epochs is not None or not finished:
        start = partial(loop.resume, run, epochs=epochs)
        _run(world, start, run, recipe, until_epoch)
    elif world.is_writer:
        send_pending(Run.open(run), _say)
        quoted = printable(shlex.quote(str(run)))
        print(
            f"{printable(str(run))} is finished. `residua report {quoted}` writes its report "
            f"again; `residua resume {quoted} --epochs N` extends it."
        )


def _say(line: str) -> None:
    from rich.markup import escape

    from residua.cli.console import console

    console.print(f"[yellow]{escape(printable(line))}[/]")


def _run(
    world: "World",
    start: Callable[["StopCondition"], Iterator["Event"]],
    path: Path,
    recipe: "Recipe",
    until_epoch: int | None,
) -> None:
    """Run a training to its end; one process shows it."""
    if world.is_writer:
        _show(start, path, recipe, until_epoch)
        return
    from residua.cli.console import stop_requests

    warnings.simplefilter("ignore")  # The writer warns.
    last_epoch = math.inf if until_epoch is None else until_epoch
    with stop_requests() as signals:
        for _ in start(lambda progress: bool(signals) or progress.epoch >= last_epoch):
            pass
    if signals and signals[0] == "SIGINT":
        sys.exit(130)


def _show(
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
