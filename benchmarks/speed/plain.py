"""The loop that people write: eager, NCHW, images transformed one by one in a DataLoader.

After weiaicunzai/pytorch-cifar100 (https://github.com/weiaicunzai/pytorch-cifar100, train.py and
utils.py): a padded crop, a flip, a rotation by up to 15 degrees, ToTensor, Normalize; four worker
processes; SGD; the loss is read after every step. Its prints and its TensorBoard lines are left
out, which favours it. The transforms do to each image what torchvision's do to a PIL image.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from residua.data import Split
from residua.devices import select_device
from residua.inference.evaluation import AMP_DTYPES
from residua.recipes.recipe import Recipe
from speed.serve import Track, serve

PADDING = 4
DEGREES = 15.0
WORKERS = 4
MEAN = (0.5070751592371323, 0.48654887331495095, 0.4409178433670343)
STD = (0.2673342858792401, 0.2564384629170883, 0.27615047132568404)


class Images(Dataset[tuple[Tensor, int]]):
    """A split, one transformed image at a time."""

    def __init__(self, split: Split) -> None:
        self.pixels: NDArray[np.uint8] = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels: list[int] = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return transformed(Image.fromarray(self.pixels[place])), self.labels[place]


def transformed(image: Image.Image) -> Tensor:
    """A square RGB image, cropped, flipped, rotated, normalised: (3, side, side) float32."""
    return normalised(tensor(rotated(flipped(cropped(image)))))


def cropped(image: Image.Image) -> Image.Image:
    """RandomCrop(side, padding=4)."""
    side = image.width
    padded = ImageOps.expand(image, border=PADDING, fill=0)
    top = int(torch.randint(0, 2 * PADDING + 1, size=(1,)).item())
    left = int(torch.randint(0, 2 * PADDING + 1, size=(1,)).item())
    return padded.crop((left, top, left + side, top + side))


def flipped(image: Image.Image) -> Image.Image:
    """RandomHorizontalFlip()."""
    if torch.rand(1) < 0.5:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def rotated(image: Image.Image) -> Image.Image:
    """RandomRotation(15): the nearest pixel, black beyond the edges."""
    angle = float(torch.empty(1).uniform_(-DEGREES, DEGREES).item())
    return image.rotate(angle, Image.Resampling.NEAREST, expand=False, fillcolor=(0, 0, 0))


def tensor(image: Image.Image) -> Tensor:
    """ToTensor()."""
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    return pixels.permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


def normalised(image: Tensor) -> Tensor:
    """Normalize(MEAN, STD)."""
    image = image.clone()
    mean = torch.as_tensor(MEAN, dtype=image.dtype, device=image.device)
    std = torch.as_tensor(STD, dtype=image.dtype, device=image.device)
    if (std == 0).any():
        raise ValueError("a deviation of 0")
    return image.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def loader(recipe: Recipe) -> DataLoader[tuple[Tensor, int]]:
    """The recipe's training images in whole batches, shuffled anew each epoch."""
    images = Images(recipe.data.load(recipe.seed).train)
    return DataLoader(images, recipe.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)


def loop(recipe: Recipe, track: Track) -> None:
    """Train the recipe's network, until no more laps are wanted."""
    device, mixed = select_device(recipe.device), AMP_DTYPES.get(recipe.precision)
    torch.manual_seed(recipe.seed)
    batches = loader(recipe)
    network = recipe.architecture.build(recipe.data.class_count, recipe.seed).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    track.prepared()
    for images, labels, waited in _endless(batches):
        images, labels = images.to(device), labels.to(device)  # noqa: PLW2901
        optimizer.zero_grad()
        with torch.autocast(device.type, mixed, enabled=mixed is not None):
            loss = F.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()
        track.step(waited)


def _endless(batches: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Epoch after epoch: images, labels, seconds waited for them."""
    while True:
        asked = time.perf_counter()
        for images, labels in batches:
            yield images, labels, time.perf_counter() - asked
            asked = time.perf_counter()


if __name__ == "__main__":
    serve(loop)
