"""The tables of a comparison."""

import statistics
from collections.abc import Sequence

from residua.reports.comparison.groups import FIT, MEASURES, Group, spread
from residua.reports.table import Table
from residua.reports.words import ABSENT, count, duration, percent


def figures(groups: Sequence[Group]) -> Table:
    """Accuracies and speed: a row for each group."""
    rows = []
    for group in groups:
        cells = [spread(group.values(measure), measure.digits) for measure in MEASURES]
        rows.append((group.label, str(len(group.values(MEASURES[0]))), *cells))
    return Table(("Recipe", "n", *(measure.name for measure in MEASURES)), rows)


def fit(groups: Sequence[Group]) -> Table:
    """How far the training set was learned: a row for each group; of two, their difference, too."""
    found = [[group.values(measure) for measure in FIT] for group in groups]
    digits = [measure.digits for measure in FIT]
    rows = [
        (group.label, *map(spread, values, digits))
        for group, values in zip(groups, found, strict=True)
    ]
    if len(groups) == 2 and all(values for each in found for values in each):
        means = [[statistics.mean(values) for values in each] for each in found]
        changes = [
            f"{second - first:+.{places}f}".replace("-", "−")
            for first, second, places in zip(*means, digits, strict=True)
        ]
        rows.append((f"{groups[1].label} − {groups[0].label}", *changes))
    return Table(("Recipe", *(measure.name for measure in FIT)), rows)


def runs(groups: Sequence[Group]) -> Table:
    """A row for each run, finished or not."""
    rows = []
    for group in groups:
        for member in (*group.members, *group.repeated):
            result, last = member.result, member.history.last
            done = f"{last['epoch'] if last else 0} of {member.recipe.epochs}"
            rows.append(
                (
                    str(member.run.path),
                    group.label,
                    str(member.recipe.seed),
                    done if result else f"{done}, unfinished",
                    percent(result["last"]["test_accuracy"] if result else None),
                    percent(result["best"]["test_accuracy"] if result else None),
                    str(result["best"]["epoch"]) if result else ABSENT,
                    duration(member.seconds),
                    count(member.speed),
                )
            )
    accuracies = ("Test, last epoch", "Test, best epoch", "Best epoch")
    columns = ("Run", "Recipe", "Seed", "Epochs", *accuracies, "Training", "Images/s")
    return Table(columns, rows, text=2)
