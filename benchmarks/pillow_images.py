"""The plain loop's transforms, image by image in one process, then stacked."""

from itertools import count

import torch
from PIL import Image
from speed import plain
from speed.worker import StepTimer, serve

from residua.augment import Affine
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.training.session import build_training


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Augment the batches of a training."""
    session, _ = build_training(recipe)
    device = select_device(recipe.device)
    images = plain.Images(recipe.data.load(recipe.seed).train)
    rotates = any(isinstance(operation, Affine) for operation in recipe.augmentation)

    def augment(index: int) -> torch.Tensor:
        image = plain.random_flip(plain.random_crop(Image.fromarray(images.pixels[index])))
        return plain.normalize(plain.to_tensor(plain.random_rotation(image) if rotates else image))

    timer.prepared()
    for step in count():
        torch.stack([augment(index) for index in session.sampler[step].tolist()]).to(device)
        timer.step()


if __name__ == "__main__":
    serve(loop)
