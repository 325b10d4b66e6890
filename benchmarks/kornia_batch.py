"""kornia's augmentation of batches on the device: the same operations, one after another."""

from itertools import count

import torch
from kornia.augmentation import (
    AugmentationSequential,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
)
from speed.plain import DEGREES, MEAN, PADDING, STD
from speed.worker import StepTimer, serve

from residua.augment import Affine
from residua.recipes.recipe import Recipe
from residua.training.session import build_training


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Gather and augment the batches of a training."""
    session, _ = build_training(recipe)
    size = session.splits.train.images.shape[-1]
    rotates = any(isinstance(operation, Affine) for operation in recipe.augmentation)
    augment = AugmentationSequential(
        RandomCrop((size, size), padding=PADDING),
        RandomHorizontalFlip(),
        *([RandomRotation(DEGREES, p=1.0)] if rotates else []),
        Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ).to(session.device)
    timer.prepared()
    for step in count():
        with torch.no_grad():
            augment(session.splits.train.images[session.indices(step)].float() / 255)
        timer.step()


if __name__ == "__main__":
    serve(loop)
