"""Likely wrong labels, by confident learning (Northcutt et al., arXiv:1911.00068)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelErrors:
    """Images whose labels are likely wrong, the likeliest first."""

    indices: Tensor
    """(M,) int64."""
    suggested: Tensor
    """(M,) int64: the class that the network takes each for."""
    self_confidence: Tensor
    """(M,) float32: the probability of the label."""
    confidence: Tensor
    """(M,) float32: the probability of the suggested class."""

    def __len__(self) -> int:
        return len(self.indices)


def class_thresholds(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The mean probability of each class over the images that have its label (equation 2).

    Args:
        probabilities: (N, K) float32, out of sample: of a network that was not trained on them.
        labels: (N,) int64.

    Returns:
        (K,) float64; infinite for classes without an image.
    """
    counts = torch.bincount(labels, minlength=probabilities.shape[1])
    own = probabilities.double().gather(1, labels[:, None])[:, 0]
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, labels, own)
    return torch.where(counts > 0, sums / counts.clamp(min=1), torch.inf)


def confident_classes(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The class that each image confidently belongs to.

    That is the most probable one of those whose probability reaches its threshold.

    Args:
        probabilities: (N, K) float32, out of sample.
        labels: (N,) int64.

    Returns:
        (N,) int64; -1 where no class reaches its threshold.
    """
    reached = probabilities.double() >= class_thresholds(probabilities, labels)
    best = torch.where(reached, probabilities, -1.0).argmax(1)
    return torch.where(reached.any(1), best, -1)


def confident_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """How many images of each label belong to each class, by estimate (equations 1 and 3).

    Args:
        probabilities: (N, K) float32, out of sample.
        labels: (N,) int64.

    Returns:
        (K, K) float64, label by class; the rows sum to the labels' counts.
    """
    size = probabilities.shape[1]
    classes = confident_classes(probabilities, labels)
    counted = classes >= 0
    cells = labels[counted] * size + classes[counted]
    joint = torch.bincount(cells, minlength=size**2).reshape(size, size).double()
    empty = joint.sum(1) == 0
    joint[empty] = torch.eye(size, dtype=torch.float64)[empty]
    counts = torch.bincount(labels, minlength=size).double()
    return joint * (counts / joint.sum(1))[:, None]


def find_label_errors(probabilities: Tensor, labels: Tensor) -> LabelErrors:
    """Prune by class: of each label, the images whose label is the least probable.

    Their number is what the confident joint has off its diagonal for this label. Images that the
    network classifies as labelled are left out. On CIFAR-100 this finds more flipped labels
    than the paper's other ways of pruning: records/2026-11-25-label-errors.

    Args:
        probabilities: (N, K) float32, out of sample: of a network that was not trained on them.
        labels: (N,) int64.

    Returns:
        The images, those with the least probability of their label first.
    """
    joint = confident_joint(probabilities, labels)
    limits = (joint.sum(1) - joint.diagonal()).round().long()
    own = probabilities.gather(1, labels[:, None])[:, 0]
    order = own.argsort(stable=True)
    by_label = labels[order].argsort(stable=True)
    sorted_labels = labels[order][by_label]
    counts = torch.bincount(labels, minlength=probabilities.shape[1])
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[sorted_labels]
    listed = torch.zeros(len(labels), dtype=torch.bool)
    listed[order[by_label]] = rank < limits[sorted_labels]
    confidence, predicted = probabilities.max(1)
    indices = order[(listed & (predicted != labels))[order]]
    return LabelErrors(indices, predicted[indices], own[indices], confidence[indices])


def estimated_noise_rate(probabilities: Tensor, labels: Tensor) -> float:
    """The estimated share of wrong labels: what the confident joint has off its diagonal.

    Args:
        probabilities: (N, K) float32, out of sample.
        labels: (N,) int64.
    """
    joint = confident_joint(probabilities, labels)
    return 1 - float(joint.trace() / joint.sum())
