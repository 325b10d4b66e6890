"""The tables of a comparison."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from residua.reports.comparison.groups import Group, differing_fields, have_different_test_sets
from residua.reports.kit.formatting import MISSING, count, duration, mean_std, percent, signed
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData
from residua.runs.records import Result


@dataclass(frozen=True)
class Measure:
    """A figure of finished runs that groups are compared by."""

    title: str
    value: Callable[[RunData, Result], float]
    digits: int

    def values(self, group: Group) -> list[float]:
        """The figure of each finished run."""
        return [self.value(run, run.result) for run in group.runs if run.result]


LAST_ACCURACY = Measure(
    "Test accuracy, last epoch, %", lambda _, result: result.last.test_accuracy, 2
)
BEST_ACCURACY = Measure(
    "Test accuracy, best epoch, %", lambda _, result: result.best.test_accuracy, 2
)
RESULTS = (
    LAST_ACCURACY,
    BEST_ACCURACY,
    Measure("Training, s", lambda run, _: run.train_seconds, 1),
    Measure("Images/s", lambda run, _: run.images_per_second or 0.0, 0),
)
FIT = (
    Measure("Train accuracy, %", lambda run, _: run.records[-1].train_accuracy, 2),
    Measure("Train loss", lambda run, _: run.records[-1].train_loss, 4),
    Measure(
        "Train minus test accuracy, points",
        lambda run, result: run.records[-1].train_accuracy - result.last.test_accuracy,
        2,
    ),
)
"""Of the last epoch."""


def results_table(groups: Sequence[Group]) -> Table:
    """Accuracies and speed of each group: mean ± standard deviation."""
    rows = [
        (
            group.label,
            str(len(group.finished)),
            *(mean_std(measure.values(group), measure.digits) for measure in RESULTS),
        )
        for group in groups
    ]
    return Table(("Recipe", "n", *(measure.title for measure in RESULTS)), rows)


def fit_table(groups: Sequence[Group]) -> Table:
    """How well each group fits the training set; of two groups also the difference."""
    rows = [
        (group.label, *(mean_std(measure.values(group), measure.digits) for measure in FIT))
        for group in groups
    ]
    finished = len(groups) == 2 and all(group.finished for group in groups)
    if finished and not have_different_test_sets(*groups):
        first, second = groups
        rows.append(
            (
                f"{second.label} − {first.label}",
                *(signed(_mean(m, second) - _mean(m, first), m.digits) for m in FIT),
            )
        )
    return Table(("Recipe", *(measure.title for measure in FIT)), rows)


def _mean(measure: Measure, group: Group) -> float:
    return statistics.mean(measure.values(group))


def differences_table(groups: Sequence[Group]) -> Table:
    """The fields in which the groups' recipes differ."""
    rows = [(path, *values) for path, values in differing_fields([g.recipe for g in groups])]
    columns = ("Field", *(group.label for group in groups))
    return Table(columns, rows, text_columns=len(columns))


def runs_table(groups: Sequence[Group]) -> Table:
    """Each run, finished or not."""
    rows = [_run_row(group, run) for group in groups for run in (*group.runs, *group.repeated)]
    accuracies = ("Test, last epoch", "Test, best epoch", "Best epoch")
    columns = ("Run", "Recipe", "Seed", "Epochs", *accuracies, "Training", "Images/s")
    return Table(columns, rows, text_columns=2)


def _run_row(group: Group, run: RunData) -> Sequence[str]:
    result = run.result
    epochs = f"{run.finished_epochs} of {run.recipe.epochs}"
    return (
        str(run.path),
        group.label,
        str(run.recipe.seed),
        epochs if result else f"{epochs}, unfinished",
        percent(result.last.test_accuracy if result else None),
        percent(result.best.test_accuracy if result else None),
        str(result.best.epoch) if result else MISSING,
        duration(run.train_seconds),
        count(run.images_per_second),
    )
