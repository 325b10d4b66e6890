"""The tables of a comparison."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from residua.reports.comparison.groups import Group, differing_fields, have_different_test_sets
from residua.reports.kit.formatting import MISSING, count, duration, mean_std, percent, signed
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData
from residua.runs.records import Result, SelectionSplit


@dataclass(frozen=True)
class Measure:
    """A figure of finished runs that groups are compared by."""

    title: str
    value: Callable[[RunData, Result], float | None]
    """None where a run does not have it."""
    digits: int

    def values(self, group: Group) -> list[float]:
        """The figure of each finished run that has it."""
        found = (self.value(run, run.result) for run in group.runs if run.result)
        return [value for value in found if value is not None]


SPEED = (
    Measure("Training, s", lambda run, _: run.train_seconds, 1),
    Measure("Images/s", lambda run, _: run.images_per_second or 0.0, 0),
)


def compared_split(groups: Sequence[Group]) -> SelectionSplit:
    """The split that the groups are compared on.

    It is the holdout where all finished runs have one and not all were evaluated on the test set.
    """
    results = [run.result for group in groups for run in group.runs if run.result]
    if all(result.last.test_accuracy is not None for result in results):
        return "test"
    is_common = all(result.last.holdout_accuracy is not None for result in results)
    return "holdout" if is_common else "test"


def accuracy_measures(groups: Sequence[Group]) -> tuple[Measure, ...]:
    """The accuracies of the last and of the best epoch, on the compared split.

    Only the former where they are the same in every run.
    """
    split = compared_split(groups)
    title = f"{split.capitalize()} accuracy"
    last = Measure(f"{title}, last epoch, %", lambda _, result: result.last.accuracy(split), 2)
    best = Measure(f"{title}, best epoch, %", lambda _, result: result.best.accuracy(split), 2)
    same = all(last.values(group) == best.values(group) for group in groups)
    return (last,) if same else (last, best)


def _fit_measures(groups: Sequence[Group]) -> tuple[Measure, ...]:
    """Of the last epoch."""
    split = compared_split(groups)

    def gap(run: RunData, result: Result) -> float | None:
        accuracy = result.last.accuracy(split)
        return None if accuracy is None else run.records[-1].train_accuracy - accuracy

    return (
        Measure("Train accuracy, %", lambda run, _: run.records[-1].train_accuracy, 2),
        Measure("Train loss", lambda run, _: run.records[-1].train_loss, 4),
        Measure(f"Train minus {split} accuracy, points", gap, 2),
    )


def results_table(groups: Sequence[Group]) -> Table:
    """Accuracies and speed of each group: mean ± standard deviation."""
    measures = (*accuracy_measures(groups), *SPEED)
    rows = [
        (
            group.label,
            str(len(group.finished)),
            *(mean_std(measure.values(group), measure.digits) for measure in measures),
        )
        for group in groups
    ]
    return Table(("Recipe", "n", *(measure.title for measure in measures)), rows)


def fit_table(groups: Sequence[Group]) -> Table:
    """How well each group fits the training set; of two groups also the difference."""
    measures = _fit_measures(groups)
    rows = [
        (group.label, *(mean_std(measure.values(group), measure.digits) for measure in measures))
        for group in groups
    ]
    measured = all(m.values(group) for m in measures for group in groups)
    if len(groups) == 2 and measured and not have_different_test_sets(*groups):
        first, second = groups
        rows.append(
            (
                f"{second.label} − {first.label}",
                *(signed(_mean(m, second) - _mean(m, first), m.digits) for m in measures),
            )
        )
    return Table(("Recipe", *(measure.title for measure in measures)), rows)


def _mean(measure: Measure, group: Group) -> float:
    return statistics.mean(measure.values(group))


def differences_table(groups: Sequence[Group]) -> Table:
    """The fields in which the groups' recipes differ."""
    rows = [(path, *values) for path, values in differing_fields([g.recipe for g in groups])]
    columns = ("Field", *(group.label for group in groups))
    return Table(columns, rows, text_columns=len(columns))


def runs_table(groups: Sequence[Group]) -> Table:
    """Each run, finished or not."""
    split = compared_split(groups)
    rows = [
        _run_row(group, run, split) for group in groups for run in (*group.runs, *group.repeated)
    ]
    title = split.capitalize()
    accuracies = (f"{title}, last epoch", f"{title}, best epoch", "Best epoch")
    columns = ("Run", "Recipe", "Seed", "Epochs", *accuracies, "Training", "Images/s")
    return Table(columns, rows, text_columns=2)


def _run_row(group: Group, run: RunData, split: SelectionSplit) -> Sequence[str]:
    result = run.result
    epochs = f"{run.finished_epochs} of {run.recipe.epochs}"
    return (
        str(run.path),
        group.label,
        str(run.recipe.seed),
        epochs if result else f"{epochs}, unfinished",
        percent(result.last.accuracy(split) if result else None),
        percent(result.best.accuracy(split) if result else None),
        str(result.best.epoch) if result else MISSING,
        duration(run.train_seconds),
        count(run.images_per_second),
    )
