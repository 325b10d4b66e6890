"""Calibration: reliability diagrams, expected calibration error, temperature scaling.

Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.runs.evaluations import Calibrated, ReliabilityBin

BINS = 15
TEMPERATURES = (0.01, 100.0)
"""The range that a temperature is fitted in; it ends there where the holdout has no mistakes."""


def confidence_bins(confidence: Tensor, bins: int = BINS) -> Tensor:
    """The bin of each confidence: (N,) float in (0, 1] to (N,) int64; bin i is (i/B, (i+1)/B]."""
    edges = torch.linspace(0, 1, bins + 1, device=confidence.device)[1:-1]
    return torch.bucketize(confidence, edges)


def reliability(
    confidence: Tensor, correct: Tensor, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The accuracy at each level of confidence.

    Args:
        confidence: (N,) float, the probability of the predicted class.
        correct: (N,) bool.
        bins: of equal width.
    """
    index = confidence_bins(confidence, bins)
    images = torch.bincount(index, minlength=bins)
    sums = [
        torch.zeros(bins, dtype=torch.float64).index_add_(0, index, values.double())
        for values in (confidence, correct)
    ]
    means = [(100 * total / images.clamp(min=1)).clamp(max=100).tolist() for total in sums]
    rows = zip(images.tolist(), *means, strict=True)
    return tuple(
        ReliabilityBin(
            low=i / bins, high=(i + 1) / bins, images=count, confidence=mean, accuracy=share
        )
        for i, (count, mean, share) in enumerate(rows)
    )


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """The mean distance of confidence and accuracy, weighted by the images of each bin, in percent.

    Args:
        confidence: (N,) float, the probability of the predicted class.
        correct: (N,) bool.
        bins: of equal width.
    """
    gaps = confidence.double() - correct.double()
    index = confidence_bins(confidence, bins)
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, gaps)
    return 100 * float(sums.abs().sum()) / len(confidence)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that minimises the cross-entropy of logits / temperature.

    The loss is convex in 1 / temperature, so Newton's method, kept in a shrinking bracket, finds
    the only minimum.

    Args:
        logits: (N, K), of images that the network was not trained on.
        labels: (N,) int64.
    """
    shifted = logits.double() - logits.double().amax(1, keepdim=True)
    of_label = shifted.gather(1, labels[:, None]).flatten()
    low, high = (math.log(1 / temperature) for temperature in reversed(TEMPERATURES))
    log_beta = 0.0
    for _ in range(100):
        beta = math.exp(log_beta)
        probabilities = (beta * shifted).softmax(1)
        mean = (probabilities * shifted).sum(1)
        slope = float((mean - of_label).mean())
        curvature = float(((probabilities * shifted.square()).sum(1) - mean.square()).mean())
        low, high = (low, log_beta) if slope > 0 else (log_beta, high)
        newton = beta - slope / curvature if curvature > 0 else 0.0
        following = math.log(newton) if newton > 0 else math.inf
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - log_beta) < 1e-9:
            break
        log_beta = following
    return math.exp(-log_beta)


def apply_temperature(logits: Tensor, labels: Tensor, temperature: float) -> Calibrated:
    """Loss and calibration of logits / temperature; accuracies do not change.

    Args:
        logits: (N, K).
        labels: (N,) int64.
        temperature: above 0.
    """
    scaled = logits / temperature
    confidence, predicted = scaled.softmax(1).max(1)
    correct = predicted == labels
    return Calibrated(
        temperature=temperature,
        loss=float(F.cross_entropy(scaled.double(), labels)),
        ece=expected_calibration_error(confidence, correct),
        reliability=reliability(confidence, correct),
    )
