"""The published figures and logs of the five reference systems, and comparisons with them.

The CSV files are the documents' logs: one row an epoch, epochs counted from 1, accuracies in
percent. A document that logs only some epochs has only those rows.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from residua.reports.published.systems import SYSTEMS, System

__all__ = ["SYSTEMS", "Curve", "Point", "Reference", "System", "curve", "names", "reference"]


@dataclass(frozen=True)
class Point:
    """One epoch of a published log; None where the document does not say."""

    epoch: int
    """Counted from 1."""
    train_accuracy: float
    """In percent, of the running epoch, as is `test_accuracy`'s unit."""
    test_accuracy: float
    train_loss: float | None
    """Mean over the epoch."""
    last_loss: float | None
    """Of the epoch's last batch."""
    test_loss: float | None
    seconds: float | None
    """Of the epoch's training."""


@dataclass(frozen=True)
class Curve:
    """A published log."""

    name: str
    """Of the file: resnet44v2_run1."""
    points: tuple[Point, ...]

    @property
    def last(self) -> Point:
        """The last epoch."""
        return self.points[-1]

    @property
    def best(self) -> Point:
        """The first epoch with the highest test accuracy."""
        return max(self.points, key=lambda point: point.test_accuracy)


@dataclass(frozen=True)
class Reference:
    """What a run is compared with: a system and one of its curves."""

    name: str
    system: System
    curve: Curve | None
    others: tuple[Curve, ...] = ()
    """Further published runs of the same system."""

    @property
    def test_accuracies(self) -> dict[int, float]:
        """The published test accuracies in percent, by epoch."""
        points = self.curve.points if self.curve else ()
        return {point.epoch: point.test_accuracy for point in points}

    @property
    def last(self) -> float | None:
        """Test accuracy of the last epoch, in percent."""
        return self.curve.last.test_accuracy if self.curve else self.system.last

    @property
    def best(self) -> float | None:
        """Test accuracy of the best epoch, in percent; it was selected on the test set."""
        return self.curve.best.test_accuracy if self.curve else self.system.best

    @property
    def headline(self) -> str:
        """The accuracies in percent, as text."""
        if self.last is None:
            return f"{self.system.target:g} (its target)"
        if self.best is None:
            return f"about {self.last:g}"
        return f"{self.last:.2f} last, {self.best:.2f} best"


def names() -> list[str]:
    """The names of references: all systems, and single runs of systems with several."""
    runs = [system.curves for system in SYSTEMS.values() if len(system.curves) > 1]
    return sorted([*SYSTEMS, *(name for curves in runs for name in curves)])


def reference(name: str) -> Reference:
    """The system or the single published run of this name.

    Raises:
        KeyError: there is none.
    """
    if name in SYSTEMS:
        system = SYSTEMS[name]
        curves = [curve(curve_name) for curve_name in system.curves]
        return Reference(name, system, curves[-1] if curves else None, tuple(curves[:-1]))
    if name not in names():
        raise KeyError(name)
    system = next(system for system in SYSTEMS.values() if name in system.curves)
    return Reference(name, system, curve(name))


@cache
def curve(name: str) -> Curve:
    """The published log in the CSV file of this name.

    Raises:
        FileNotFoundError: there is none.
    """
    text = resources.files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return Curve(name, tuple(_point(row) for row in csv.DictReader(text.splitlines())))


def _point(row: Mapping[str, str]) -> Point:
    def number(key: str) -> float | None:
        return float(row[key]) if key in row else None

    return Point(
        epoch=int(row["epoch"]),
        train_accuracy=float(row["train_accuracy"]),
        test_accuracy=float(row["test_accuracy"]),
        train_loss=number("train_loss"),
        last_loss=number("last_batch_loss"),
        test_loss=number("test_loss"),
        seconds=number("seconds"),
    )
