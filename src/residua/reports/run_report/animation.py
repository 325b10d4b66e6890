"""The animation of a training: its growing curves and the filters of the first layer."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from residua.inference.explain import rescale_filters
from residua.reports.kit.charts import (
    STYLE,
    add_legend,
    draw_series,
    epoch_range,
    set_epoch_axis,
    set_value_axis,
)
from residua.reports.kit.formatting import percent
from residua.reports.kit.images import COLORS, Animation
from residua.reports.run_data import RunData
from residua.reports.run_report.curves import evaluation_series, train_series

MAX_FRAMES = 60
"""Of longer trainings some epochs are shown, evenly spaced."""
SECONDS = 9.0
"""From the first to the last frame; less where there are few frames."""
MAX_FRAME_SECONDS = 0.5
LAST_FRAME_SECONDS = 3.0
MAX_FILTERS = 64


def training_animation(run: RunData, filters: Mapping[int, Tensor]) -> Animation | None:
    """Accuracy, loss and first-layer filters from before the first to after the last epoch.

    Args:
        run: the run.
        filters: (filters, 3, k, k) by epoch, as `load_filters` gives them; may be empty.

    Returns:
        A WebP file that repeats; None before the second epoch.
    """
    if len(run.records) < 2:
        return None
    last = run.finished_epochs
    with mpl.rc_context({**STYLE, "font.size": 11, "axes.titlesize": 12}):
        figure = Figure(figsize=(9.6, 3.4), dpi=100, layout="constrained")
        ratios = (3, 3, 2.2) if filters else (1, 1)
        accuracy_axes, loss_axes, *filter_axes = figure.subplots(
            1, len(ratios), width_ratios=ratios
        )
        parts: list[_Curves | _Filters] = [
            _Curves(accuracy_axes, "Accuracy in %", run, "accuracy"),
            _Curves(loss_axes, "Loss", run, "loss"),
            *(_Filters(axes, filters) for axes in filter_axes),
        ]
        accuracy_axes.set_ylim(0, 100)
        frames = []
        for epoch in frame_epochs(last):
            for part in parts:
                part.show(epoch)
            figure.suptitle(_title(run, epoch), x=0.01, ha="left", color=COLORS["ink"])
            frames.append(_frame(figure))
    seconds = min(MAX_FRAME_SECONDS, SECONDS / len(frames))
    times = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * LAST_FRAME_SECONDS)]
    subject = "Accuracy, loss and first-layer filters" if filters else "Accuracy, loss"
    return Animation(
        "training.webp",
        f"{subject}, {epoch_range(0, last)}",
        _webp(frames, times),
        still=_webp(frames[-1:], times[-1:]),
    )


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

    def __init__(self, axes: Axes, title: str, run: RunData, metric: str) -> None:
        axes.set_title(title)
        series = [train_series(run, f"train_{metric}"), evaluation_series(run, metric)]
        # The complete curves fix the ranges of the axes for all frames.
        self.lines = [(draw_series(axes, curve), curve) for curve in series if curve.points]
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
        """(height, width, 4) float32: the filters with transparent gaps."""
        latest = max((saved for saved in self.filters if saved <= epoch), default=min(self.filters))
        colors = rescale_filters(self.filters[latest])[:MAX_FILTERS]
        cells = F.pad(torch.cat([colors, torch.ones_like(colors[:, :1])], 1), (0, 1, 0, 1))
        columns = math.ceil(math.sqrt(len(cells)))
        padded = F.pad(cells, (0, 0, 0, 0, 0, 0, 0, -len(cells) % columns))
        rows = padded.reshape(-1, columns, *cells.shape[1:]).permute(0, 3, 1, 4, 2)
        return rows.flatten(2, 3).flatten(0, 1).numpy()


def _frame(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="rgba", transparent=True)
    width, height = map(round, figure.get_size_inches() * figure.dpi)
    return Image.frombytes("RGBA", (width, height), file.getvalue())


def _webp(frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    file = io.BytesIO()
    frames[0].save(
        file,
        "WEBP",
        lossless=True,
        method=2,
        quality=50,
        save_all=True,
        append_images=frames[1:],
        duration=list(milliseconds),
        loop=0,
    )
    return file.getvalue()
