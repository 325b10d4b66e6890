"""Runs of one recipe that differ in their seed: what they say of the noise between runs."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from residua.recipes.recipe import Recipe
from residua.reports.student import quantile
from residua.runs.run import Run

TYPICAL = 0.3
"""Sample deviation, in points, of the last test accuracy over seeds, where no seeds are given.

An assumption of the size that repeated trainings on CIFAR-100 commonly show once the rate has
annealed; runs of other seeds, given beside the run, replace it with their own deviation.
"""
NEAR = 5
"""Epochs to each side within which the unrest of a curve is measured."""


def lineage(recipe: Recipe) -> str:
    """The recipe without its name and its seed, as text: equal for runs that differ by chance."""
    return recipe.model_copy(update={"name": "custom", "seed": 0}).model_dump_json()


def siblings(run: Run, others: Iterable[Run]) -> list[Run]:
    """Those of the other runs that differ from this one in their seed alone, one for each seed."""
    own = run.recipe
    found: dict[int, Run] = {}
    for other in others:
        recipe = other.recipe
        if recipe.seed != own.seed and lineage(recipe) == lineage(own):
            found.setdefault(recipe.seed, other)
    return list(found.values())


def unrest(curve: Mapping[int, float], epoch: int) -> float:
    """How far single epochs stray about an epoch, as a standard deviation in points.

    An epoch's distance from the mean of its two neighbours has 1.5 times the variance of one
    epoch's noise. It is averaged over the triples of consecutive epochs near by; 0 without any.

    Args:
        curve: accuracy in percent, by epoch.
        epoch: where to look.
    """
    strays = [
        curve[middle] - (curve[middle - 1] + curve[middle + 1]) / 2
        for middle in range(epoch - NEAR, epoch + NEAR + 1)
        if {middle - 1, middle, middle + 1} <= curve.keys()
    ]
    return math.sqrt(statistics.mean(each * each for each in strays) / 1.5) if strays else 0.0


def sampling(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent on so many images: binomial."""
    share = min(max(accuracy / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images)


def prediction(values: Sequence[float], confidence: float = 0.95) -> float:
    """How far one further run lies from the mean of these, at most, with this chance.

    The half-width of the prediction interval: t (n - 1 degrees of freedom) times the sample
    deviation times sqrt(1 + 1 / n). With two runs t is 12.7: two runs say little.

    Args:
        values: of at least two runs.
        confidence: the chance.
    """
    count = len(values)
    deviation = statistics.stdev(values)
    return quantile(confidence, count - 1) * deviation * math.sqrt(1 + 1 / count)


def assumed(accuracy: float, images: int, noise: float = 0.0) -> float:
    """The half-width, in points, within which two single runs count as equal.

    1.96 standard deviations of their difference: twice the variance of one run (TYPICAL, or the
    curve's unrest where that is larger, as it is before the rate has annealed), plus the binomial
    variance of the test set once, because both are measured on the same images: the variance of a
    paired difference is the share of images that just one of the two gets right, divided by their
    number, and that share is about p (1 - p).

    Args:
        accuracy: about which, in percent.
        images: of the test set.
        noise: the curves' unrest in points.
    """
    seed = max(TYPICAL, noise)
    return 1.96 * math.sqrt(2 * seed**2 + sampling(accuracy, images) ** 2)
