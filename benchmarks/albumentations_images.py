"""Albumentations, image by image in one process, then stacked: what one DataLoader worker does."""

from itertools import count

import albumentations as A
import torch
from albumentations.pytorch import ToTensorV2
from speed.plain import DEGREES, MEAN, PADDING, STD, Images
from speed.serve import Track, serve

from residua.augment import Affine
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.training.session import build_session


def loop(recipe: Recipe, track: Track) -> None:
    """Augment the batches of a training, until no more laps are wanted."""
    session, _ = build_session(recipe)
    device = select_device(recipe.device)
    images = Images(recipe.data.load(recipe.seed).train)
    side = images.pixels.shape[1]
    turned = any(isinstance(operation, Affine) for operation in recipe.augmentation)
    augment = A.Compose(
        [
            A.Pad(PADDING),
            A.RandomCrop(side, side),
            A.HorizontalFlip(p=0.5),
            *([A.Rotate((-DEGREES, DEGREES), border_mode=0, p=1.0)] if turned else []),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )
    track.prepared()
    for step in count():
        places = session.sampler[step].tolist()
        torch.stack([augment(image=images.pixels[place])["image"] for place in places]).to(device)
        track.step()


if __name__ == "__main__":
    serve(loop)
