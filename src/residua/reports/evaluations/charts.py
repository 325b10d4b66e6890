"""The charts of evaluations."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from residua.reports.evaluations.tables import mean_accuracies
from residua.reports.kit.charts import chart_style, svg
from residua.reports.kit.images import COLORS, ImageFile
from residua.runs.evaluations import CorruptionRecord, ReliabilityBin

GROUPS: dict[str, Sequence[str]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The kinds of corruption as the paper groups them."""
LINE_COLORS = ("test", "train", "target", "violet")


def reliability_diagram(
    name: str, series: Mapping[str, Sequence[ReliabilityBin]]
) -> list[ImageFile]:
    """Accuracy against confidence; on the diagonal both are equal.

    Args:
        name: of the file.
        series: the bins by what they are called; at most two.
    """
    with mpl.rc_context(chart_style()):
        figure = Figure(figsize=(4.8, 3.8), layout="constrained")
        axes: Axes = figure.add_subplot()
        axes.set_title("Reliability: accuracy against confidence, %")
        axes.plot((0, 100), (0, 100), color=COLORS["ink"], linewidth=0.8, dashes=(4, 3))
        for (label, bins), color in zip(series.items(), ("test", "train"), strict=False):
            shown = [b for b in bins if b.images]
            largest = max((b.images for b in shown), default=1)
            x, y = ([getattr(b, key) for b in shown] for key in ("confidence", "accuracy"))
            axes.plot(x, y, color=COLORS[color], linewidth=1.4, label=label)
            # An area in proportion to the images keeps a bin of three images from being believed.
            sizes = [8 + 90 * b.images / largest for b in shown]
            axes.scatter(x, y, s=sizes, color=COLORS[color], alpha=0.75, linewidths=0, zorder=3)
        axes.set_xlim(0, 101)
        axes.set_ylim(0, 101)
        axes.set_xlabel("mean confidence, %")
        axes.legend(loc="upper left", handlelength=1.2)
        alt = "Reliability diagram: accuracy against mean confidence in 15 bins"
        return [ImageFile(name, alt, svg(figure))]


def corruption_charts(record: CorruptionRecord) -> list[ImageFile]:
    """Accuracy against severity: a chart for each group of kinds, all on one scale."""
    charts = []
    mean = [record.clean, *mean_accuracies(record)]
    severities = [0, *record.severities]
    for group, kinds in GROUPS.items():
        shown = [kind for kind in kinds if kind in record.accuracies]
        if not shown:
            continue
        with mpl.rc_context(chart_style()):
            figure = Figure(figsize=(4.8, 3.3), layout="constrained")
            axes: Axes = figure.add_subplot()
            axes.set_title(f"Accuracy under {group}, %")
            axes.plot(
                severities, mean, color=COLORS["ink"], linewidth=1, dashes=(4, 2), label="all kinds"
            )
            for kind, color in zip(shown, LINE_COLORS, strict=False):
                values = [record.clean, *record.accuracies[kind]]
                label = kind.replace("_", " ")
                axes.plot(
                    severities, values, color=COLORS[color], linewidth=1.6, marker="o",
                    markersize=3, label=label,
                )  # fmt: skip
            axes.set_ylim(0, 100)
            axes.set_xticks(severities)
            axes.set_xlabel("severity; 0 is the clean image")
            figure.legend(loc="outside lower left", ncols=3, handlelength=1.6)
            alt = f"Accuracy under {group} by severity"
            charts.append(ImageFile(f"corruptions-{group}.svg", alt, svg(figure)))
    return charts
