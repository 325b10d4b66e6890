"""The command line. Nothing heavy is imported before a command runs."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from residua.errors import UserError

if TYPE_CHECKING:
    from residua.data.archive import Archive
    from residua.training.loop import Event

app = App(
    name="residua",
    help="Deep residual networks on small images: from one command to a trained, tested model.",
    result_action="return_value",
)
data = App(name="data", help="Get data sets, and check them.")
app.command(data)
app.command(
    "residua.cli.find_lr:find_rate",
    name="find-rate",
    help="Search for a learning rate: train some steps while it rises, and draw the loss.",
)
app.command(
    "residua.cli_bench:bench",
    name="bench",
    help="Race our training against the loop that people write, and the machine's peak.",
)

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
DataSet = Literal["cifar100", "cifar10"]


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; exit 2 with one line for what the user has to change."""
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error))
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int = 2) -> None:
    # What comes from a file may hold codes that take over a terminal.
    line = "".join(each if each.isprintable() else " " for each in message)
    print(f"residua: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(status)


@app.command
def train(
    recipe: str,
    /,
    *overrides: Overrides,
    run: Path | None = None,
    until_epoch: Annotated[int | None, Parameter(name="--until-epoch")] = None,
) -> None:
    """Train a network by a recipe.

    Any field of the recipe can be overridden by its dotted path: --epochs 10
    --optimizer.lr 0.05 --data.limit 2000. `residua recipes NAME` shows all fields.

    The run's report/report.html can be opened while it trains: it keeps up, and so does the page.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a TOML, YAML or JSON file.
    run
        The directory to make for the run; left out: runs/NAME-DATE-TIME.
    until_epoch
        Save and stop after this epoch; `residua resume` goes on.
    """
    from datetime import datetime

    from residua.recipes.loading import resolve
    from residua.training.loop import train as begin

    resolved = resolve(recipe, overrides)
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = run or Path("runs") / f"{resolved.name}-{moment}"
    _follow(lambda should_stop: begin(resolved, path, should_stop), path, until_epoch)


@app.command
def resume(
    run: Path, /, *, until_epoch: Annotated[int | None, Parameter(name="--until-epoch")] = None
) -> None:
    """Go on with a run that was stopped or killed, exactly where it was saved.

    Parameters
    ----------
    run
        The directory of the run.
    until_epoch
        Save and stop after this epoch.
    """
    from residua.runs.run import Run
    from residua.training.loop import resume as go_on

    if Run.open(run).result is not None:
        print(f"{run} is finished: nothing is left to do. `residua report {run}` shows it.")
        return
    _follow(lambda should_stop: go_on(run, should_stop), run, until_epoch)


def _follow(
    start: Callable[["StopCondition"], Iterator["Event"]], path: Path, until_epoch: int | None
) -> None:
    """Show a training until it ends, then its figures; the report's path is the last line."""
    from residua.cli.console import console, show, show_result, stop_requests
    from residua.cli.live_report import live
    from residua.reports import write_report
    from residua.runs.run import Run
    from residua.training.loop import Finished

    with stop_requests() as asked:
        events = start(lambda clock: bool(asked) or clock.epoch >= (until_epoch or math.inf))
        end = show(live(events))
    if isinstance(end, Finished):
        show_result(end)
    else:
        console.print(f"Saved after step {end.step:,}. To go on: residua resume {path}")
    print(write_report(Run.open(path)))
    if asked and asked[0] == "SIGINT":
        sys.exit(130)


@app.command
def evaluate(
    run: Path,
    /,
    *,
    checkpoint: Literal["best", "last"] = "best",
    split: Literal["test", "holdout", "train"] = "test",
    views: Literal["single", "mirrored", "translated"] | None = None,
    device: str | None = None,
) -> None:
    """Evaluate a run's network on a split.

    Parameters
    ----------
    run
        The directory of the run.
    checkpoint
        The best epoch's network, or the last one.
    split
        The images.
    views
        Each image once; also mirrored; also shifted by a pixel. Left out: as the recipe says.
    device
        Where to evaluate; left out: as the recipe says.
    """
    from residua.runs.run import Run
    from residua.training.session import build_session

    opened = Run.open(run)
    changes = {"tta": views, "device": device}
    recipe = opened.recipe.model_copy(
        update={key: value for key, value in changes.items() if value is not None}
    )
    if not opened.saved:
        raise UserError(f"{run} has no checkpoint yet")
    if checkpoint == "best" and not opened.best.is_file():
        raise UserError(f"{run} has no best checkpoint yet: try --checkpoint last")
    session, state = build_session(recipe)
    state.load(opened.best if checkpoint == "best" else opened.saved[-1])
    images = getattr(session.splits, split)
    if images is None:
        raise UserError(f"{run} has no holdout: its recipe's data.holdout is 0")
    figures = session.evaluate(state, images)
    print(
        f"{split} set, {checkpoint} epoch ({len(state.history)}), {recipe.tta} view: "
        f"average loss {figures.loss:.4f}, accuracy {figures.correct}/{len(images)} "
        f"({figures.accuracy:.2f} %), top-5 {figures.top5:.2f} %"
    )


@app.command
def report(run: Path, /, *more: Path, against: str | None = None) -> None:
    """Write the report of a finished or running run; prints its path.

    Parameters
    ----------
    run
        The directory of the run.
    more
        Further runs; those of the same recipe with other seeds tell the seed spread.
    against
        The published system to hold the run against (resnet44, resnet44v2_run1 ...); left out:
        the one that its recipe is named after.
    """
    from residua.reports import write_report
    from residua.runs.run import Run

    runs = [Run.open(path) for path in (run, *more)]
    for each in runs:
        print(write_report(each, against, runs))


@app.command
def compare(run: Path, /, *more: Path, output: Path = Path("runs/compare")) -> None:
    """Compare runs: recipes side by side, spread over seeds, tests of the differences.

    Parameters
    ----------
    run
        The directory of a run.
    more
        Further runs; those that differ only in seed and name count as one recipe.
    output
        Where to write compare.md and compare.html.
    """
    from residua.cli.console import console
    from residua.reports.comparison import comparison, write_comparison
    from residua.reports.comparison.terminal import figures
    from residua.runs.run import Run

    said = comparison([Run.open(path) for path in (run, *more)])
    page = write_comparison(said, output)
    console.print(figures(said))
    for verdict in said.verdicts:
        console.print(verdict, markup=False)
    print(page)


@app.command
def recipes(name: str | None = None, /) -> None:
    """List the built-in recipes, or show one in full.

    Parameters
    ----------
    name
        The recipe to show, as YAML that `residua train FILE` takes.
    """
    import yaml

    from residua.recipes import built_in as known
    from residua.recipes.loading import resolve

    if name is None:
        width = max(map(len, known.names()))
        for each in known.names():
            print(f"{each:{width}}  {known.description(each).splitlines()[0]}")
        return
    recipe = resolve(name)
    if name in known.names():
        print("".join(f"# {line}".rstrip() + "\n" for line in known.description(name).splitlines()))
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), end="")


@app.command
def summary(recipe: str, /, *overrides: Overrides) -> None:
    """Print a recipe's network: layers, parameters, memory, arithmetic.

    Parameters
    ----------
    recipe
        The name of a built-in recipe, or a file; overrides as for `train`.
    """
    from residua.cli.console import show_summary
    from residua.recipes.loading import resolve

    resolved = resolve(recipe, overrides)
    show_summary(resolved, resolved.data.class_count)


def _archive(name: DataSet) -> "Archive":
    from residua.data import archive

    return {"cifar100": archive.CIFAR100, "cifar10": archive.CIFAR10}[name]


@data.command
def get(name: DataSet, /, *, root: Path | None = None) -> None:
    """Download a data set from its official address; goes on where it was cut.

    Parameters
    ----------
    name
        The data set.
    root
        Where to put it; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.cli.console import transfer
    from residua.data import archive
    from residua.data.download import fetch

    target = archive.data_root(root)
    with transfer(name) as progress:
        fetched = fetch(_archive(name), target, progress)
    print(
        f"{fetched.folder}: {'there already' if fetched.already else 'complete'}, checksums match"
    )


@data.command
def verify(name: DataSet = "cifar100", /, *, root: Path | None = None) -> None:
    """Check a data set's files against their checksums; exit 2 if one is wrong.

    Parameters
    ----------
    name
        The data set.
    root
        Where it is; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.data import archive

    target = archive.data_root(root)
    verdicts = archive.verify(_archive(name), target)
    for verdict in verdicts:
        state = "ok" if verdict.ok else f"wrong: {verdict.found}" if verdict.found else "missing"
        print(f"{verdict.file}  {verdict.expected}  {state}")
    if not all(verdict.ok for verdict in verdicts):
        raise UserError(f"{name} is not whole in {target}: `residua data get {name}`")
