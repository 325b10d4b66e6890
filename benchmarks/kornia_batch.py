"""kornia's augmentation of resident batches: the same operations, one after another."""

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
from speed.serve import Track, serve

from residua.augment import Affine
from residua.recipes.recipe import Recipe
from residua.training.session import build_session


def loop(recipe: Recipe, track: Track) -> None:
    """Gather and augment the batches of a training, until no more laps are wanted."""
    session, _ = build_session(recipe)
    side = session.splits.train.images.shape[-1]
    turned = any(isinstance(operation, Affine) for operation in recipe.augmentation)
    augment = AugmentationSequential(
        RandomCrop((side, side), padding=PADDING),
        RandomHorizontalFlip(),
        *([RandomRotation(DEGREES, p=1.0)] if turned else []),
        Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ).to(session.device)
    track.prepared()
    for step in count():
        with torch.no_grad():
            augment(session.splits.train.images[session.indices(step)].float() / 255)
        track.step()


if __name__ == "__main__":
    serve(loop)
