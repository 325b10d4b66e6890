"""Groups of runs that differ only in name and seed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from residua.recipes.recipe import Recipe
from residua.reports.kit.formatting import MISSING, flatten, setting
from residua.reports.run_data import REPLICATE_FIELDS, RunData, config_key

MAX_LABEL_LENGTH = 40
"""Of the differing fields in a label; groups with more are numbered."""


@dataclass(frozen=True)
class Group:
    """Runs of one recipe."""

    label: str
    runs: tuple[RunData, ...]
    """One for each seed, by seed."""
    repeated: tuple[RunData, ...] = ()
    """Further runs of the same seeds, which are no independent evidence."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of all runs, apart from name and seed."""
        return self.runs[0].recipe

    @property
    def test_set(self) -> str:
        """SHA-256 of the test set; empty where no run knows it."""
        return next(filter(None, map(test_checksum, self.runs)), "")

    @property
    def finished(self) -> list[RunData]:
        """The runs with a result."""
        return [run for run in self.runs if run.result]


def test_checksum(run: RunData) -> str:
    """SHA-256 of a run's test set; empty where it is unknown."""
    split = run.fingerprint.splits.get("test")
    return split.sha256 if split else ""


def have_different_test_sets(first: Group, second: Group) -> bool:
    """Whether accuracies of two groups are known to be of different images."""
    return "" not in (first.test_set, second.test_set) and first.test_set != second.test_set


def group_runs(runs: Sequence[RunData]) -> list[Group]:
    """Group runs by recipe and test set, in the order in which they first appear.

    The test set of one recipe differs where its folder has changed between the runs.
    """
    by_recipe: dict[tuple[str, str], list[RunData]] = {}
    known = {config_key(run.recipe): checksum for run in runs if (checksum := test_checksum(run))}
    for run in runs:
        key = config_key(run.recipe)
        # A run that does not know its test set belongs to those of its recipe.
        test_set = test_checksum(run) or known.get(key, "")
        by_recipe.setdefault((key, test_set), []).append(run)
    labels = _labels([members[0].recipe for members in by_recipe.values()])
    return [
        _group(label, members) for label, members in zip(labels, by_recipe.values(), strict=True)
    ]


def _group(label: str, runs: Sequence[RunData]) -> Group:
    by_seed: dict[int, RunData] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: (run.recipe.seed, run.result is None)):
        if by_seed.setdefault(run.recipe.seed, run) is not run:
            repeated.append(run)
    return Group(label, tuple(by_seed.values()), tuple(repeated))


def _labels(recipes: Sequence[Recipe]) -> list[str]:
    """Names; where several recipes have the same one, with the differing fields or a number."""
    names = [recipe.name for recipe in recipes]
    labels = []
    for index, name in enumerate(names):
        same_name = [recipe for recipe in recipes if recipe.name == name]
        number = names[: index + 1].count(name)
        fields = [
            f"{path.split('.')[-1]} {values[number - 1]}"
            for path, values in differing_fields(same_name)
        ]
        suffix = ", ".join(fields)
        if not 0 < len(suffix) <= MAX_LABEL_LENGTH:
            suffix = str(number)
        labels.append(name if len(same_name) == 1 else f"{name} ({suffix})")
    return labels


def differing_fields(recipes: Sequence[Recipe]) -> list[tuple[str, list[str]]]:
    """The fields in which recipes differ: dotted path, and each recipe's value."""
    trees = [
        dict(flatten(recipe.model_dump(mode="json", exclude=REPLICATE_FIELDS)))
        for recipe in recipes
    ]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    return [
        (path, [setting(tree[path]) if path in tree else MISSING for tree in trees])
        for path in paths
        if len({json.dumps(tree.get(path)) for tree in trees}) > 1
    ]
