"""The tables of evaluations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from residua.augment.tta import TTA
from residua.inference.ensemble import Contribution
from residua.reports.kit.formatting import MISSING, count, format_p, loss, percent, points
from residua.reports.kit.tables import Table
from residua.runs.evaluations import (
    ClassFigures,
    ConfusedPair,
    CorruptionRecord,
    EvaluationRecord,
    Figures,
    Interval,
    ReliabilityBin,
)

VIEW_NAMES: dict[TTA, str] = {
    "none": "Single views",
    "mirror": "TTA mirror",
    "mirror_translate": "TTA mirror_translate",
}
"""What figures of each test-time augmentation are called, so that no two are mixed up."""


def evaluation_title(record: EvaluationRecord) -> str:
    """What was evaluated, in words."""
    network = f"epoch {record.epoch}"
    if record.mode == "train":
        network += f", training mode (batch statistics of {record.batch_size}, dropout active)"
    called = "" if record.name == record.images else f"{record.name}: "
    return f"{called}{record.images}, {count(record.single.images)} images, {network}"


@dataclass(frozen=True)
class _Row:
    """A figure of every evaluation."""

    name: str
    value: Callable[[Figures], str]
    interval: Callable[[Figures], Interval | None] = lambda _: None


ROWS = (
    _Row("Accuracy", lambda f: percent(f.accuracy), lambda f: f.intervals.accuracy_wilson),
    _Row("Top-5", lambda f: percent(f.top5)),
    _Row("Loss", lambda f: loss(f.loss)),
    _Row("Balanced accuracy (macro recall)", lambda f: percent(f.balanced_accuracy)),
    _Row("Macro precision", lambda f: percent(f.macro_precision)),
    _Row("Macro F1", lambda f: percent(f.macro_f1), lambda f: f.intervals.macro_f1),
    _Row("Superclass accuracy", lambda f: percent(f.superclass_accuracy)),
    _Row("Calibration error (ECE)", lambda f: percent(f.ece), lambda f: f.intervals.ece),
    _Row(
        "Temperature, of the holdout",
        lambda f: f"{f.calibrated.temperature:.3f}" if f.calibrated else MISSING,
    ),
    _Row("ECE at this temperature", lambda f: percent(f.calibrated.ece if f.calibrated else None)),
    _Row("Loss at this temperature", lambda f: loss(f.calibrated.loss if f.calibrated else None)),
)


def figures_table(views: Mapping[str, Figures]) -> Table:
    """The main figures for each way of viewing the images; in brackets the 95 % interval.

    Args:
        views: the figures by what they are called.
    """
    rows = []
    for row in ROWS:
        cells = [row.value(figures) for figures in views.values()]
        if any(cell != MISSING for cell in cells):
            intervals = [_interval(row.interval(figures)) for figures in views.values()]
            pairs = zip(cells, intervals, strict=True)
            rows.append((row.name, *(cell + interval for cell, interval in pairs)))
    return Table(("", *views), rows)


def named_views(record: EvaluationRecord) -> dict[str, Figures]:
    """The figures of a record by what they are called in tables."""
    return {VIEW_NAMES[tta]: figures for tta, figures in record.views.items()}


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval.low:.2f} to {interval.high:.2f})"


def class_table(classes: Sequence[ClassFigures], title: str) -> Table:
    """Every class or superclass, the lowest F1 first; those without images are left out."""
    ranked = sorted(classes, key=lambda row: (row.f1, row.name))
    rows = [
        (
            row.name,
            count(row.images),
            count(row.correct),
            percent(row.precision),
            percent(row.recall),
            percent(row.f1),
        )
        for row in ranked
        if row.images
    ]
    columns = (title, "Images", "Correct", "Precision", "Recall", "F1")
    return Table(columns, rows)


def confused_table(pairs: Sequence[ConfusedPair]) -> Table:
    """The most confused pairs of classes."""
    rows = [(p.true, p.predicted, count(p.count), percent(p.share)) for p in pairs]
    return Table(("True", "Predicted", "Images", "Of the class"), rows, text_columns=2)


def reliability_table(bins: Sequence[ReliabilityBin]) -> Table:
    """What a reliability diagram shows; bins without images are left out."""
    rows = [
        (
            f"{100 * b.low:.0f} to {100 * b.high:.0f} %",
            count(b.images),
            percent(b.confidence),
            percent(b.accuracy),
        )
        for b in bins
        if b.images
    ]
    return Table(("Confidence", "Images", "Mean confidence", "Accuracy"), rows)


def corruption_table(record: CorruptionRecord) -> Table:
    """The accuracy by kind and severity, and the error of each kind."""
    rows = [
        (kind.replace("_", " "), *(percent(value) for value in values), percent(error))
        for (kind, values), error in zip(
            record.accuracies.items(), record.errors.values(), strict=True
        )
    ]
    severities = map(str, record.severities)
    last = ("Mean", *map(percent, mean_accuracies(record)), percent(record.mean_error))
    return Table(("Accuracy by severity", *severities, "Mean error"), [*rows, last], total=True)


def mean_accuracies(record: CorruptionRecord) -> list[float]:
    """The mean over kinds for each severity."""
    by_severity = zip(*record.accuracies.values(), strict=True)
    return [sum(values) / len(values) for values in by_severity]


def ensemble_table(names: Sequence[str], members: Sequence[Contribution]) -> Table:
    """What each network adds to an ensemble."""
    rows = [
        (
            name,
            percent(member.alone),
            percent(member.cumulative),
            percent(member.without),
            points(member.added),
            MISSING if member.test is None else format_p(member.test.p),
        )
        for name, member in zip(names, members, strict=True)
    ]
    columns = ("Network", "Alone", "Together so far", "Without it", "It adds", "p, McNemar")
    return Table(columns, rows)
