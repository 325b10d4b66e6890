"""Line charts."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from residua.reports.kit.formatting import without_controls
from residua.reports.kit.images import COLORS, ImageFile

MAX_MARKED_POINTS = 30
"""Longer curves are drawn without a marker at each point."""
Legend = Literal["inside", "below", "right", "none"]
DASHES: dict[str, Any] = {"solid": (None, None), "dashed": (4, 2), "dotted": (1, 1.5)}


def chart_style(colors: Mapping[str, str] = COLORS) -> Any:
    """Matplotlib's settings for charts in these colours."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "residua",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.parse_math": False,
        "text.color": colors["ink"],
        "axes.edgecolor": colors["rule"],
        "axes.labelcolor": colors["ink"],
        "axes.titlecolor": colors["ink"],
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
        "grid.color": colors["rule"],
        "grid.linewidth": 0.5,
        "xtick.color": colors["ink"],
        "ytick.color": colors["ink"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
    }


@dataclass(frozen=True)
class Series:
    """A curve."""

    label: str
    color: str
    """A name from COLORS."""
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    """The lower and the upper end of a band at each point; empty for none."""
    dash: str = "solid"
    """A name from DASHES."""
    opacity: float = 1.0
    background: bool = False
    """Whether it is drawn thin, without markers and behind the others."""


def line_chart(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    legend: Legend = "inside",
    log_scale: bool = False,
    annotate: Callable[[Axes], None] = lambda _: None,
) -> list[ImageFile]:
    """Draw curves against epochs.

    Args:
        name: of the file.
        title: above the chart.
        series: the curves; those without points are left out.
        legend: where it is.
        log_scale: whether values are on a logarithmic scale, where one of them is positive.
        annotate: draws further things; called before the axes get their ranges.

    Returns:
        An SVG file; nothing where no curve has a point.
    """
    drawn = [curve for curve in series if curve.points]
    if not drawn:
        return []
    first = round(min(curve.points[0][0] for curve in drawn))
    last = round(max(curve.points[-1][0] for curve in drawn))
    with mpl.rc_context(chart_style()):
        figure = Figure(figsize=(4.8, 3.5 if legend == "below" else 2.9), layout="constrained")
        axes: Axes = figure.add_subplot()
        axes.set_title(title)
        for curve in drawn:
            draw_series(axes, curve)
        annotate(axes)
        set_epoch_axis(axes, first, last)
        if log_scale:
            _set_log_axis(axes)
        else:
            set_value_axis(axes)
        if legend == "inside":
            add_legend(axes)
        elif legend == "below":
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.4)
        elif legend == "right":
            figure.legend(loc="outside right center", handlelength=1.2)
        return [ImageFile(name, f"{title}, {epoch_range(first, last)}", svg(figure))]


def draw_series(axes: Axes, series: Series, colors: Mapping[str, str] = COLORS) -> Line2D:
    """Draw a curve, and its band where it has one."""
    x, y = zip(*series.points, strict=True)
    color = colors[series.color]
    if series.band:
        low, high = zip(*series.band, strict=True)
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    (line,) = axes.plot(
        x,
        y,
        color=color,
        linewidth=1.0 if series.background else 1.6,
        alpha=series.opacity,
        dashes=DASHES[series.dash],
        label=series.label,
        marker="o" if len(x) <= MAX_MARKED_POINTS and not series.background else "",
        markersize=3.0,
        markerfacecolor=color if series.dash == "solid" else "none",
        zorder=2 if series.background else 3,
    )
    return line


def set_epoch_axis(axes: Axes, first: int, last: int) -> None:
    """Set the x-axis to a range of epochs."""
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")


def set_value_axis(axes: Axes) -> None:
    """Let the y-axis begin at zero."""
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    # The margin is 5 % of the range from zero: that of a short range would cut its highest point.
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.05 * axes.dataLim.ymax))


def _set_log_axis(axes: Axes) -> None:
    if axes.dataLim.ymax > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def add_legend(axes: Axes) -> None:
    """A legend above the right end of the axes."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, handlelength=1.2)


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file; equal figures give equal files."""
    file = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        # Of characters that matplotlib's font lacks; pages have fonts of their own.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    return without_controls(file.getvalue()).encode()


def epoch_range(first: int, last: int) -> str:
    """A range of epochs in words."""
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"
