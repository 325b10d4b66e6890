"""Albumentations, image by image in one process, then stacked: the work of a DataLoader worker."""

from itertools import count

import albumentations as A
import torch
from albumentations.pytorch import ToTensorV2
from speed.plain import DEGREES, MEAN, PADDING, STD, Images
from speed.worker import StepTimer, serve

from residua.augment import Affine
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.training.session import build_training


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Augment the batches of a training."""
    session, _ = build_training(recipe)
    device = select_device(recipe.device)
    images = Images(recipe.data.load(recipe.seed).train)
    size = images.pixels.shape[1]
    rotates = any(isinstance(operation, Affine) for operation in recipe.augmentation)
    augment = A.Compose(
        [
            A.Pad(PADDING),
            A.RandomCrop(size, size),
            A.HorizontalFlip(p=0.5),
            *([A.Rotate((-DEGREES, DEGREES), border_mode=0, p=1.0)] if rotates else []),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )
    timer.prepared()
    for step in count():
        indices = session.sampler[step].tolist()
        torch.stack([augment(image=images.pixels[index])["image"] for index in indices]).to(device)
        timer.step()


if __name__ == "__main__":
    serve(loop)
