"""A run: the directory that holds everything about one training."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from residua.errors import UserError
from residua.recipe import Recipe
from residua.recipe_forms import validated
from residua.state import Record, State


class Run:
    """A directory with recipe.json, environment.json, log.jsonl, checkpoints/ and report/.

    A finished run also has result.json and evidence/: what the report needs of the data, so that
    nothing that reads a run ever has to load the data set.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.evidence = path / "evidence"
        self.report = path / "report"

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> "Run":
        """Make the directory of a new run.

        Raises:
            UserError: it exists already, or cannot be made.
        """
        ensure_vacant(path)
        run = cls(path)
        try:
            for directory in (run.checkpoints, run.evidence, run.report):
                directory.mkdir(parents=True)
            write(path / "recipe.json", recipe.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise UserError(f"cannot make the run {path}: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run in a directory.

        Raises:
            UserError: there is none.
        """
        if not (path / "recipe.json").is_file():
            raise UserError(f"{path} holds no run: it has no recipe.json")
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        """The recipe; rebuilding it executes nothing.

        Raises:
            UserError: recipe.json is no recipe.
        """
        return validated(self._json("recipe.json"))

    @property
    def environment(self) -> dict[str, Any]:
        """What the run started on; empty where that is not known."""
        return self._json("environment.json") if self._has("environment.json") else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """The data the run was begun with, as `Setting.provenance`; empty where not known."""
        found: dict[str, Any] = self._json("data.json") if self._has("data.json") else {}
        return found

    @property
    def result(self) -> dict[str, Any] | None:
        """The final figures; None while the run is unfinished."""
        return self._json("result.json") if self._has("result.json") else None

    @property
    def log(self) -> list[Record]:
        """The finished epochs, oldest first; a torn last line is passed over."""
        records: list[Record] = []
        if self._has("log.jsonl"):
            for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
        return records

    def append(self, record: Record) -> None:
        """Add one epoch to the log."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewind(self, records: Sequence[Record]) -> None:
        """Set the log back to what a checkpoint knows."""
        write(self.path / "log.jsonl", "".join(json.dumps(record) + "\n" for record in records))

    def record(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the run, whole or not at all."""
        write(self.path / name, json.dumps(content, indent=2) + "\n")

    def save(self, state: State, best: bool, keep: int) -> Path:
        """Write a checkpoint, mark it as the best one if it is, and drop the oldest.

        Args:
            state: what to write.
            best: whether it is the best so far.
            keep: how many checkpoints besides the best to leave.
        """
        path = self.checkpoints / f"step-{state.step:08d}.safetensors"
        state.save(path)
        if best:
            partial = self.checkpoints / ".best.partial"
            partial.unlink(missing_ok=True)
            _link(path, partial)
            partial.replace(self.best)
        for old in self.saved[:-keep]:
            old.unlink()
        return path

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.checkpoints / "best.safetensors"

    @property
    def saved(self) -> list[Path]:
        """The checkpoints by step, oldest first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"))

    def _has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None


def ensure_vacant(path: Path) -> None:
    """Do nothing where a run can be made.

    Raises:
        UserError: a run or something else is there, or cannot be looked at.
    """
    try:
        if (path / "recipe.json").exists():
            raise UserError(f"{path} holds a run: `residua resume {path}`, or another --run")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} is there already and not empty: choose another --run")
    except OSError as error:
        raise UserError(f"cannot make the run {path}: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Write a file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _link(path: Path, other: Path) -> None:
    """A second name for a file; a copy, where the file system knows no such thing."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
