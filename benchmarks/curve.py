"""Accuracy against training time of a run, as a table and optionally as a chart.

    python benchmarks/curve.py RUN [FILE.svg]

The time of an epoch is that of the training up to its end, plus that of its own evaluation: the
time of a training that is evaluated only once, there. Start-up and interruptions are not included.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from residua import Run
from residua.reports.kit.charts import (
    Series,
    add_legend,
    chart_style,
    draw_series,
    set_value_axis,
    svg,
)
from residua.reports.kit.formatting import MISSING
from residua.reports.kit.tables import Table, markdown_table
from residua.runs.records import EpochRecord


@dataclass(frozen=True)
class Point:
    """The end of an epoch."""

    epoch: int
    minutes: float
    train_accuracy: float
    """In percent, on the epoch's augmented images."""
    accuracy: float | None
    """In percent, on the evaluated split; None if the epoch was not evaluated."""


def accuracy_points(log: Sequence[EpochRecord]) -> list[Point]:
    """One point for each finished epoch."""
    points, seconds = [], 0.0
    for record in log:
        seconds += record.seconds
        accuracy = record.evaluation.accuracy if record.evaluation else None
        minutes = (seconds + record.evaluation_seconds) / 60
        points.append(Point(record.epoch, minutes, record.train_accuracy, accuracy))
    return points


def table(points: Sequence[Point], split: str) -> str:
    """The points in Markdown."""
    rows = [
        [
            f"{point.minutes:.1f}",
            str(point.epoch),
            f"{point.train_accuracy:.2f}",
            MISSING if point.accuracy is None else f"{point.accuracy:.2f}",
        ]
        for point in points
    ]
    columns = ["minutes", "epoch", "training accuracy, %", f"{split} accuracy, %"]
    return markdown_table(Table(columns, rows, text_columns=0))


def chart(points: Sequence[Point], split: str) -> bytes:
    """The points as an SVG file."""
    evaluated = [(each.minutes, each.accuracy) for each in points if each.accuracy is not None]
    curves = [
        Series("train", "train", [(each.minutes, each.train_accuracy) for each in points]),
        Series(split, "test", evaluated),
    ]
    with mpl.rc_context(chart_style()):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title("Accuracy in %")
        axes.set_xlabel("minutes")
        for curve in curves:
            if curve.points:
                draw_series(axes, curve)
        axes.set_xlim(left=0)
        set_value_axis(axes)
        add_legend(axes)
        return svg(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write the chart if a file is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    log = Run.open(options.run).log
    points = accuracy_points(log)
    split = next((record.evaluated_split for record in log if record.evaluated_split), "test")
    print(table(points, split))
    if options.file:
        options.file.write_bytes(chart(points, split))


if __name__ == "__main__":
    main()
