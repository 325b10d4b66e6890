"""The nearest training images in a network's own feature space."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.data import Split
from residua.inference.classifier import Classifier
from residua.inference.evaluation import (
    EVAL_BATCH_SIZE,
    MEMORY_FORMATS,
    compute_logits,
    eval_mode,
)


@dataclass(frozen=True)
class Neighbors:
    """The nearest images of a split to each of some images."""

    indices: Tensor
    """(N, k) int64, into the split; the nearest first."""
    similarity: Tensor
    """(N, k) float32: cosine similarity, in [-1, 1]."""


def penultimate_features(classifier: Classifier, images: Tensor) -> Tensor:
    """What the linear layer sees of each image, without test-time augmentation.

    Args:
        classifier: the network.
        images: (N, 3, H, W) uint8.

    Returns:
        (N, D) float32, on the CPU.
    """
    return torch.cat(list(_feature_batches(classifier, images)))


def nearest_images(
    classifier: Classifier,
    images: Tensor,
    split: Split,
    k: int = 8,
    advance: Callable[[int], None] = lambda _: None,
) -> Neighbors:
    """The k images of a split whose penultimate features have the least cosine distance.

    The split's features are not held at once.

    Args:
        classifier: the network.
        images: (N, 3, H, W) uint8.
        split: for example the training set.
        k: neighbours an image; fewer where the split has fewer.
        advance: called after each batch of the split with the number of its images.
    """
    wanted = F.normalize(penultimate_features(classifier, images))
    similarity, indices = torch.empty(len(images), 0), torch.empty(len(images), 0).long()
    start = 0
    for features in _feature_batches(classifier, split.images):
        found = wanted @ F.normalize(features).T
        numbers = torch.arange(start, start + len(features)).expand(len(images), -1)
        start += len(features)
        all_similarity = torch.cat([similarity, found], 1)
        best = all_similarity.topk(min(k, all_similarity.shape[1]), 1)
        similarity = best.values
        indices = torch.cat([indices, numbers], 1).gather(1, best.indices)
        advance(len(features))
    return Neighbors(indices, similarity)


def _feature_batches(classifier: Classifier, images: Tensor) -> Iterator[Tensor]:
    network, recipe = classifier.network, classifier.recipe
    for start in range(0, len(images), EVAL_BATCH_SIZE):
        batch = images[start : start + EVAL_BATCH_SIZE]
        with eval_mode(network):
            features = compute_logits(
                network.network.features,
                network.normalize(batch.to(classifier.device)),
                recipe.precision,
                memory_format=MEMORY_FORMATS[recipe.memory_format],
            )
        yield features.float().cpu().clone()
