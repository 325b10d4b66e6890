"""A sweep: a directory of trials, each of which is a run (or one run for each seed).

| file | contents |
|---|---|
| `sweep.json` | the recipe, the values to try, the number of trials and seeds |
| `trials/0003/trial.json` | the values of a trial, and how it ended |
| `trials/0003/seed-0/` | an ordinary run |
| `journal.log` | the Optuna study that workers share; it can be rebuilt from the trials |

The runs are the truth: everything that is reported is read from them.
"""

import json
import re
import statistics
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    JsonValue,
    PositiveInt,
    ValidationError,
    field_serializer,
    model_validator,
)

from residua import files
from residua.errors import UserError
from residua.recipes.loading import apply_overrides, parse_recipe
from residua.recipes.recipe import Recipe
from residua.runs.records import Count, JsonFile, read_json
from residua.runs.run import Run

MAX_TRIALS = 100_000
TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]
Values = Mapping[str, JsonValue]
"""Dotted paths of a recipe's fields, and their values."""


class Choice(JsonFile):
    """Values to choose from."""

    kind: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...] = Field(min_length=1, max_length=1000)


class Range(JsonFile):
    """Numbers between two bounds, both included."""

    kind: Literal["range"] = "range"
    low: float
    high: float
    log: bool = False
    """Whether the logarithm is uniform."""
    integer: bool = False

    @model_validator(mode="after")
    def _check_bounds(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"{self.low:g} is not below {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range needs bounds above 0")
        return self


Space = Annotated[Choice | Range, Field(discriminator="kind")]


class Sweep(JsonFile):
    """What a sweep tries: sweep.json.

    Every trial selects by the holdout. The test set is not evaluated for a selection.
    """

    recipe: Recipe
    space: dict[str, Space] = Field(min_length=1, max_length=100)
    """What is tried for each field, by its dotted path."""
    seeds: PositiveInt = 1
    """Runs of each trial, with different seeds."""
    search: PositiveInt | None = Field(default=None, le=MAX_TRIALS)
    """The number of trials that are searched for; None: all combinations of the values."""
    prune: bool = False
    """Whether trials are stopped early that are worse than the median at the same epoch."""

    @field_serializer("recipe")
    def _whole_recipe(self, recipe: Recipe) -> dict[str, Any]:
        # Without its defaults it would lack each `kind`.
        return recipe.model_dump(mode="json")

    @model_validator(mode="after")
    def _check_grid(self) -> "Sweep":
        if self.search is None:
            ranges = [path for path, space in self.space.items() if isinstance(space, Range)]
            if ranges:
                raise ValueError(f"{ranges[0]} is a range, which needs a search: --search TRIALS")
            if self.num_trials > MAX_TRIALS:
                raise ValueError(f"{self.num_trials:,} combinations are more than {MAX_TRIALS:,}")
        return self

    @property
    def num_trials(self) -> int:
        """How many trials there are."""
        if self.search is not None:
            return self.search
        sizes = [len(space.values) for space in self.space.values() if isinstance(space, Choice)]
        total = 1
        for size in sizes:
            total *= size
        return total

    def grid(self) -> Iterator[Values]:
        """All combinations of the values, in order; the last field changes fastest."""
        choices = [space.values for space in self.space.values() if isinstance(space, Choice)]
        for values in product(*choices):
            yield dict(zip(self.space, values, strict=True))

    def trial_recipe(self, number: int, values: Values, seed: int = 0) -> Recipe:
        """The recipe of a trial's run.

        Args:
            number: of the trial.
            values: of the fields that are tried.
            seed: which of the trial's runs, from 0; it is added to the recipe's seed.

        Raises:
            UserError: a value does not fit its field.
        """
        tree = self.recipe.model_dump(mode="json")
        recipe = parse_recipe(apply_overrides(tree, list(values.items())))
        return recipe.replace(name=f"{self.recipe.name}-{number:04}", seed=recipe.seed + seed)


class TrialFile(JsonFile):
    """The values of a trial, and how it ended: trial.json."""

    number: Count
    values: dict[str, JsonValue]
    pruned: bool = False
    error: str = Field(default="", max_length=10_000)
    """Why the training failed; empty where it did not."""


class Trial(JsonFile):
    """A trial as its files tell it."""

    number: Count
    values: dict[str, JsonValue]
    state: TrialState
    epochs: Count
    """Finished epochs of all its runs."""
    curve: dict[int, float]
    """The holdout accuracy after each evaluated epoch of the first run, in percent."""
    accuracies: tuple[float, ...]
    """The last holdout accuracy of each finished run, in percent; of a pruned one its last."""
    error: str = ""

    @property
    def accuracy(self) -> float | None:
        """The mean over the seeds, in percent; None before any evaluation."""
        if self.accuracies:
            return statistics.mean(self.accuracies)
        return list(self.curve.values())[-1] if self.curve else None


class SweepDirectory:
    """The directory of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.log"
        self.trials_path = path / "trials"

    @classmethod
    def create(cls, path: Path, sweep: Sweep) -> "SweepDirectory":
        """Make the directory of a new sweep, or open that of an equal one.

        Raises:
            UserError: there is another sweep or something else, or it cannot be made.
        """
        directory = cls(path)
        if (path / "sweep.json").is_file():
            if directory.sweep != sweep:
                raise UserError(f"{path} is another sweep: choose another --dir")
            return directory
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UserError(f"{path} exists and is not empty: choose another --dir")
            directory.trials_path.mkdir()
            files.write_atomic(path / "sweep.json", sweep.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise UserError(f"cannot make the sweep {path}: {error.strerror}") from None
        return directory

    @classmethod
    def open(cls, path: Path) -> "SweepDirectory":
        """The sweep in a directory.

        Raises:
            UserError: there is none.
        """
        if not (path / "sweep.json").is_file():
            raise UserError(f"{path} is not a sweep: it has no sweep.json")
        return cls(path)

    @property
    def sweep(self) -> Sweep:
        """What is tried.

        Raises:
            UserError: sweep.json is damaged.
        """
        sweep = read_json(Sweep, self.path / "sweep.json")
        assert sweep is not None
        return sweep

    def trial_path(self, number: int) -> Path:
        """The directory of a trial."""
        return self.trials_path / f"{number:04}"

    def run_path(self, number: int, seed: int) -> Path:
        """The directory of a trial's run."""
        return self.trial_path(number) / f"seed-{seed}"

    def write_trial(self, trial: TrialFile) -> None:
        """Write trial.json, completely or not at all."""
        path = self.trial_path(trial.number)
        path.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path / "trial.json", trial.model_dump_json(indent=2) + "\n")

    def trial_file(self, number: int) -> TrialFile | None:
        """What trial.json says; None where the trial has not begun.

        Raises:
            UserError: it is damaged.
        """
        return read_json(TrialFile, self.trial_path(number) / "trial.json")

    def trials(self) -> list[Trial]:
        """All trials that have begun, by number.

        Raises:
            UserError: files of a run are damaged.
        """
        paths = self.trials_path.glob("*/trial.json")
        numbers = sorted(int(path.parent.name) for path in paths if path.parent.name.isdigit())
        seeds = self.sweep.seeds
        return [self._trial(number, seeds) for number in numbers]

    def _trial(self, number: int, seeds: int) -> Trial:
        file = self.trial_file(number)
        assert file is not None
        curve: dict[int, float] = {}
        accuracies, epochs, finished = [], 0, 0
        for seed in range(seeds):
            path = self.run_path(number, seed)
            if not (path / "recipe.json").is_file():
                continue
            run = Run.open(path)
            evaluated = {
                record.epoch: record.holdout_accuracy
                for record in run.log
                if record.holdout_accuracy is not None
            }
            epochs += len(run.log)
            curve = curve if seed else evaluated
            if (path / "result.json").is_file() and evaluated:
                finished += 1
                accuracies.append(list(evaluated.values())[-1])
        state: TrialState = "running"
        if file.error:
            state = "failed"
        elif file.pruned:
            state, accuracies = "pruned", list(curve.values())[-1:]
        elif finished == seeds:
            state = "complete"
        return Trial(
            number=number,
            values=file.values,
            state=state,
            epochs=epochs,
            curve=curve,
            accuracies=tuple(accuracies),
            error=file.error,
        )

    def best(self) -> Trial | None:
        """The complete trial with the highest mean holdout accuracy; None before the first."""
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.accuracy or 0.0, default=None)

    def write_best(self) -> Path | None:
        """Write the recipe of the best trial to best.yaml, which `residua train` takes.

        It is trained on the holdout too where `data.holdout` is set to 0.

        Raises:
            UserError: it cannot be written.
        """
        best = self.best()
        if best is None:
            return None
        recipe = self.sweep.trial_recipe(best.number, best.values)
        path = self.path / "best.yaml"
        comment = (
            f"# Trial {best.number} of the sweep of {self.sweep.recipe.name}: "
            f"{best.accuracy:.2f} % on the holdout.\n"
        )
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        try:
            files.write_atomic(path, comment + text)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        return path


def parse_space(words: list[str]) -> dict[str, Choice | Range]:
    """Parse what is tried: `optimizer.lr=0.05,0.1`, `optimizer.lr=0.01..0.3`, `...=1e-4..1e-2:log`.

    Raises:
        UserError: a word has another form, or a field stands there twice.
    """
    space: dict[str, Choice | Range] = {}
    for word in words:
        path, equals, text = word.removeprefix("--").partition("=")
        path = path.replace("-", "_")
        if not equals or not path or not text:
            raise UserError(f"{word!r} is not FIELD=VALUE,VALUE or FIELD=LOW..HIGH")
        if path in space:
            raise UserError(f"{path} is given twice")
        try:
            space[path] = _parse_values(text)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise UserError(f"{word!r}: {reason}") from None
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"{word!r}: {' '.join(str(error).split())}") from None
    return space


def _parse_values(text: str) -> Choice | Range:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
    match = re.fullmatch(rf"({number})\.\.({number})(:log)?", text, re.IGNORECASE)
    if match:
        low, high, log = match.groups()
        integer = bool(re.fullmatch(r"[-+]?\d+", low) and re.fullmatch(r"[-+]?\d+", high))
        return Range(low=float(low), high=float(high), log=bool(log), integer=integer)
    values = files.check_tree_size(yaml.safe_load(f"[{text}]"))
    if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
        raise ValueError("a value is given twice")
    return Choice(values=tuple(values))


def check_sweep(sweep: Sweep) -> None:
    """Check that the sweep selects by a holdout, and that every value fits its field.

    Raises:
        UserError: it does not.
    """
    if getattr(sweep.recipe.data, "holdout", 0) == 0:
        raise UserError(
            "a sweep selects by the holdout, never by the test set: add --data.holdout 5000"
        )
    reserved = {"seed": "--seeds N", "name": "the recipe's name", "data.holdout": "one holdout"}
    for path, space in sweep.space.items():
        if path in reserved:
            raise UserError(f"{path} is not tried: a sweep has {reserved[path]}")
        values = space.values if isinstance(space, Choice) else (space.low, space.high)
        for value in values:
            whole = isinstance(space, Range) and space.integer
            sweep.trial_recipe(0, {path: int(value) if whole else value})  # type: ignore[arg-type]
