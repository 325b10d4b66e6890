"""The curves of a training."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from residua.reports.history import History
from residua.reports.picture import COLOURS, Picture
from residua.reports.words import percent
from residua.training.state import Record

FEW = 30
"""Up to so many points, every one of them is marked."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "residua",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.5,
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Line:
    """One value an epoch, where there is one."""

    label: str
    colour: str
    """A name from COLOURS."""
    key: str
    """Of the value in the epoch's record."""


def charts(history: History) -> list[Picture]:
    """Loss, accuracy and learning rate against epochs; none before an epoch."""
    if not history.records:
        return []
    split = history.monitored
    return [
        _chart(
            "loss.svg",
            "Loss",
            (Line("train", "train", "train_loss"), Line(split, "test", f"{split}_loss")),
            history,
            _mark_best(history, f"{split}_loss", ""),
        ),
        _chart(
            "accuracy.svg",
            "Accuracy in %",
            (Line("train", "train", "train_accuracy"), Line(split, "test", f"{split}_accuracy")),
            history,
            _mark_accuracy(history),
        ),
        _chart("learning-rate.svg", "Learning rate", (Line("", "ink", "lr"),), history),
    ]


def _chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    history: History,
    mark: Callable[[Axes], None] = lambda _: None,
) -> Picture:
    first, last = history.records[0]["epoch"], history.records[-1]["epoch"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        axes: Axes = figure.add_subplot()
        axes.set_title(title)
        for line in lines:
            _draw(axes, line, history.records)
        mark(axes)
        frame(axes, first, last)
        if any(line.label for line in lines):
            axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, handlelength=1.2)
        content = svg(figure)
    return Picture(name, f"{title}, {epochs(first, last)}", content)


def frame(axes: Axes, first: int, last: int) -> None:
    """Axes from one epoch to another, upwards from zero."""
    span(axes, first, last)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    # The margin is that of the range from zero: a short range's would cut its highest point.
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.05 * axes.dataLim.ymax))


def span(axes: Axes, first: int, last: int) -> None:
    """From one epoch to another."""
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    whole = MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(whole)
    axes.set_xlabel("epoch")


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file that is the same whenever it is drawn."""
    file = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return file.getvalue()


def epochs(first: int, last: int) -> str:
    """A span of epochs, in words."""
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def _draw(axes: Axes, line: Line, records: Sequence[Record]) -> None:
    found = [(record["epoch"], record[line.key]) for record in records if line.key in record]
    axes.plot(
        [epoch for epoch, _ in found],
        [value for _, value in found],
        color=COLOURS[line.colour],
        linewidth=1.6,
        label=line.label,
        marker="o" if len(found) <= FEW else "",
        markersize=3.5,
        solid_capstyle="round",
    )


def _mark_best(history: History, key: str, note: str) -> Callable[[Axes], None]:
    """A ring around the best epoch, with a note at the foot."""

    def mark(axes: Axes) -> None:
        best = history.best
        if best is None:
            return
        place = (best["epoch"], best[key])
        axes.axvline(place[0], color=COLOURS["test"], linewidth=0.8, dashes=(1, 2))
        axes.plot(*place, "o", color=COLOURS["test"], fillstyle="none", markersize=8)
        late = place[0] > history.records[-1]["epoch"] / 2
        offset, side = ((-5, 6), "right") if late else ((5, 6), "left")
        axes.annotate(
            note,
            (place[0], 0),
            offset,
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            color=COLOURS["test"],
        )

    return mark


def _mark_accuracy(history: History) -> Callable[[Axes], None]:
    best = history.best
    accuracy = None if best is None else history.accuracy(best)
    note = "" if best is None else f"best {percent(accuracy)}, epoch {best['epoch']}"
    ring = _mark_best(history, f"{history.monitored}_accuracy", note)

    def mark(axes: Axes) -> None:
        ring(axes)
        if history.target is not None:
            axes.axhline(history.target, color=COLOURS["target"], linewidth=1, dashes=(4, 3))
            axes.annotate(
                f"target {history.target:g} %",
                (0, history.target),
                (2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=COLOURS["target"],
            )

    return mark
