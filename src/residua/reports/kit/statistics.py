"""Statistics of accuracies: Student's t-distribution, Welch's test, spread over seeds.

Written here because scipy is large. The tests compare with closed forms and with tables.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
"""Significance level."""
DEFAULT_SEED_STD = 0.3
"""Assumed standard deviation, in points, of the last test accuracy over seeds.

Repeated trainings on CIFAR-100 commonly show one of this size once the learning rate has annealed.
It is used only where no runs with other seeds are given.
"""
LOCAL_WINDOW = 5
"""Epochs to each side that `local_std` looks at."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def two_sided_p(t: float, dof: float) -> float:
    """The probability that |T| is at least |t| for Student's t with `dof` >= 1 degrees of freedom.

    With t = sqrt(dof) tan(angle) the density is cos(angle) ** (dof - 1) times a constant, which is
    integrated by Gauss and Legendre's rule.
    """
    angle = math.atan(abs(t) / math.sqrt(dof))
    total = math.sqrt(math.pi) * math.exp(math.lgamma(dof / 2) - math.lgamma((dof + 1) / 2)) / 2
    values = np.cos(angle * (NODES + 1) / 2) ** (dof - 1)
    return max(0.0, 1 - float(WEIGHTS @ values) * angle / 2 / total)


def t_quantile(confidence: float, dof: float) -> float:
    """The t that |T| stays below with this probability: 0.95 gives 12.7 for one degree."""
    low, high = 0.0, 1.0
    while two_sided_p(high, dof) > 1 - confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, dof) > 1 - confidence else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class WelchTest:
    """The test of a difference between two means (Welch, Biometrika 34, 1947)."""

    difference: float
    """Mean of the first minus mean of the second, in the values' unit."""
    t: float
    dof: float
    """Degrees of freedom after Welch and Satterthwaite."""
    p: float
    """Two-sided."""
    half_width: float
    """Of the 95 % confidence interval of the difference."""

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.difference - self.half_width

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.difference + self.half_width


def welch_test(first: Sequence[float], second: Sequence[float]) -> WelchTest | None:
    """Test two groups; None where one has fewer than two values, or neither varies."""
    groups = (first, second)
    if min(map(len, groups)) < 2:
        return None
    variances = [statistics.variance(values) / len(values) for values in groups]
    total = sum(variances)
    if total == 0:
        return None
    dof = total**2 / sum(
        variance**2 / (len(values) - 1) for variance, values in zip(variances, groups, strict=True)
    )
    error = math.sqrt(total)
    difference = statistics.mean(first) - statistics.mean(second)
    t = difference / error
    return WelchTest(difference, t, dof, two_sided_p(t, dof), t_quantile(1 - ALPHA, dof) * error)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm, Scand. J. Statistics 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def prediction_half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """The half-width of the prediction interval for one further value around the mean of these.

    t (n - 1 degrees of freedom) times the sample standard deviation times sqrt(1 + 1 / n). With
    two values t is 12.7.
    """
    count = len(values)
    spread = statistics.stdev(values) * math.sqrt(1 + 1 / count)
    return t_quantile(confidence, count - 1) * spread


def binomial_stderr(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent on so many images."""
    share = min(max(accuracy / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images)


def assumed_half_width(accuracy: float, images: int, noise: float = 0.0) -> float:
    """The half-width, in points, within which two single runs count as equal.

    1.96 standard deviations of their difference: twice the variance of one run (DEFAULT_SEED_STD,
    or the curve's noise where that is larger, as it is before the rate has annealed), plus the
    binomial variance of the test set once, because both are measured on the same images: the
    variance of a paired difference is the share of images that just one of the two gets right,
    divided by their number, and that share is about p (1 - p).

    Args:
        accuracy: mean of the two, in percent.
        images: of the test set.
        noise: `local_std` of the curves, in points.
    """
    seed_std = max(DEFAULT_SEED_STD, noise)
    return 1.96 * math.sqrt(2 * seed_std**2 + binomial_stderr(accuracy, images) ** 2)


def local_std(curve: Mapping[int, float], epoch: int) -> float:
    """The standard deviation of single epochs around a smooth curve, in the values' unit.

    Args:
        curve: value by epoch.
        epoch: only the epochs near this one are looked at; 0 without three consecutive ones.
    """
    middles = range(epoch - LOCAL_WINDOW, epoch + LOCAL_WINDOW + 1)
    return noise_std(
        (curve[middle - 1], curve[middle], curve[middle + 1])
        for middle in middles
        if {middle - 1, middle, middle + 1} <= curve.keys()
    )


def noise_std(triples: Iterable[tuple[float, float, float]]) -> float:
    """The standard deviation of the noise of a curve, from three neighbouring values at a time.

    The distance of a value from the mean of its two neighbours has 1.5 times the variance of the
    noise of one value.
    """
    squares = [(value - (before + after) / 2) ** 2 for before, value, after in triples]
    return math.sqrt(statistics.mean(squares) / 1.5) if squares else 0.0
