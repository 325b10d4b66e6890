"""A plain PyTorch training loop: eager, NCHW, images transformed one by one in a DataLoader.

After weiaicunzai/pytorch-cifar100 (https://github.com/weiaicunzai/pytorch-cifar100, train.py and
utils.py): a padded crop, a flip, a rotation by up to 15 degrees, ToTensor, Normalize; four worker
processes; SGD; the loss is read after every step. Its prints and TensorBoard output are left out,
which makes it a little faster. The transforms are equal to torchvision's on PIL images.
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
from speed.worker import StepTimer, serve

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

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return transform(Image.fromarray(self.pixels[index])), self.labels[index]


def transform(image: Image.Image) -> Tensor:
    """Crop, flip, rotate and normalise a square RGB image: (3, size, size) float32."""
    return normalize(to_tensor(random_rotation(random_flip(random_crop(image)))))


def random_crop(image: Image.Image) -> Image.Image:
    """RandomCrop(size, padding=4)."""
    size = image.width
    padded = ImageOps.expand(image, border=PADDING, fill=0)
    top = int(torch.randint(0, 2 * PADDING + 1, size=(1,)).item())
    left = int(torch.randint(0, 2 * PADDING + 1, size=(1,)).item())
    return padded.crop((left, top, left + size, top + size))


def random_flip(image: Image.Image) -> Image.Image:
    """RandomHorizontalFlip()."""
    if torch.rand(1) < 0.5:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def random_rotation(image: Image.Image) -> Image.Image:
    """RandomRotation(15): nearest-neighbour, black outside the image."""
    angle = float(torch.empty(1).uniform_(-DEGREES, DEGREES).item())
    return image.rotate(angle, Image.Resampling.NEAREST, expand=False, fillcolor=(0, 0, 0))


def to_tensor(image: Image.Image) -> Tensor:
    """ToTensor()."""
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
    return pixels.permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


def normalize(image: Tensor) -> Tensor:
    """Normalize(MEAN, STD)."""
    image = image.clone()
    mean = torch.as_tensor(MEAN, dtype=image.dtype, device=image.device)
    std = torch.as_tensor(STD, dtype=image.dtype, device=image.device)
    if (std == 0).any():
        raise ValueError("a standard deviation is 0")
    return image.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def loader(recipe: Recipe) -> DataLoader[tuple[Tensor, int]]:
    """The recipe's training images in complete batches, reshuffled each epoch."""
    images = Images(recipe.data.load(recipe.seed).train)
    return DataLoader(images, recipe.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Train the recipe's network."""
    device, dtype = select_device(recipe.device), AMP_DTYPES.get(recipe.precision)
    torch.manual_seed(recipe.seed)
    batches = loader(recipe)
    network = recipe.architecture.build(recipe.data.num_classes, recipe.seed).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    timer.prepared()
    for images, labels, wait_seconds in _endless(batches):
        images, labels = images.to(device), labels.to(device)  # noqa: PLW2901
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = F.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()
        timer.step(wait_seconds)


def _endless(batches: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Batches of all epochs: images, labels, seconds waited for them."""
    while True:
        requested = time.perf_counter()
        for images, labels in batches:
            yield images, labels, time.perf_counter() - requested
            requested = time.perf_counter()


if __name__ == "__main__":
    serve(loop)
