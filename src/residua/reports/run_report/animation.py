"""The animation of a training: its growing curves and the filters of the first layer."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from residua.inference.explain import mosaic, rescale
from residua.reports.kit.charts import (
    add_legend,
    chart_style,
    draw_series,
    epoch_range,
    set_epoch_axis,
    set_value_axis,
)
from residua.reports.kit.formatting import percent
from residua.reports.kit.images import COLORS, DARK_COLORS, Animation
from residua.reports.run_data import RunData
from residua.reports.run_report.curves import evaluation_series, train_series

MAX_FRAMES = 30
"""Of longer trainings some epochs are shown, evenly spaced."""
SECONDS = 4.5
"""From the first to the last frame; less where there are few frames."""
MAX_FRAME_SECONDS = 0.4
MAX_FILTERS = 64
FILTER_COLUMNS = 16


def training_animation(run: RunData, filters: Mapping[int, Tensor]) -> Animation | None:
    """Accuracy, loss and first-layer filters from before the first to after the last epoch.

    It is narrow enough to be read on a phone, is played once, for less than five seconds
    (WCAG 2.2.2), and shows the end first, for readers and printers that show one frame.

    Args:
        run: the run.
        filters: (filters, C, k, k) by epoch, as `load_filters` gives them; may be empty.

    Returns:
        A WebP file for light and one for dark pages; None before the second epoch.
    """
    if len(run.records) < 2:
        return None
    subject = "Accuracy, loss and first-layer filters" if filters else "Accuracy and loss"
    light, dark = (_frames(run, filters, colors) for colors in (COLORS, DARK_COLORS))
    milliseconds = round(1000 * min(MAX_FRAME_SECONDS, SECONDS / len(light)))
    return Animation(
        "training.webp",
        f"{subject}, {epoch_range(0, run.finished_epochs)}",
        _webp(light, milliseconds),
        still=_webp(light[-1:], milliseconds),
        dark=_webp(dark, milliseconds),
        dark_still=_webp(dark[-1:], milliseconds),
    )


def _frames(
    run: RunData, filters: Mapping[int, Tensor], colors: Mapping[str, str]
) -> list[Image.Image]:
    """The last epoch, then the epochs from 0 to the last."""
    style = chart_style(colors) | {"font.size": 11, "axes.titlesize": 12}
    with mpl.rc_context(style):
        ratios = (3, 3, 1.9) if filters else (1, 1)
        size = (4.6, 7.2 if filters else 5.6)
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        accuracy_axes, loss_axes, *filter_axes = figure.subplots(len(ratios), height_ratios=ratios)
        parts: list[_Curves | _Filters] = [
            _Curves(accuracy_axes, "Accuracy in %", run, "accuracy", colors),
            _Curves(loss_axes, "Loss", run, "loss", colors),
            *(_Filters(axes, filters) for axes in filter_axes),
        ]
        accuracy_axes.set_ylim(0, 100)
        title = figure.suptitle(_title(run, run.finished_epochs), x=0.01, ha="left")
        # The layout is computed once: it takes long, and moves by parts of a pixel.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        frames = []
        for epoch in frame_epochs(run.finished_epochs):
            for part in parts:
                part.show(epoch)
            title.set_text(_title(run, epoch))
            frames.append(_frame(figure))
    return [frames[-1], *frames]


def frame_epochs(last: int) -> list[int]:
    """The epochs that get a frame: 0, the last, and evenly spaced ones between."""
    count = min(MAX_FRAMES, last + 1)
    return [round(index * last / (count - 1)) for index in range(count)]


def _title(run: RunData, epoch: int) -> str:
    accuracies = [point.accuracy for point in run.evaluated if point.epoch <= epoch]
    latest = f", {run.selection_split} accuracy {percent(accuracies[-1])}" if accuracies else ""
    return f"Epoch {epoch} of {run.finished_epochs}{latest}"


class _Curves:
    """Training and evaluation curve of one metric, drawn up to an epoch."""

    def __init__(
        self, axes: Axes, title: str, run: RunData, metric: str, colors: Mapping[str, str]
    ) -> None:
        axes.set_title(title)
        series = [train_series(run, f"train_{metric}"), evaluation_series(run, metric)]
        # The complete curves fix the ranges of the axes for all frames.
        drawn = [curve for curve in series if curve.points]
        self.lines = [(draw_series(axes, curve, colors), curve) for curve in drawn]
        axes.relim()
        axes.autoscale_view()
        add_legend(axes)
        set_epoch_axis(axes, 0, run.finished_epochs)
        set_value_axis(axes)

    def show(self, epoch: int) -> None:
        """Show the curves up to an epoch."""
        for line, series in self.lines:
            points = [point for point in series.points if point[0] <= epoch]
            line.set_data([x for x, _ in points], [y for _, y in points])
            line.set_marker("o" if len(points) == 1 else "")


class _Filters:
    """The filters of an epoch, side by side, each stretched to its own range."""

    def __init__(self, axes: Axes, filters: Mapping[int, Tensor]) -> None:
        self.filters = filters
        axes.set_title("First-layer filters")
        axes.set_axis_off()
        self.image = axes.imshow(self._mosaic(0), interpolation="nearest")

    def show(self, epoch: int) -> None:
        """Show the latest filters saved up to an epoch."""
        self.image.set_data(self._mosaic(epoch))

    def _mosaic(self, epoch: int) -> Any:
        """(height, width, 4) float32: the latest filters with transparent gaps."""
        latest = max((saved for saved in self.filters if saved <= epoch), default=min(self.filters))
        shown = rescale(self.filters[latest])[:MAX_FILTERS]
        return mosaic(shown, min(FILTER_COLUMNS, len(shown))).numpy()


def _frame(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="rgba", transparent=True)
    width, height = map(round, figure.get_size_inches() * figure.dpi)
    return Image.frombytes("RGBA", (width, height), file.getvalue())


def _webp(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    file = io.BytesIO()
    frames[0].save(
        file,
        "WEBP",
        lossless=True,
        method=2,
        quality=50,
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=1,
    )
    return file.getvalue()
