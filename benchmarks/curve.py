"""Accuracy against time: the log of a run as a table, and as a picture where one is wanted.

    python benchmarks/curve.py RUN [FILE.svg]

Time is that of the training up to the end of an epoch and of this epoch's evaluation: what a
training takes that is evaluated there alone. Starts and interruptions are not in it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from residua import Run
from residua.reports.charts import FEW, STYLE, svg
from residua.reports.history import History
from residua.reports.picture import COLOURS


@dataclass(frozen=True)
class Point:
    """The end of an epoch."""

    epoch: int
    minutes: float
    training: float
    """Accuracy in percent, of the epoch's augmented images."""
    selection_split: float | None
    """Accuracy in percent; None where the epoch was not evaluated."""


def points(history: History) -> list[Point]:
    """One for each finished epoch."""
    found, seconds = [], 0.0
    for record in history.records:
        seconds += record["seconds"]
        minutes = (seconds + record.get("evaluation_seconds", 0.0)) / 60
        accuracy = history.accuracy(record)
        found.append(Point(record["epoch"], minutes, record["train_accuracy"], accuracy))
    return found


def table(found: Sequence[Point], split: str) -> str:
    """The points in Markdown."""
    header = f"| minutes | epoch | training accuracy, % | {split} accuracy, % |"
    lines = [header, "|---|---|---|---|"]
    for point in found:
        accuracy = "–" if point.selection_split is None else f"{point.selection_split:.2f}"
        lines.append(f"| {point.minutes:.1f} | {point.epoch} | {point.training:.2f} | {accuracy} |")
    return "\n".join(lines)


def picture(found: Sequence[Point], split: str) -> bytes:
    """The points as an SVG file."""
    evaluated = [point for point in found if point.selection_split is not None]
    lines = [
        ("train", "train", found, [point.training for point in found]),
        (split, "test", evaluated, [point.selection_split for point in evaluated]),
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("Accuracy in %")
        axes.set_xlabel("minutes")
        for label, colour, places, accuracies in lines:
            axes.plot(
                [point.minutes for point in places],
                accuracies,
                color=COLOURS[colour],
                linewidth=1.6,
                label=label,
                marker="o" if len(places) <= FEW else "",
                markersize=3.5,
            )
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, handlelength=1.2)
        return svg(figure)


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    asked = parser.parse_args(words)
    history = History.of(Run.open(asked.run))
    found = points(history)
    print(table(found, history.selection_split))
    if asked.file:
        asked.file.write_bytes(picture(found, history.selection_split))


if __name__ == "__main__":
    main()
