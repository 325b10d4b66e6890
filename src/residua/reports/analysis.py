"""What the figures of a run say of its training: plateau, dynamics, and what to try next."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from residua.reports.advice import Advice, Figures, advise
from residua.reports.history import History, images_of
from residua.reports.seeds import sampling
from residua.reports.table import Table
from residua.reports.words import ABSENT, number, percent, points
from residua.runs.run import Run

THIRDS = ("Early", "Middle", "Late")
IMAGES = 10_000
"""Evaluated in each epoch, where the run does not say how many."""


@dataclass(frozen=True)
class Plateau:
    """Since when a run has not improved by more than the test set's own noise."""

    since: int
    """The first evaluated epoch within the noise of the best one."""
    last: int
    noise: float
    """In points: the binomial standard error of the best accuracy."""

    @property
    def share(self) -> float:
        """Of the epochs so far."""
        return (self.last - self.since) / self.last


@dataclass(frozen=True)
class Analysis:
    """What the report says beyond the figures."""

    plateau: str
    thirds: Table
    warnings: list[str]
    """What the log warned of, each warning once, with its first epoch."""
    advice: list[Advice]


def analysis(run: Run, history: History) -> Analysis | None:
    """What a run's history says; None before an epoch was evaluated."""
    images = images_of(run, history.monitored) or IMAGES
    found = plateau(history, images)
    if found is None:
        return None
    recipe = run.recipe
    return Analysis(
        plateau=_told(found),
        thirds=thirds(history),
        warnings=warnings(history),
        advice=advise(recipe, figures(history, found)),
    )


def plateau(history: History, images: int) -> Plateau | None:
    """Since when nothing was won beyond the noise; None before an epoch was evaluated."""
    best, last = history.best, history.last
    if best is None or last is None:
        return None
    highest = history.accuracy(best) or 0.0
    noise = sampling(highest, images)
    near = [each for each in history.evaluated if (history.accuracy(each) or 0.0) + noise > highest]
    since = near[0] if near else best
    return Plateau(since["epoch"], last["epoch"], noise)


def _told(found: Plateau) -> str:
    noise = f"one standard error of the accuracy, {found.noise:.2f} points"
    if found.since == found.last:
        return f"The last epoch was still more than the noise ({noise}) above all before it."
    return (
        f"No improvement beyond the noise ({noise}) since epoch {found.since}: "
        f"{found.last - found.since} of {found.last} epochs, {percent(100 * found.share)}."
    )


def thirds(history: History) -> Table:
    """How training and test accuracy moved in each third of the epochs so far."""
    split, count = history.monitored, len(history.records)
    bounds = [round(count * part / 3) for part in range(4)]
    rows = []
    for name, start, end in zip(THIRDS, bounds, bounds[1:], strict=False):
        records = history.records[start:end]
        if not records:
            continue
        seen = [each for each in records if history.accuracy(each) is not None]
        gap = history.gap(seen[-1]) if seen else None
        rows.append(
            (
                name,
                _ends([str(each["epoch"]) for each in records], "–"),
                _ends([percent(each["train_accuracy"]) for each in records]),
                _ends([percent(history.accuracy(each)) for each in seen]),
                ABSENT if gap is None else points(gap),
                _ends([number(each["lr"]) for each in records]),
            )
        )
    columns = ("Third", "Epochs", "Train accuracy", f"{split.capitalize()} accuracy")
    return Table((*columns, "Gap at its end", "Learning rate"), rows)


def _ends(values: Sequence[str], between: str = " → ") -> str:
    """The first and the last, or the only one."""
    return between.join(dict.fromkeys((values[0], values[-1]))) if values else ABSENT


def warnings(history: History) -> list[str]:
    """Warnings of vanishing and exploding gradients in the log, each with its first epoch."""
    first: dict[str, int] = {}
    for record in history.records:
        if "gradient_warning" in record:
            first.setdefault(record["gradient_warning"], record["epoch"])
    return [f"Epoch {epoch}: {text}." for text, epoch in first.items()]


def figures(history: History, found: Plateau) -> Figures:
    """The figures that recommendations are made from, of a history with an evaluated epoch."""
    evaluated, split = history.evaluated, history.monitored
    rates = [record["lr"] for record in history.records]
    norms = [record["grad_norm"] for record in history.records]
    losses = [record[f"{split}_loss"] for record in evaluated]
    return Figures(
        epochs=found.last,
        evaluated=len(evaluated),
        gap=history.gap(evaluated[-1]) or 0.0,
        train_accuracy=history.records[-1]["train_accuracy"],
        plateau_share=found.share,
        highest_rate=max(rates),
        rate_share=rates[-1] / max(rates) if max(rates) else 0.0,
        loss_rise=losses[-1] / min(losses) if min(losses) else 1.0,
        swing=_swing([history.accuracy(each) or 0.0 for each in evaluated]),
        norm=statistics.median(norms),
        norm_peak=max(norms) / statistics.median(norms) if statistics.median(norms) else 1.0,
    )


def _swing(accuracies: Sequence[float]) -> float:
    """How far single evaluations of the last third stray from the mean of their neighbours."""
    late = accuracies[len(accuracies) * 2 // 3 :]
    strays = [
        middle - (before + after) / 2
        for before, middle, after in zip(late, late[1:], late[2:], strict=False)
    ]
    return math.sqrt(statistics.mean(each**2 for each in strays) / 1.5) if strays else 0.0
