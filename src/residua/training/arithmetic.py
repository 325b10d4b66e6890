"""How much a training computes."""

from collections import Counter
from functools import cache

import torch

from residua.models import Architecture, training_flops
from residua.training.session import TrainingSession
from residua.training.state import TrainingState


def epoch_flops(session: TrainingSession, state: TrainingState) -> int:
    """Floating-point operations of the epoch that took its last step: forward and backward pass.

    Counts convolutions and matrix products, as `training_flops` does: a multiply-add is two
    operations, and a trained layer needs three times its forward pass, for its output and the
    gradients of its weights and its input. The optimiser, augmentation, the normalization layers
    and evaluations are not counted; SAM computes every pass twice.
    """
    recipe, train = session.recipe, session.splits.train
    steps_per_epoch, batch_size = session.sampler.steps_per_epoch, recipe.batch_size
    remaining, first = session.sampler.length, state.step - steps_per_epoch
    images: Counter[int] = Counter()
    for step in range(first, state.step):
        size = session.image_size_at(session.progress(state, step)) or train.images.shape[-1]
        images[size] += min(batch_size, remaining)
        remaining -= batch_size
    passes = 1 if recipe.sam is None else 2
    classes, channels = len(train.classes), train.channels
    return passes * sum(
        seen * _image_flops(recipe.architecture, classes, size, channels)
        for size, seen in images.items()
    )


@cache
def _image_flops(architecture: Architecture, classes: int, size: int, channels: int) -> int:
    with torch.device("meta"):
        return training_flops(architecture.build(classes, channels=channels), size, channels)
