"""The sizes of gradients, layer group by layer group, against epochs."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from residua.reports.charts import FEW, STYLE, epochs, span, svg
from residua.reports.history import History
from residua.reports.picture import COLOURS, Picture

NAME = "gradient-norm.svg"
ENDS = {"stem": "amber", "head": "violet"}
"""Colours of the groups at both ends; stages are blue, the deeper the stronger."""
FAINTEST = 0.35


def gradient_chart(history: History) -> list[Picture]:
    """Mean gradient norms before clipping, of all layers and of each group; none before an epoch.

    Norms of groups differ by orders of magnitude where gradients vanish or explode, so their scale
    is logarithmic.
    """
    if not history.records:
        return []
    first, last = history.records[0]["epoch"], history.records[-1]["epoch"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        axes: Axes = figure.add_subplot()
        axes.set_title("Gradient norm")
        groups = list(history.records[-1].get("grad_norms", {}))
        stages = [group for group in groups if group not in ENDS]
        for group in groups:
            depth = (stages.index(group) + 1) / len(stages) if group in stages else 1.0
            strength = FAINTEST + (1 - FAINTEST) * depth
            _draw(axes, history, group, ENDS.get(group, "test"), strength)
        _draw(axes, history, "all", "ink", 1.0, dashed=bool(groups))
        if any(record["grad_norm"] > 0 for record in history.records):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=7))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        span(axes, first, last)
        if groups:
            figure.legend(loc="outside right center", handlelength=1.2)
        content = svg(figure)
    return [Picture(NAME, f"Gradient norm by layer group, {epochs(first, last)}", content)]


def _draw(
    axes: Axes, history: History, group: str, colour: str, strength: float, dashed: bool = False
) -> None:
    sizes = [
        (record["epoch"], record["grad_norm"] if group == "all" else record["grad_norms"][group])
        for record in history.records
        if group == "all" or group in record.get("grad_norms", {})
    ]
    axes.plot(
        [epoch for epoch, _ in sizes],
        [size for _, size in sizes],
        color=COLOURS[colour],
        alpha=strength,
        linewidth=1.6,
        dashes=(4, 2) if dashed else (None, None),
        label=group,
        marker="o" if len(sizes) <= FEW and not dashed else "",
        markersize=3.0,
    )
