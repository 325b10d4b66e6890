"""Runs in groups: those of one recipe, which differ in their seeds."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from residua.recipes.recipe import Recipe
from residua.reports.history import History
from residua.reports.seeds import lineage
from residua.reports.words import setting
from residua.runs.run import Run

LONGEST = 40
"""Letters of what is put behind a name to tell recipes apart."""


@dataclass(frozen=True)
class Member:
    """One run of a group, read."""

    run: Run
    recipe: Recipe
    history: History
    result: dict[str, Any] | None
    """None while the run is unfinished."""

    @classmethod
    def of(cls, run: Run) -> "Member":
        """Read a run, finished or not."""
        return cls(run, run.recipe, History.of(run), run.result)

    def at_its_end(self, key: str) -> float | None:
        """A figure of the last epoch; None while the run is unfinished."""
        found: float | None = self.history.records[-1][key] if self.result else None
        return found

    @property
    def gap(self) -> float | None:
        """Training minus test accuracy of the last epoch, in points; None while unfinished."""
        trained = self.at_its_end("train_accuracy")
        return trained - self.result["last"]["test_accuracy"] if trained and self.result else None

    @property
    def seconds(self) -> float:
        """Of training, without evaluation."""
        return float(sum(record["seconds"] for record in self.history.records))

    @property
    def speed(self) -> float | None:
        """Images a second while training; None before an epoch is finished."""
        records = self.history.records
        images = sum(record["seconds"] * record["images_per_second"] for record in records)
        return images / max(self.seconds, 1e-9) if records else None


@dataclass(frozen=True)
class Measure:
    """A figure that groups are compared by, None where a run does not have it yet."""

    name: str
    of: Callable[[Member], float | None]
    digits: int


MEASURES = (
    Measure(
        "Test accuracy, last epoch, %",
        lambda member: member.result["last"]["test_accuracy"] if member.result else None,
        2,
    ),
    Measure(
        "Test accuracy, best epoch, %",
        lambda member: member.result["best"]["test_accuracy"] if member.result else None,
        2,
    ),
    Measure("Training, s", lambda member: member.seconds if member.result else None, 1),
    Measure("Images/s", lambda member: member.speed if member.result else None, 0),
)
FIT = (
    Measure("Train accuracy, %", lambda member: member.at_its_end("train_accuracy"), 2),
    Measure("Train loss", lambda member: member.at_its_end("train_loss"), 4),
    Measure("Train minus test accuracy, points", lambda member: member.gap, 2),
)
"""Of the last epoch."""


@dataclass(frozen=True)
class Group:
    """Runs of one recipe."""

    label: str
    members: tuple[Member, ...]
    """One for each seed, by seed."""
    repeated: tuple[Member, ...] = ()
    """Runs of seeds that the group has already: no further evidence."""

    @property
    def recipe(self) -> Recipe:
        """That all have, but for the seed."""
        return self.members[0].recipe

    def values(self, measure: Measure) -> list[float]:
        """The measure of each run that has it."""
        found = (measure.of(member) for member in self.members)
        return [value for value in found if value is not None]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs by recipe, in the order in which the recipes first come up."""
    families: dict[str, list[Member]] = {}
    for run in runs:
        member = Member.of(run)
        families.setdefault(lineage(member.recipe), []).append(member)
    labels = _labels([members[0].recipe for members in families.values()])
    return [_group(*each) for each in zip(labels, families.values(), strict=True)]


def _group(label: str, found: Sequence[Member]) -> Group:
    seeds: dict[int, Member] = {}
    repeated = []
    for member in sorted(found, key=lambda each: (each.recipe.seed, each.result is None)):
        if member.recipe.seed in seeds:
            repeated.append(member)
        else:
            seeds[member.recipe.seed] = member
    return Group(label, tuple(seeds.values()), tuple(repeated))


def _labels(recipes: Sequence[Recipe]) -> list[str]:
    """Names; with what tells them apart, or counted up, where several recipes have the same one."""
    names = [recipe.name for recipe in recipes]
    labels = []
    for place, name in enumerate(names):
        alike = [recipe for recipe in recipes if recipe.name == name]
        own = names[: place + 1].count(name)
        fields = [f"{path.split('.')[-1]} {values[own - 1]}" for path, values in differences(alike)]
        told = ", ".join(fields)
        apart = told if told and len(told) <= LONGEST else str(own)
        labels.append(name if len(alike) == 1 else f"{name} ({apart})")
    return labels


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[str]]]:
    """The fields in which recipes differ: dotted path, and each recipe's value."""
    trees = [
        dict(_flat(recipe.model_dump(mode="json", exclude={"name", "seed"}), ""))
        for recipe in recipes
    ]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    return [
        (path, [setting(tree.get(path)) if path in tree else "–" for tree in trees])
        for path in paths
        if len({json.dumps(tree.get(path)) for tree in trees}) > 1
    ]


def _flat(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield path + key, value


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± sample deviation; the one value; a dash for none."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):,.{digits}f}"
