"""Several curves in one chart: ours over theirs, or the means of groups with their bands."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from residua.reports.charts import FEW, STYLE, epochs, frame, svg
from residua.reports.picture import COLOURS, Picture

DASHES: dict[str, tuple[float, ...]] = {"solid": (), "dashed": (4, 2), "dotted": (1, 1.5)}


@dataclass(frozen=True)
class Series:
    """A curve, and the band around it where it is a mean."""

    label: str
    colour: str
    """A name from COLOURS."""
    points: Sequence[tuple[int, float]]
    """Epoch and value."""
    band: Sequence[tuple[float, float]] = ()
    """The lower and the upper end at each point; empty for none."""
    stroke: str = "solid"
    """A name from DASHES."""
    faint: bool = False
    """Whether it stands behind the others."""


def overlay(name: str, title: str, series: Sequence[Series]) -> Picture | None:
    """Curves against epochs, those without a point left out; None where none has one."""
    drawn = [each for each in series if each.points]
    if not drawn:
        return None
    first = min(each.points[0][0] for each in drawn)
    last = max(each.points[-1][0] for each in drawn)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.5), layout="constrained")
        axes: Axes = figure.add_subplot()
        axes.set_title(title)
        for each in drawn:
            _draw(axes, each)
        frame(axes, first, last)
        figure.legend(loc="outside lower left", ncols=2, handlelength=2.4)
        content = svg(figure)
    return Picture(name, f"{title}, {epochs(first, last)}", content)


def _draw(axes: Axes, series: Series) -> None:
    places = [place for place, _ in series.points]
    colour = COLOURS[series.colour]
    if series.band:
        low, high = zip(*series.band, strict=True)
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
    sparse = len(places) <= FEW
    axes.plot(
        places,
        [value for _, value in series.points],
        color=colour,
        linewidth=1.0 if series.faint else 1.6,
        alpha=0.45 if series.faint else 1.0,
        dashes=DASHES[series.stroke] or (None, None),
        label=series.label,
        marker="o" if sparse and not series.faint else "",
        markersize=3.0,
        markerfacecolor=colour if series.stroke == "solid" else "none",
        zorder=2 if series.faint else 3,
    )
