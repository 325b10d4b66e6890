"""Confidence intervals, and the exact test of two networks on the same images.

Written with torch alone because scipy is large; the tests compare with it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from residua.inference.calibration import BINS, confidence_bins
from residua.runs.evaluations import Interval

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
RESAMPLES = 1000
MAX_ELEMENTS = 4_000_000
"""Weights of resamples that are held at once."""


def wilson_interval(correct: int, images: int, z: float = Z) -> Interval:
    """The 95 % interval of an accuracy, in percent (Wilson, JASA 22, 1927).

    Args:
        correct: images classified correctly.
        images: at least 1.
        z: quantile of the normal distribution.
    """
    share, square = correct / images, z * z
    centre = (share + square / (2 * images)) / (1 + square / images)
    spread = math.sqrt(share * (1 - share) / images + square / (4 * images**2))
    half = z * spread / (1 + square / images)
    return Interval(low=100 * max(0.0, centre - half), high=100 * min(1.0, centre + half))


def bootstrap_weights(images: int, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each resample of the images draws each image.

    Returns:
        (images, resamples) float32; each column sums to `images`.
    """
    drawn = torch.randint(images, (images, resamples), generator=generator)
    cells = drawn.mul_(resamples).add_(torch.arange(resamples))
    counts = torch.bincount(cells.flatten(), minlength=images * resamples)
    return counts.view(images, resamples).float()


def bootstrap_intervals(
    labels: Tensor,
    predicted: Tensor,
    confidence: Tensor,
    classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Interval, Interval, Interval]:
    """The 95 % percentile bootstrap intervals of accuracy, macro F1 and ECE, in percent.

    Images are drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993). The ECE is biased upwards, in each resample more than in the set itself.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        confidence: (N,) float, the probability of the predicted class.
        classes: K.
        resamples: how many.
        seed: of the resamples.
    """
    generator = torch.Generator().manual_seed(seed)
    chunk = max(1, min(resamples, MAX_ELEMENTS // len(labels)))
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    parts = [
        resampled_figures(
            labels, predicted, confidence, classes, bootstrap_weights(len(labels), size, generator)
        )
        for size in sizes
    ]
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
    ends = torch.cat(parts, dim=1).quantile(quantiles, dim=1).clamp(0, 100).T.tolist()
    accuracy, macro_f1, ece = (Interval(low=low, high=high) for low, high in ends)
    return accuracy, macro_f1, ece


def resampled_figures(
    labels: Tensor, predicted: Tensor, confidence: Tensor, classes: int, weights: Tensor
) -> Tensor:
    """Accuracy, macro F1 and ECE of resamples, all at once.

    Macro F1 is the mean over the classes that have images in the resample.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        confidence: (N,) float.
        classes: K.
        weights: (N, B), how often each resample has each image.

    Returns:
        (3, B) float64, in percent.
    """

    def totals(index: Tensor, values: Tensor, size: int) -> Tensor:
        return torch.zeros(size, values.shape[1]).index_add_(0, index, values)

    correct = predicted == labels
    hits = totals(labels[correct], weights[correct], classes)
    images, guesses = totals(labels, weights, classes), totals(predicted, weights, classes)
    f1 = (2 * hits / (images + guesses).clamp(min=1)).double()
    gaps = (confidence - correct.float())[:, None] * weights
    binned = totals(confidence_bins(confidence), gaps, BINS)
    return 100 * torch.stack(
        [
            hits.double().sum(0) / len(labels),
            f1.sum(0) / (images > 0).sum(0),
            binned.double().abs().sum(0) / len(labels),
        ]
    )


@dataclass(frozen=True)
class McNemarTest:
    """The exact test of two networks on the same images (McNemar, Psychometrika 12, 1947)."""

    only_first: int
    """Images that only the first network classifies correctly."""
    only_second: int
    images: int
    p: float
    """Two-sided, from the binomial distribution."""

    @property
    def difference(self) -> float:
        """The first network's accuracy minus the second's, in points."""
        return 100 * (self.only_first - self.only_second) / self.images

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference, in points (Agresti and Min, Stat. Med. 24, 2005).

        Wald's interval after half an image is added to each of the four cells.
        """
        total = self.images + 2
        first, second = (self.only_first + 0.5) / total, (self.only_second + 0.5) / total
        half = Z * math.sqrt((first + second - (first - second) ** 2) / total)
        centre = first - second
        return Interval(low=100 * max(-1.0, centre - half), high=100 * min(1.0, centre + half))


def mcnemar_test(first: Tensor, second: Tensor) -> McNemarTest:
    """Compare which images two networks classify correctly.

    Args:
        first: (N,) bool, whether the first network is right.
        second: (N,) bool, of the same images.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    p = binomial_p(min(only_first, only_second), only_first + only_second)
    return McNemarTest(only_first, only_second, len(first), p)


def binomial_p(smaller: int, total: int) -> float:
    """The two-sided p value of `smaller` heads or fewer in `total` throws of a fair coin."""
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(smaller + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log - total * math.log(2)) for log in logs))
