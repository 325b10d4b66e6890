"""Curves of groups of runs: the mean, and a band of one standard deviation."""

import statistics
from collections.abc import Mapping, Sequence

from residua.reports.comparison.groups import Group
from residua.reports.kit.charts import DASHES, Series, line_chart
from residua.reports.kit.images import ImageFile
from residua.reports.run_data import RunData

GROUP_COLORS = ("test", "train", "target", "violet", "amber", "sky")
"""Of the groups; further groups repeat them with other dashes."""


def group_charts(groups: Sequence[Group]) -> list[ImageFile]:
    """Evaluation accuracy, training accuracy and training loss against epochs."""
    titles = {
        "accuracy": "Test (or holdout) accuracy in %",
        "train_accuracy": "Training accuracy in %",
        "train_loss": "Training loss",
    }
    charts = []
    for metric, title in titles.items():
        series = [mean_series(group, metric, index) for index, group in enumerate(groups)]
        name = f"compare-{metric.replace('_', '-')}.svg"
        charts += line_chart(name, title, series, legend="below")
    return charts


def mean_series(group: Group, metric: str, index: int) -> Series:
    """A group's mean curve over the epochs that all of its started runs have.

    Args:
        group: of several runs for a band of ± one sample standard deviation.
        metric: `accuracy` of evaluations, or a field of the epochs' records.
        index: of the group, which determines color and dash.
    """
    curves = [curve for run in group.runs if (curve := _curve(run, metric))]
    shared = sorted(set(curves[0]).intersection(*curves)) if curves else []
    values = [[curve[epoch] for curve in curves] for epoch in shared]
    means = [statistics.mean(at_epoch) for at_epoch in values]
    band = []
    if len(curves) > 1:
        deviations = [statistics.stdev(at_epoch) for at_epoch in values]
        band = [(mean - std, mean + std) for mean, std in zip(means, deviations, strict=True)]
    return Series(
        f"{group.label} (n = {len(curves)})",
        GROUP_COLORS[index % len(GROUP_COLORS)],
        list(zip(shared, means, strict=True)),
        band,
        list(DASHES)[index // len(GROUP_COLORS) % len(DASHES)],
    )


def _curve(run: RunData, metric: str) -> Mapping[int, float]:
    if metric == "accuracy":
        return {epoch.epoch: epoch.accuracy for epoch in run.evaluated}
    return {record.epoch: getattr(record, metric) for record in run.records}
