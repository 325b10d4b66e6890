"""The runs of a directory, and a line of figures for each."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from residua.config import Config
from residua.errors import UserError
from residua.runs.progress import RunState
from residua.runs.records import SelectionSplit
from residua.runs.run import Run

MAX_DEPTH = 4
"""How deep runs are searched for."""


class RunSummary(Config):
    """What is said of a run in a list of runs."""

    path: str
    recipe: str = ""
    seed: int = 0
    state: RunState | Literal["damaged"]
    epoch: int = 0
    """Finished epochs."""
    epochs: int = 0
    """Of the whole training."""
    split: SelectionSplit | None = None
    """The split of the accuracies; None before any evaluation."""
    last_accuracy: float | None = None
    """In percent, of the last evaluation."""
    best_accuracy: float | None = None
    """In percent, of the best evaluation so far."""
    age: float = 0.0
    """Seconds since the run changed."""
    error: str = ""
    """Why the run cannot be read."""


def find_runs(directory: Path) -> list[Path]:
    """The directories of runs in a directory, itself included, sorted by path.

    Raises:
        UserError: there is no such directory, or it cannot be read.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory")
    try:
        return sorted(_run_directories(directory, MAX_DEPTH))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from None


def _run_directories(directory: Path, depth: int) -> Iterator[Path]:
    if (directory / "recipe.json").is_file():
        yield directory
    elif depth:
        for child in directory.iterdir():
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from _run_directories(child, depth - 1)


def summarize_run(path: Path) -> RunSummary:
    """The figures of a run; a damaged run is described, not an error."""
    try:
        run = Run.open(path)
        recipe, log = run.recipe, run.log
        evaluated = [record for record in log if record.evaluated_accuracy is not None]
        accuracies = [record.evaluated_accuracy for record in evaluated]
        return RunSummary(
            path=str(path),
            recipe=recipe.name,
            seed=recipe.seed,
            state=run.state,
            epoch=log[-1].epoch if log else 0,
            epochs=recipe.epochs,
            split=evaluated[-1].evaluated_split if evaluated else None,
            last_accuracy=accuracies[-1] if evaluated else None,
            best_accuracy=max(filter(None, accuracies), default=0.0) if evaluated else None,
            age=_age(path),
        )
    except UserError as error:
        return RunSummary(path=str(path), state="damaged", age=_age(path), error=str(error))


def _age(path: Path) -> float:
    """Seconds since a file of the run was last changed."""
    names = ("recipe.json", "log.jsonl", "progress.json", "result.json")
    changed = [(path / name).stat().st_mtime for name in names if (path / name).exists()]
    return max(0.0, time.time() - max(changed, default=0.0))
