"""Whether two groups of runs differ by more than their seeds: Welch's t-test, without scipy."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from residua.reports.student import quantile, two_sided

LEVEL = 0.05
"""Below this p a difference counts as shown."""


@dataclass(frozen=True)
class Welch:
    """The test of a difference between two means (Welch, Biometrika 34, 1947)."""

    difference: float
    """Mean of the first minus mean of the second, in the values' unit."""
    t: float
    freedom: float
    """Degrees of freedom after Welch and Satterthwaite."""
    p: float
    """The chance of so large a difference, either way, between groups that do not differ."""
    half_width: float
    """Of the 95 % interval of the difference."""

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.difference - self.half_width

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.difference + self.half_width


def welch(first: Sequence[float], second: Sequence[float]) -> Welch | None:
    """Test two groups; None where a group has fewer than two values, or neither one any spread."""
    if min(len(first), len(second)) < 2:
        return None
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    if sum(parts) == 0:
        return None
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    difference = statistics.mean(first) - statistics.mean(second)
    t = difference / error
    return Welch(
        difference, t, freedom, two_sided(t, freedom), quantile(1 - LEVEL, freedom) * error
    )


def holm(chances: Sequence[float]) -> list[float]:
    """Several p values, corrected for their number (Holm, Scand. J. Statistics 6, 1979)."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected
