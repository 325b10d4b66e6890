"""Square matrix products: what the machine does while nothing else is asked of it."""

import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.devices import select_device
from residua.inference.evaluation import AMP_DTYPES
from residua.recipes.recipe import Recipe
from speed.serve import Track, serve


def side(device: torch.device) -> int:
    """Of the matrices: large enough that a larger one is no faster."""
    return 8192 if device.type == "cuda" else 2048


def flops(device: torch.device) -> int:
    """Floating-point operations of one product."""
    return 2 * side(device) ** 3


def products(left: Tensor, right: Tensor) -> Iterator[Callable[[], Tensor]]:
    """The ways to multiply two square matrices, the second one transposed.

    On CPUs torch leaves matrices to one library and convolutions to another, and either may know
    the processor better: a 1 x 1 convolution, channels last, is the same product.
    """
    yield lambda: left @ right.T
    if left.device.type == "cpu":
        length = len(left)
        image = left.view(-1, 8, 8, length).permute(0, 3, 1, 2)
        filters = right.view(length, length, 1, 1)
        yield lambda: F.conv2d(image, filters).permute(0, 2, 3, 1).reshape(length, length)


def fastest(device: torch.device, precision: str) -> Callable[[], Tensor]:
    """A product of large random matrices, the way that takes least time at its second call.

    Args:
        device: where.
        precision: as a recipe has it.
    """
    number = AMP_DTYPES.get(precision, torch.float32)
    left, right = torch.randn(2, side(device), side(device), device=device, dtype=number)

    def seconds(way: Callable[[], Tensor]) -> float:
        way()
        started = time.perf_counter()
        way()
        return time.perf_counter() - started

    return min(products(left, right), key=seconds)


def loop(recipe: Recipe, track: Track) -> None:
    """Multiply random matrices in the recipe's precision, until no more laps are wanted."""
    multiply = fastest(select_device(recipe.device), recipe.precision)
    track.prepared()
    while True:
        multiply()
        track.step()


if __name__ == "__main__":
    serve(loop)
