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

from residua.augment import Affine
from residua.bench.plain import DEGREES, MEAN, PADDING, STD
from residua.bench.serve import Track, serve
from residua.recipe import Recipe
from residua.setting import prepare


def loop(recipe: Recipe, track: Track) -> None:
    """Gather and augment the batches of a training, until no more laps are wanted."""
    setting, _ = prepare(recipe)
    side = setting.splits.train.images.shape[-1]
    turned = any(isinstance(operation, Affine) for operation in recipe.augmentation)
    augment = AugmentationSequential(
        RandomCrop((side, side), padding=PADDING),
        RandomHorizontalFlip(),
        *([RandomRotation(DEGREES, p=1.0)] if turned else []),
        Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ).to(setting.device)
    track.prepared()
    for step in count():
        with torch.no_grad():
            augment(setting.splits.train.images[setting.indices(step)].float() / 255)
        track.step()


if __name__ == "__main__":
    serve(loop)
