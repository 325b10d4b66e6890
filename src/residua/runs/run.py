"""A run: the directory that holds everything about one training."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from residua import files
from residua.errors import UserError, escaped, is_utf8
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint
from residua.runs.environment import RunEnvironment
from residua.runs.lock import LOCK, exclusive_lock
from residua.runs.progress import RunProgress, RunState
from residua.runs.records import (
    DataFingerprint,
    EpochRecord,
    InitRecord,
    JsonFile,
    Result,
    SplitFingerprint,
    StoredEvaluation,
    check_monotonic,
    parse_json,
    read_json,
)
from residua.runs.results_csv import csv_row, header_row

EVALUATIONS = "evaluations"
CORRUPTIONS = "corruptions"
"""The name of an evaluation on corrupted images, which has figures of another kind."""
MAX_EVALUATIONS = 100
PREDICTIONS = "predictions.safetensors"
CHECKPOINT = re.compile(r"(step|stop)-(\d{8,15})\.safetensors")


class Run:
    """A directory with recipe.json, environment.json, data.json, log.jsonl, checkpoints/ and more.

    `artifacts/` holds what a report needs of the data, so that no reader of a run loads the data
    set; `model.safetensors` and `model.json` hold the evaluated network; a finished run also has
    result.json. recipe.json is the last file written when a run is created: a directory without it
    is not a run.

    Checkpoints are `step-N`, written after N steps where the recipe says, and `stop-N`, written
    where a training was stopped in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_dir = path / "checkpoints"
        self.artifact_dir = path / "artifacts"
        self.report_dir = path / "report"

    @classmethod
    def create(cls, path: Path) -> "Run":
        """Make the directory of a new run, without a recipe yet.

        Raises:
            UserError: it cannot be made.
        """
        run = cls(path)
        try:
            for directory in (run.checkpoint_dir, run.artifact_dir, run.report_dir):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run {path}: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run in a directory.

        Raises:
            UserError: there is no run, its path is not valid UTF-8, or it contains symbolic
                links, through which files elsewhere would be written.
        """
        _check_path(path)
        if not (path / "recipe.json").is_file():
            raise UserError(f"{path} is not a run: it has no recipe.json")
        for entry in (*path.iterdir(), *path.glob("*/*")):
            if entry.is_symlink():
                raise UserError(f"{entry} is a symbolic link: a run must contain its own files")
        return cls(path)

    @contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Keep every other process from training here until this process ends.

        Args:
            patience: seconds to wait for a process that holds the lock.

        Raises:
            UserError: another process holds the lock, or a file of the run cannot be written
                meanwhile.
            OSError: another file cannot be read or written, such as one of the data set.
        """
        try:
            with exclusive_lock(self.path, patience):
                yield
        except OSError as error:
            # An error without a name is of an open file: those that stay open are the run's.
            if error.filename and not Path(error.filename).is_relative_to(self.path):
                raise
            raise UserError(
                f"the run {self.path} cannot be written: {error.strerror or error}; once that is "
                f"fixed, `residua resume {self.path}` continues from its last checkpoint"
            ) from error

    @property
    def recipe(self) -> Recipe:
        """The recipe; reading it executes nothing.

        Raises:
            UserError: recipe.json is not a recipe.
        """
        path = self.path / "recipe.json"
        try:
            tree = files.check_tree_size(json.loads(files.read_bytes(path).decode()))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged: {error}") from None
        return parse_recipe(tree)

    @property
    def environment(self) -> RunEnvironment:
        """What the run was started on and resumed on; empty where unknown."""
        return read_json(RunEnvironment, self.path / "environment.json") or RunEnvironment()

    @property
    def data(self) -> DataFingerprint:
        """The data that the run was started with; empty where unknown."""
        return read_json(DataFingerprint, self.path / "data.json") or DataFingerprint()

    @property
    def result(self) -> Result | None:
        """The final figures; None while the run is unfinished.

        Figures of the test set that were measured afterwards, on purpose, are part of them.
        """
        result = read_json(Result, self.path / "result.json")
        if result is None or not (evaluations := self.evaluations):
            return result
        test = self.data.splits.get("test", SplitFingerprint(images=0))
        own = (each for each in evaluations if each.data_sha256 == test.sha256)
        return result.with_evaluations(each for each in own if each.images == "test")

    @property
    def evaluations(self) -> list[StoredEvaluation]:
        """What `residua evaluate` measured, by name.

        Raises:
            UserError: a file is damaged.
        """
        paths = sorted((self.path / EVALUATIONS).glob("*.json"))[:MAX_EVALUATIONS]
        found = (read_json(StoredEvaluation, path) for path in paths if path.stem != CORRUPTIONS)
        return [evaluation for evaluation in found if evaluation is not None]

    @property
    def init(self) -> InitRecord | None:
        """The trained network that the training started from; None: random weights."""
        return read_json(InitRecord, self.path / "init.json")

    @property
    def progress(self) -> RunProgress | None:
        """Where the training stands within its epoch; None where that is not known."""
        try:
            return read_json(RunProgress, self.path / "progress.json")
        except UserError:
            return None

    @property
    def state(self) -> RunState:
        """Whether the training is finished, running, stopped, or was interrupted."""
        if (self.path / "result.json").is_file():
            return "finished"
        progress = self.progress
        return "interrupted" if progress is None else progress.state

    @property
    def log(self) -> list[EpochRecord]:
        """The finished epochs, oldest first; an incomplete last line is ignored.

        Raises:
            UserError: another line is damaged.
        """
        path = self.path / "log.jsonl"
        records: list[EpochRecord] = []
        if not path.is_file():
            return records
        try:
            *lines, _ = files.read_bytes(path).split(b"\n")
            for line in lines:
                records.append(parse_json(EpochRecord, line))
            check_monotonic(records)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged after line {len(records)}: {error}") from None
        return records

    def append_record(self, record: EpochRecord) -> None:
        """Add an epoch to the log and to results.csv."""
        files.append_line(self.path / "log.jsonl", record.to_json_text())
        table = self.path / "results.csv"
        if not table.exists():
            files.append_line(table, header_row())
        files.append_line(table, csv_row(record))

    def rewrite_log(self, records: Sequence[EpochRecord]) -> None:
        """Replace the log and results.csv by the epochs that a checkpoint knows."""
        text = "".join(record.to_json_text() + "\n" for record in records)
        files.write_atomic(self.path / "log.jsonl", text)
        rows = "".join(row + "\n" for row in (header_row(), *map(csv_row, records)))
        files.write_atomic(self.path / "results.csv", rows)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write recipe.json, which makes the directory a run."""
        files.write_atomic(self.path / "recipe.json", recipe.model_dump_json(indent=2) + "\n")

    def reopen(self, recipe: Recipe) -> None:
        """Make a run unfinished, with the recipe of a longer training.

        recipe.json is written last: a run that was interrupted before it can be finished again.
        """
        results = ("result.json", "model-last.json", "model-last.safetensors")
        for path in (*(self.path / name for name in results), self.artifact_dir / PREDICTIONS):
            path.unlink(missing_ok=True)
        self.write_recipe(recipe)

    def write_json(self, name: str, content: JsonFile) -> None:
        """Write a JSON file of the run, completely or not at all."""
        files.write_atomic(self.path / name, content.model_dump_json(indent=2) + "\n")

    def save_checkpoint(self, checkpoint: Checkpoint, best: bool, keep: int) -> Path:
        """Write the checkpoint of an epoch's end, and delete the oldest.

        Args:
            checkpoint: what to write.
            best: whether it is the best epoch so far.
            keep: how many to keep besides the best one, and besides one more in case the last is
                damaged.
        """
        step = checkpoint.metadata.step
        path = self._checkpoint_path("step", step)
        if best:
            # In this order: a best checkpoint without its step is written again after a kill;
            # a step without its best checkpoint would never be.
            checkpoint.save(self.best_checkpoint)
            _link_or_copy(self.best_checkpoint, path)
        else:
            checkpoint.save(path)
        earlier = [path for path in self.epoch_checkpoints if checkpoint_step(path) <= step]
        for old in (*earlier[: -keep - 1], *self._stop_checkpoints):
            old.unlink()
        return path

    def save_interrupted(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of a training that stops where none is due."""
        step = checkpoint.metadata.step
        path = self._checkpoint_path("stop", step)
        if not self._checkpoint_path("step", step).exists():
            checkpoint.save(path)
        for old in self._stop_checkpoints:
            if old != path:
                old.unlink()

    @property
    def best_checkpoint(self) -> Path:
        """The path of the best epoch's checkpoint."""
        return self.checkpoint_dir / "best.safetensors"

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints by step, oldest first."""
        paths = (path for path in self.checkpoint_dir.glob("*") if CHECKPOINT.fullmatch(path.name))
        return sorted(paths, key=lambda path: (checkpoint_step(path), path.name.startswith("step")))

    @property
    def epoch_checkpoints(self) -> list[Path]:
        """The checkpoints that were due, by step, oldest first."""
        return [path for path in self.checkpoints if path.name.startswith("step")]

    @property
    def _stop_checkpoints(self) -> list[Path]:
        return [path for path in self.checkpoints if path.name.startswith("stop")]

    def _checkpoint_path(self, kind: str, step: int) -> Path:
        return self.checkpoint_dir / f"{kind}-{step:08d}.safetensors"


def check_available(path: Path) -> None:
    """Check that a run can be created: nothing is there, or a run that was never completed.

    Raises:
        UserError: a run or something else is there, the directory cannot be read, or its path is
            not valid UTF-8.
    """
    _check_path(path)
    documents = {"environment.json", "data.json", "init.json"}
    incomplete = {"checkpoints", "artifacts", "report", LOCK} | documents
    try:
        if (path / "recipe.json").exists():
            raise UserError(f"{path} is a run already: `residua resume {path}`, or another --dir")
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        others = {name for name in names - incomplete if not name.endswith(".partial")}
        if others or (path.exists() and not path.is_dir()):
            raise UserError(f"{path} exists and is not empty: choose another --dir")
    except OSError as error:
        raise UserError(f"cannot make the run {path}: {error.strerror}") from None


def _check_path(path: Path) -> None:
    """Check that safetensors can open files in a directory: it takes UTF-8 only.

    Raises:
        UserError: it cannot.
    """
    if not is_utf8(str(path)):
        raise UserError(f"{escaped(str(path))} is not valid UTF-8: a run needs another name")


def checkpoint_step(path: Path) -> int:
    """The step in the name of a checkpoint."""
    return int(path.stem[5:])


def _link_or_copy(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    partial = other.with_name(f".{other.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:
        shutil.copyfile(path, partial)
    partial.replace(other)
