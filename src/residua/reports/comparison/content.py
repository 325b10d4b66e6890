"""All that a comparison of runs says."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from residua.reports.comparison import tables
from residua.reports.comparison.bands import curves
from residua.reports.comparison.groups import MEASURES, Group, Measure, differences, grouped
from residua.reports.comparison.welch import LEVEL, Welch, holm, welch
from residua.reports.picture import Picture
from residua.reports.table import Table
from residua.reports.words import points
from residua.runs.run import Run

FEW = 5
"""Runs a group below which the page says that a test can hardly show anything."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison says."""

    groups: list[Group]
    figures: Table
    """A row for each group, as `fit` has; where there are two, `fit` also has their difference."""
    fit: Table
    verdicts: list[str]
    """Sentences on each pair of groups."""
    tests: Table | None
    """The figures of the tests; None where none could be made."""
    differences: Table | None
    """The fields in which the recipes differ; None with one group."""
    runs: Table
    charts: list[Picture]
    notes: list[str]


def comparison(runs: Sequence[Run]) -> Comparison:
    """Compare runs, finished or not, and read nothing else.

    Raises:
        UserError: files of a run are damaged.
    """
    groups = grouped(runs)
    verdicts, tests = _tests(groups)
    fields = differences([group.recipe for group in groups])
    labels = [group.label for group in groups]
    return Comparison(
        groups=groups,
        figures=tables.figures(groups),
        fit=tables.fit(groups),
        verdicts=verdicts,
        tests=tests,
        differences=Table(
            ("Field", *labels), [(path, *values) for path, values in fields], text=1 + len(labels)
        )
        if fields
        else None,
        runs=tables.runs(groups),
        charts=curves(groups),
        notes=_notes(groups),
    )


def _tests(groups: Sequence[Group]) -> tuple[list[str], Table | None]:
    """What each pair of groups says: sentences on last accuracies, figures of last and best."""
    verdicts, rows = [], []
    for measure in MEASURES[:2]:
        pairs = list(combinations(groups, 2))
        found = [welch(one.values(measure), other.values(measure)) for one, other in pairs]
        chances = holm([test.p for test in found if test is not None])
        corrected = iter(chances)
        for (one, other), test in zip(pairs, found, strict=True):
            p = None if test is None else next(corrected)
            if measure is MEASURES[0]:
                verdicts.append(verdict(one, other, measure, test, p))
            if test is not None and p is not None:
                interval = f"{points(test.low)} to {points(test.high)}".replace(" points to", " to")
                rows.append(
                    (
                        f"{one.label} − {other.label}",
                        measure.name.removesuffix(", %"),
                        points(test.difference),
                        interval,
                        f"{test.t:.2f}".replace("-", "−"),
                        f"{test.freedom:.1f}",
                        chance(test.p).removeprefix("= "),
                        chance(p).removeprefix("= "),
                    )
                )
    columns = ("Groups", "Measure", "Difference", "95 % interval", "t", "df", "p", "p, Holm")
    return verdicts, Table(columns, rows, text=2) if rows else None


def verdict(one: Group, other: Group, measure: Measure, test: Welch | None, p: float | None) -> str:
    """What a pair of groups says of a measure, in plain words.

    Args:
        one: the first group.
        other: the second one.
        measure: an accuracy.
        test: of the first against the second; None where it could not be made.
        p: of the test, corrected for the number of pairs.
    """
    name = measure.name.removesuffix(", %").lower()
    sizes = [len(group.values(measure)) for group in (one, other)]
    n = f"n = {sizes[0]} and {sizes[1]}"
    if min(sizes) < 2:
        return (
            f"{one.label} and {other.label}, {name}: n is too small for a test ({n}): it takes "
            "at least two finished runs with different seeds on each side."
        )
    if test is None or p is None:
        return (
            f"{one.label} and {other.label}, {name}: no spread among the runs of either ({n}), "
            "so there is nothing to test by."
        )
    few = (
        f" With so few runs only a difference of about {test.half_width:.2f} points or more "
        "would show."
        if min(sizes) < FEW
        else ""
    )
    end = f"p {chance(p)}, {n})."
    if p >= LEVEL:
        return (
            f"{one.label} and {other.label}, {name}: no difference is shown "
            f"({points(test.difference)}, 95 % interval {points(test.low)} to "
            f"{points(test.high)}, {end}{few}"
        )
    ahead, behind = (one, other) if test.difference > 0 else (other, one)
    low, high = sorted((abs(test.low), abs(test.high)))
    return (
        f"{ahead.label} is ahead of {behind.label}, {name}: by {abs(test.difference):.2f} points "
        f"(95 % interval {low:.2f} to {high:.2f}, {end}"
    )


def chance(p: float) -> str:
    """A p value with three decimals, and how it compares."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _notes(groups: Sequence[Group]) -> list[str]:
    said = ["Runs belong together where their recipes are equal but for name and seed."]
    for group in groups:
        unfinished = [each for each in group.members if each.result is None]
        if unfinished:
            said.append(
                f"{group.label}: {len(unfinished)} of {len(group.members)} runs are unfinished; "
                "they are in the curves, not in the figures."
            )
        if group.repeated:
            seeds = ", ".join(str(each.recipe.seed) for each in group.repeated)
            said.append(
                f"{group.label}: {len(group.repeated)} further runs of seeds that are there "
                f"already (seed {seeds}) are left out: they are no independent evidence."
            )
    if any(group.recipe.tta != "none" for group in groups):
        said.append("Some evaluations average several views: see the recipes' `views`.")
    said.append(
        "Best epochs that were chosen on the test set itself flatter; compare last epochs first. "
        "Tests are Welch's, over seeds, two-sided, with Holm's correction over the pairs."
    )
    return said
