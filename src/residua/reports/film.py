"""The animation of a training: its curves as they grow, and what becomes of the first filters."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from residua.inference.explain import rescale_filters
from residua.reports.charts import STYLE, epochs, frame
from residua.reports.history import History
from residua.reports.picture import COLOURS, Film
from residua.reports.words import percent
from residua.training.state import Record

PICTURES = 60
"""At most so many epochs are shown, evenly apart."""
SECONDS = 9.0
"""From the first picture to the last, or less where there are few."""
SLOWEST = 0.5
"""Seconds that a picture stays at most; the last one stays for LAST."""
LAST = 3.0
SHOWN = 64
"""The first so many filters are shown."""


def film(history: History, filters: Mapping[int, Tensor]) -> Film | None:
    """Accuracy, loss and first-layer filters from before the first epoch to the last one.

    Args:
        history: the finished epochs.
        filters: (filters, 3, k, k) by epoch, as `evidence.filters` gives them; may be empty.

    Returns:
        A WebP file that begins anew when it has ended; None before the second epoch.
    """
    if len(history.records) < 2:
        return None
    split, first, last = history.monitored, 0, history.records[-1]["epoch"]
    with mpl.rc_context({**STYLE, "font.size": 11, "axes.titlesize": 12}):
        figure = Figure(figsize=(9.6, 3.4), dpi=100, layout="constrained")
        ratios = (3, 3, 2.2) if filters else (1, 1)
        places = figure.subplots(1, len(ratios), width_ratios=ratios)
        curves = [
            _Curves(places[0], "Accuracy in %", "accuracy", split, history.records),
            _Curves(places[1], "Loss", "loss", split, history.records),
        ]
        for axes in places[:2]:
            frame(axes, first, last)
        places[0].set_ylim(0, 100)
        tiles = _Tiles(places[2], filters) if filters else None
        pictures = []
        for epoch in shown(last):
            for each in curves:
                each.show(epoch)
            if tiles is not None:
                tiles.show(epoch)
            figure.suptitle(_title(history, epoch), x=0.01, ha="left", color=COLOURS["ink"])
            pictures.append(_picture(figure))
    stay = min(SLOWEST, SECONDS / len(pictures))
    times = [round(1000 * stay)] * (len(pictures) - 1) + [round(1000 * LAST)]
    alt = f"Accuracy, loss{' and first-layer filters' if filters else ''}, {epochs(0, last)}"
    return Film(
        "training.webp", alt, _webp(pictures, times), still=_webp(pictures[-1:], times[-1:])
    )


def shown(last: int) -> list[int]:
    """The epochs that get a picture: 0, the last, and those evenly between."""
    count = min(PICTURES, last + 1)
    return [round(place * last / (count - 1)) for place in range(count)]


def _title(history: History, epoch: int) -> str:
    done = [history.accuracy(each) for each in history.evaluated if each["epoch"] <= epoch]
    reached = f", {history.monitored} accuracy {percent(done[-1])}" if done else ""
    return f"Epoch {epoch} of {history.records[-1]['epoch']}{reached}"


class _Curves:
    """Training and monitored curve of one figure, drawn up to an epoch."""

    def __init__(
        self, axes: Axes, title: str, figure: str, split: str, records: Sequence[Record]
    ) -> None:
        axes.set_title(title)
        self.lines: dict[str, Line2D] = {}
        self.points: dict[str, list[tuple[int, float]]] = {}
        for name, colour in (("train", "train"), (split, "test")):
            key = f"{name}_{figure}"
            points = [(record["epoch"], record[key]) for record in records if key in record]
            # The whole curve, invisible, fixes the axes from the first picture on.
            (line,) = axes.plot(*zip(*points, strict=True), color=COLOURS[colour], label=name)
            self.lines[name], self.points[name] = line, points
        axes.relim()
        axes.autoscale_view()
        axes.legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, handlelength=1.2)

    def show(self, epoch: int) -> None:
        """The curves as they were after an epoch."""
        for name, line in self.lines.items():
            done = [point for point in self.points[name] if point[0] <= epoch]
            line.set_data([place for place, _ in done], [value for _, value in done])
            line.set_marker("o" if len(done) == 1 else "")


class _Tiles:
    """The filters of an epoch, side by side, each stretched to its own range."""

    def __init__(self, axes: Axes, filters: Mapping[int, Tensor]) -> None:
        self.filters = filters
        axes.set_title("First-layer filters")
        axes.set_axis_off()
        self.image = axes.imshow(self._sheet(0), interpolation="nearest")

    def show(self, epoch: int) -> None:
        """The filters as they were after an epoch."""
        self.image.set_data(self._sheet(epoch))

    def _sheet(self, epoch: int) -> Any:
        """(height, width, 4) float32: the filters with transparent gaps."""
        latest = max((known for known in self.filters if known <= epoch), default=min(self.filters))
        tiles = rescale_filters(self.filters[latest])[:SHOWN]
        cells = F.pad(torch.cat([tiles, torch.ones_like(tiles[:, :1])], 1), (0, 1, 0, 1))
        across = math.ceil(math.sqrt(len(cells)))
        full = F.pad(cells, (0, 0, 0, 0, 0, 0, 0, -len(cells) % across))
        rows = full.reshape(-1, across, *cells.shape[1:]).permute(0, 3, 1, 4, 2)
        return rows.flatten(2, 3).flatten(0, 1).numpy()


def _picture(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="rgba", transparent=True)
    size = tuple(map(round, figure.get_size_inches() * figure.dpi))
    return Image.frombytes("RGBA", (size[0], size[1]), file.getvalue())


def _webp(pictures: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        lossless=True,
        method=2,
        quality=50,
        save_all=True,
        append_images=pictures[1:],
        duration=list(milliseconds),
        loop=0,
    )
    return file.getvalue()
