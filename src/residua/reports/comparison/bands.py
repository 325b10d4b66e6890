"""Curves of groups of runs: their mean, and a band of one sample deviation."""

import statistics
from collections.abc import Sequence

from residua.reports.comparison.groups import Group
from residua.reports.overlay import DASHES, Series, overlay
from residua.reports.picture import Picture

COLOURS = ("test", "train", "target", "violet", "amber", "sky")
"""One group after another; when they are used up, they come again in another stroke."""


def curves(groups: Sequence[Group]) -> list[Picture]:
    """Monitored accuracy, training accuracy and training loss against epochs."""
    drawn = [
        overlay(
            "compare-accuracy.svg",
            "Test (or holdout) accuracy in %",
            [mean(group, "", place) for place, group in enumerate(groups)],
        ),
        overlay(
            "compare-train-accuracy.svg",
            "Training accuracy in %",
            [mean(group, "train_accuracy", place) for place, group in enumerate(groups)],
        ),
        overlay(
            "compare-train-loss.svg",
            "Training loss",
            [mean(group, "train_loss", place) for place, group in enumerate(groups)],
        ),
    ]
    return [picture for picture in drawn if picture is not None]


def mean(group: Group, key: str, place: int) -> Series:
    """A group's mean curve over the epochs that all of its runs have.

    Args:
        group: with a band of ± one sample deviation where it has several runs.
        key: of the value in an epoch's record; empty for the monitored accuracy.
        place: of the group among the groups, which gives it its colour.
    """
    found = []
    for member in group.members:
        named = key or f"{member.history.monitored}_accuracy"
        records = member.history.records
        found.append({each["epoch"]: each[named] for each in records if named in each})
    began = [curve for curve in found if curve]
    shared = sorted(set(began[0]).intersection(*began)) if began else []
    values = [[curve[epoch] for curve in began] for epoch in shared]
    means = [statistics.mean(each) for each in values]
    band = []
    if len(began) > 1:
        ends = zip(means, map(statistics.stdev, values), strict=True)
        band = [(middle - deviation, middle + deviation) for middle, deviation in ends]
    strokes = list(DASHES)
    return Series(
        f"{group.label} (n = {len(began)})",
        COLOURS[place % len(COLOURS)],
        list(zip(shared, means, strict=True)),
        band,
        strokes[place // len(COLOURS) % len(strokes)],
    )
