"""Whether groups of runs differ by more than their seeds: Welch's tests, and verdicts in words."""

from collections.abc import Sequence
from itertools import combinations

from residua.reports.comparison.groups import Group, have_different_test_sets
from residua.reports.comparison.tables import Measure, accuracy_measures
from residua.reports.kit.formatting import format_p, points, signed
from residua.reports.kit.statistics import ALPHA, WelchTest, holm, welch_test
from residua.reports.kit.tables import Table

FEW_RUNS = 5
"""Runs of a group below which a verdict says how large a difference must be to be found."""
Pair = tuple[Group, Group]
Tested = tuple[WelchTest, float]
"""A test, and its p value corrected for the number of pairs."""


def verdicts(groups: Sequence[Group]) -> list[str]:
    """A sentence on the last epoch's accuracies of each pair of groups."""
    last, *_ = accuracy_measures(groups)
    return [verdict(pair, tested, last) for pair, tested in _test_pairs(groups, last)]


def tests_table(groups: Sequence[Group]) -> Table:
    """The figures of the tests of last and best accuracies, of pairs that can be tested."""
    rows = []
    for measure in accuracy_measures(groups):
        for (first, second), tested in _test_pairs(groups, measure):
            if tested is not None:
                test, p = tested
                rows.append(
                    (
                        f"{first.label} − {second.label}",
                        measure.title.removesuffix(", %"),
                        points(test.difference),
                        _interval(test),
                        signed(test.t, 2).removeprefix("+"),
                        f"{test.dof:.1f}",
                        format_p(test.p),
                        format_p(p),
                    )
                )
    columns = ("Groups", "Measure", "Difference", "95 % interval", "t", "df", "p", "p, Holm")
    return Table(columns, rows, text_columns=2)


def _test_pairs(groups: Sequence[Group], measure: Measure) -> list[tuple[Pair, Tested | None]]:
    """Test each pair of groups; None where a test is impossible."""
    pairs = list(combinations(groups, 2))
    tests = [
        None
        if have_different_test_sets(first, second)
        else welch_test(measure.values(first), measure.values(second))
        for first, second in pairs
    ]
    corrected = iter(holm([test.p for test in tests if test]))
    return [
        (pair, (test, next(corrected)) if test else None)
        for pair, test in zip(pairs, tests, strict=True)
    ]


def verdict(pair: Pair, tested: Tested | None, accuracy: Measure) -> str:
    """What the test of a pair of groups says about the last epoch's accuracy."""
    first, second = pair
    measure = accuracy.title.removesuffix(", %")
    measure = measure[0].lower() + measure[1:]
    subject = f"{first.label} and {second.label}, {measure}"
    sizes = [len(accuracy.values(group)) for group in pair]
    n = f"n = {sizes[0]} and {sizes[1]}"
    if have_different_test_sets(first, second):
        return f"{subject}: not compared, since their test sets have different images."
    if min(sizes) < 2:
        return (
            f"{subject}: too few runs for a test ({n}). It needs at least two finished runs with "
            "different seeds in each group."
        )
    if tested is None:
        return f"{subject}: the runs of neither group differ ({n}), so no test is possible."
    test, p = tested
    comparison = f"p {format_p(p)}" if p < 0.001 else f"p = {format_p(p)}"
    if p >= ALPHA:
        few = ""
        if test.half_width >= 100:
            few = " With runs so few and so different no difference could be found."
        elif min(sizes) < FEW_RUNS:
            few = (
                f" With so few runs only a difference of about {test.half_width:.2f} points or "
                "more would be found."
            )
        return (
            f"{subject}: no significant difference ({points(test.difference)}, "
            f"95 % interval {_interval(test)}, {comparison}, {n}).{few}"
        )
    better, worse = pair if test.difference > 0 else (second, first)
    low, high = sorted(min(100.0, abs(end)) for end in (test.low, test.high))
    return (
        f"{better.label} is better than {worse.label}, {measure}: by {abs(test.difference):.2f} "
        f"points (95 % interval {low:.2f} to {high:.2f}, {comparison}, {n})."
    )


def _interval(test: WelchTest) -> str:
    """The interval within what a difference of accuracies can be, marked where it was cut."""
    low, high = max(-100.0, test.low), min(100.0, test.high)
    cut = (low, high) != (test.low, test.high)
    mark = ", cut at what is possible" if cut else ""
    return f"{signed(low, 2)} to {points(high)}{mark}"
