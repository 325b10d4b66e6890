"""The curves of a training: loss, accuracy, learning rate and gradient norms against epochs."""

from collections.abc import Callable

from matplotlib.axes import Axes

from residua.reports.kit import document as doc
from residua.reports.kit.charts import Legend, Series, line_chart
from residua.reports.kit.formatting import loss, number, percent
from residua.reports.kit.images import COLORS, Animation, ImageFile
from residua.reports.kit.tables import Table
from residua.reports.run_data import EvaluatedEpoch, RunData
from residua.reports.run_report.advice import mixes_images

GROUP_COLORS = {"stem": "amber", "head": "violet"}
"""Colours of the first and the last layer group; stages are blue, deeper ones stronger."""
MIN_OPACITY = 0.35
NO_EPOCH = "No epoch is finished yet, so there is nothing to draw."


def train_series(run: RunData, metric: str, label: str = "train", color: str = "train") -> Series:
    """A number of each epoch's record, named `metric`, such as `train_loss`."""
    return Series(label, color, [(r.epoch, getattr(r, metric)) for r in run.records])


def evaluation_series(run: RunData, metric: str, label: str = "") -> Series:
    """`accuracy` or `loss` on the selection split."""
    points = [(epoch.epoch, getattr(epoch.metrics, metric)) for epoch in run.evaluated]
    return Series(label or run.selection_split, "test", points)


def training_charts(run: RunData) -> list[ImageFile]:
    """Loss, accuracy, learning rate and gradient norms; none before an epoch is finished."""
    losses = [train_series(run, "train_loss"), evaluation_series(run, "loss")]
    accuracy = [train_series(run, "train_accuracy"), evaluation_series(run, "accuracy")]
    rate = [train_series(run, "lr", "", "ink")]
    return [
        *line_chart("loss.svg", "Loss", losses, annotate=_mark_best(run, "loss")),
        *line_chart("accuracy.svg", "Accuracy in %", accuracy, annotate=_mark_accuracy(run)),
        *line_chart("learning-rate.svg", "Learning rate", rate, legend="none"),
        *gradient_chart(run),
    ]


def gradient_chart(run: RunData) -> list[ImageFile]:
    """Mean gradient norms before clipping, of all layers and of each layer group.

    On a logarithmic scale: norms of groups differ by orders of magnitude where gradients vanish or
    explode.
    """
    groups = list(run.records[-1].grad_norms) if run.records else []
    stages = [group for group in groups if group not in GROUP_COLORS]
    series = []
    for group in groups:
        depth = (stages.index(group) + 1) / len(stages) if group in stages else 1.0
        opacity = MIN_OPACITY + (1 - MIN_OPACITY) * depth
        norms = [(r.epoch, r.grad_norms[group]) for r in run.records if group in r.grad_norms]
        series.append(Series(group, GROUP_COLORS.get(group, "test"), norms, opacity=opacity))
    norms = [(record.epoch, record.grad_norm) for record in run.records]
    series.append(Series("all", "ink", norms, dash="dashed" if groups else "solid"))
    legend: Legend = "right" if groups else "none"
    return line_chart("gradient-norm.svg", "Gradient norm", series, legend=legend, log_scale=True)


def curves_section(
    run: RunData, charts: list[ImageFile], animation: Animation | None
) -> doc.Section:
    """The charts, and the training as an animation once it is finished."""
    if not charts:
        return doc.Section("Curves", [NO_EPOCH])
    epochs = doc.Details(f"The {len(run.records)} epochs as a table", [_epochs_table(run)])
    more = doc.Details("Learning rate and gradient norm", [doc.Figures(charts[2:])])
    blocks: list[doc.Block] = [doc.Figures(charts[:2]), doc.Caption(_caption(run)), more, epochs]
    if animation is not None:
        stretched = "; each filter's colours are stretched" if "filters" in animation.alt else ""
        text = f"{animation.alt}{stretched}. The file is figures/{animation.name}."
        shown: list[doc.Block] = [doc.Figures([animation], wide=True), doc.Caption(text)]
        blocks.append(doc.Details("The training as an animation", shown))
    return doc.Section("Curves", blocks)


def _epochs_table(run: RunData) -> Table:
    """The figures of the charts."""
    split = run.selection_split.capitalize()
    evaluated = {epoch.epoch: epoch.metrics for epoch in run.evaluated}
    rows = []
    for record in run.records:
        metrics = evaluated.get(record.epoch)
        rows.append(
            (
                str(record.epoch),
                loss(record.train_loss),
                loss(metrics.loss if metrics else None),
                percent(record.train_accuracy),
                percent(metrics.accuracy if metrics else None),
                number(record.lr),
                number(record.grad_norm),
            )
        )
    columns = ("Epoch", "Train loss", f"{split} loss", "Train accuracy", f"{split} accuracy")
    return Table((*columns, "Learning rate", "Gradient norm"), rows)


def _caption(run: RunData) -> str:
    split = run.selection_split
    texts = [
        "Training accuracy is measured on augmented images during the epoch, so it may be below "
        f"{split} accuracy."
    ]
    if mixes_images(run.recipe):
        texts.append(
            "This recipe mixes training images: an image counts as correct only for its own label, "
            "which lowers training accuracy further."
        )
    if len(run.evaluated) < len(run.records):
        texts.append(f"Not every epoch was evaluated: the {split} curves show those that were.")
    if run.best:
        texts.append("The ring marks the best epoch.")
    return " ".join(texts)


def _mark_best(run: RunData, metric: str, note: str = "") -> Callable[[Axes], None]:
    """Draw a ring around the best epoch, and a note at the bottom."""

    def draw(axes: Axes) -> None:
        if run.best is None:
            return
        x, y, color = run.best.epoch, getattr(run.best.metrics, metric), COLORS["test"]
        axes.axvline(x, color=color, linewidth=0.8, dashes=(1, 2))
        axes.plot(x, y, "o", color=color, fillstyle="none", markersize=8)
        in_right_half = x > run.finished_epochs / 2
        axes.annotate(
            note,
            (x, 0),
            (-5, 6) if in_right_half else (5, 6),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if in_right_half else "left",
            color=color,
        )

    return draw


def _mark_accuracy(run: RunData) -> Callable[[Axes], None]:
    """Mark the best epoch and the target accuracy."""
    target, best = run.recipe.target_accuracy, run.best
    ring = _mark_best(run, "accuracy", _best_note(best) if best else "")

    def draw(axes: Axes) -> None:
        ring(axes)
        if target is not None:
            axes.axhline(target, color=COLORS["target"], linewidth=1, dashes=(4, 3))
            axes.annotate(
                f"target {target:g} %",
                (0, target),
                (2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=COLORS["target"],
            )

    return draw


def _best_note(best: EvaluatedEpoch) -> str:
    return f"best {percent(best.accuracy)}, epoch {best.epoch}"
