"""The plain loop's transforms, image by image in one process, then stacked."""

from itertools import count

import torch
from PIL import Image
from speed import plain
from speed.serve import Track, serve

from residua.augment import Affine
from residua.devices import select_device
from residua.recipes.recipe import Recipe
from residua.training.session import build_session


def loop(recipe: Recipe, track: Track) -> None:
    """Augment the batches of a training, until no more laps are wanted."""
    session, _ = build_session(recipe)
    device = select_device(recipe.device)
    images = plain.Images(recipe.data.load(recipe.seed).train)
    turned = any(isinstance(operation, Affine) for operation in recipe.augmentation)

    def one(place: int) -> torch.Tensor:
        image = plain.flipped(plain.cropped(Image.fromarray(images.pixels[place])))
        return plain.normalised(plain.tensor(plain.rotated(image) if turned else image))

    track.prepared()
    for step in count():
        torch.stack([one(place) for place in session.sampler[step].tolist()]).to(device)
        track.step()


if __name__ == "__main__":
    serve(loop)
