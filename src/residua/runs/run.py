"""A run: the directory that holds everything about one training."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residua import files
from residua.errors import UserError
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from residua.runs.lock import LOCK, exclusive_lock
from residua.runs.records import (
    DataFingerprint,
    Environment,
    Epoch,
    File,
    Result,
    checked,
    in_order,
)
from residua.training.state import Record, TrainingState

CHECKPOINT = re.compile(r"(step|stop)-(\d{8,15})\.safetensors")


class Run:
    """A directory with recipe.json, environment.json, log.jsonl, checkpoints/ and report/.

    A finished run also has result.json and evidence/: what the report needs of the data, so that
    nothing that reads a run ever has to load the data set. recipe.json is the last file that a
    beginning writes: a directory without it never became a run.

    Checkpoints are step-N, written where the recipe says, after N steps; and stop-N, where a
    training was stopped in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.artifacts = path / "artifacts"
        self.report = path / "report"

    @classmethod
    def create(cls, path: Path) -> "Run":
        """Make the directory of a new run, still without recipe.

        Raises:
            UserError: it cannot be made.
        """
        run = cls(path)
        try:
            for directory in (run.checkpoints, run.artifacts, run.report):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run {path}: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run in a directory.

        Raises:
            UserError: there is none; or it holds links, through which files elsewhere would be
                written.
        """
        if not (path / "recipe.json").is_file():
            raise UserError(f"{path} holds no run: it has no recipe.json")
        for each in (*path.iterdir(), *path.glob("*/*")):
            if each.is_symlink():
                raise UserError(f"{each} is a link: a run has to hold its files itself")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training here; over when this process ends, however.

        Raises:
            UserError: another process is at work here; or files cannot be written meanwhile.
        """
        try:
            with exclusive_lock(self.path):
                yield
        except OSError as error:
            raise UserError(
                f"the run {self.path} cannot be written: {error.strerror or error}; once that is "
                f"mended, `residua resume {self.path}` goes on from its last checkpoint"
            ) from error

    @property
    def recipe(self) -> Recipe:
        """The recipe; rebuilding it executes nothing.

        Raises:
            UserError: recipe.json is no recipe.
        """
        return parse_recipe(self._json("recipe.json"))

    @property
    def environment(self) -> dict[str, Any]:
        """What the run started on; empty where that is not known."""
        return self._json("environment.json", Environment) or {}

    @property
    def data_fingerprint(self) -> dict[str, Any]:
        """The data the run was begun with, as `Setting.provenance`; empty where not known."""
        return self._json("data.json", DataFingerprint) or {}

    @property
    def result(self) -> dict[str, Any] | None:
        """The final figures; None while the run is unfinished."""
        found: dict[str, Any] | None = self._json("result.json", Result)
        return found

    @property
    def log(self) -> list[Record]:
        """The finished epochs, oldest first; a torn last line is passed over.

        Raises:
            UserError: another line is damaged.
        """
        path = self.path / "log.jsonl"
        records: list[Record] = []
        if not path.is_file():
            return records
        try:
            *lines, _ = files.read_bytes(path).split(b"\n")
            for line in lines:
                records.append(checked(Epoch, files.check_tree_size(json.loads(line.decode()))))
            in_order(records)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged after line {len(records)}: {error}") from None
        return records

    def append(self, record: Record) -> None:
        """Add one epoch to the log."""
        files.append_line(self.path / "log.jsonl", json.dumps(record))

    def rewind(self, records: Sequence[Record]) -> None:
        """Set the log back to what a checkpoint knows."""
        files.write_atomic(
            self.path / "log.jsonl", "".join(json.dumps(each) + "\n" for each in records)
        )

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the run, whole or not at all."""
        files.write_atomic(self.path / name, json.dumps(content, indent=2) + "\n")

    def save(self, state: TrainingState, best: bool, keep: int) -> None:
        """Write the checkpoint of an epoch's end, and drop the oldest.

        Args:
            state: what to write.
            best: whether it is the best so far.
            keep: how many to leave besides the best, and besides one that stands in should the
                last be damaged.
        """
        path = self._checkpoint("step", state.step)
        if best:
            # In this order: a best one without its step is made again, the other way it is missed.
            state.save(self.best)
            _link(self.best, path)
        else:
            state.save(path)
        own = [each for each in self.ends if _step(each) <= state.step]
        for old in (*own[: -keep - 1], *self._stops):
            old.unlink()

    def stop(self, state: TrainingState) -> None:
        """Write the checkpoint of a training that stops where none is due."""
        path = self._checkpoint("stop", state.step)
        if not self._checkpoint("step", state.step).exists():
            state.save(path)
        for old in self._stops:
            if old != path:
                old.unlink()

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.checkpoints / "best.safetensors"

    @property
    def saved(self) -> list[Path]:
        """All checkpoints by step, oldest first."""
        found = (each for each in self.checkpoints.glob("*") if CHECKPOINT.fullmatch(each.name))
        return sorted(found, key=lambda each: (_step(each), each.name.startswith("step")))

    @property
    def step(self) -> int:
        """Of the last checkpoint."""
        return _step(self.saved[-1])

    @property
    def ends(self) -> list[Path]:
        """Those that were due, by step, oldest first."""
        return [each for each in self.saved if each.name.startswith("step")]

    @property
    def _stops(self) -> list[Path]:
        return [each for each in self.saved if each.name.startswith("stop")]

    def _checkpoint(self, kind: str, step: int) -> Path:
        return self.checkpoints / f"{kind}-{step:08d}.safetensors"

    def _json(self, name: str, kind: type[File] = File) -> Any:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return checked(kind, files.check_tree_size(json.loads(files.read_bytes(path).decode())))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is damaged: {error}") from None


def check_available(path: Path) -> None:
    """Do nothing where a run can be made: where nothing is, or a beginning that became no run.

    Raises:
        UserError: a run or something else is there, or cannot be looked at.
    """
    begun = {"checkpoints", "artifacts", "report", "environment.json", "data.json", LOCK}
    try:
        if (path / "recipe.json").exists():
            raise UserError(f"{path} holds a run: `residua resume {path}`, or another --run")
        names = {each.name for each in path.iterdir()} if path.is_dir() else set()
        others = {name for name in names - begun if not name.endswith(".partial")}
        if others or (path.exists() and not path.is_dir()):
            raise UserError(f"{path} is there already and not empty: choose another --run")
    except OSError as error:
        raise UserError(f"cannot make the run {path}: {error.strerror}") from None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.stem[5:])


def _link(path: Path, other: Path) -> None:
    """A second name for a file; a copy, where the file system knows no such thing."""
    partial = other.with_name(f".{other.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:
        shutil.copyfile(path, partial)
    partial.replace(other)
