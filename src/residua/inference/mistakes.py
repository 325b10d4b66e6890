"""The mistakes of a network on a split: confident errors, and likely wrong labels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from residua.data import Split
from residua.errors import UserError
from residua.inference.classifier import Classifier
from residua.inference.evaluation import EVAL_BATCH_SIZE
from residua.inference.label_errors import (
    LabelErrors,
    estimated_noise_rate,
    find_label_errors,
)
from residua.runs.records import SplitName


@dataclass(frozen=True)
class Mistakes:
    """What a network gets wrong on a split."""

    split: Split
    split_name: SplitName
    probabilities: Tensor
    """(N, K) float32."""
    label_errors: LabelErrors
    noise_rate: float
    """The estimated share of wrong labels, in [0, 1]."""

    @property
    def in_sample(self) -> bool:
        """Whether the network was trained on these images."""
        return self.split_name == "train"

    @property
    def confident_errors(self) -> Tensor:
        """The misclassified images, (M,) int64, the most confident first."""
        confidence, predicted = self.probabilities.max(1)
        wrong = (predicted != self.split.labels).nonzero()[:, 0]
        return wrong[confidence[wrong].argsort(descending=True, stable=True)]


def find_mistakes(
    classifier: Classifier,
    split: Split,
    split_name: SplitName = "test",
    advance: Callable[[int], None] = lambda _: None,
) -> Mistakes:
    """Classify a split, and find the confident errors and the likely wrong labels.

    Args:
        classifier: the network.
        split: labelled images, on the CPU.
        split_name: which split it is. On the training set the probabilities are in sample, so
            confident learning finds fewer wrong labels: the network has learnt them.
        advance: called after each batch with the number of its images.

    Raises:
        UserError: the split has other classes than the network.
    """
    if split.classes != classifier.classes:
        raise UserError("the images have other classes than those the network was trained on")
    probabilities = predict_split(classifier, split, advance)
    errors = find_label_errors(probabilities, split.labels)
    rate = estimated_noise_rate(probabilities, split.labels)
    return Mistakes(split, split_name, probabilities, errors, rate)


def predict_split(
    classifier: Classifier, split: Split, advance: Callable[[int], None] = lambda _: None
) -> Tensor:
    """The probabilities (N, K) float32 of a split, with the recipe's test-time augmentation."""
    batches = []
    for start in range(0, len(split), EVAL_BATCH_SIZE):
        images = split.images[start : start + EVAL_BATCH_SIZE]
        batches.append(classifier.predict(images).probabilities)
        advance(len(images))
    return torch.cat(batches)
