"""A product of large square matrices: a practical upper limit of the machine's speed."""

import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.devices import select_device
from residua.inference.evaluation import AMP_DTYPES
from residua.recipes.recipe import Recipe
from speed.worker import StepTimer, serve


def matrix_size(device: torch.device) -> int:
    """Rows and columns of the matrices: larger ones are not multiplied any faster."""
    return 8192 if device.type == "cuda" else 2048


def matmul_flops(device: torch.device) -> int:
    """Floating-point operations of one product."""
    return 2 * matrix_size(device) ** 3


def matmul_variants(left: Tensor, right: Tensor) -> Iterator[Callable[[], Tensor]]:
    """The ways to multiply two square matrices, the second one transposed.

    On a CPU torch uses different libraries for matrix products and for convolutions, and either may
    be faster on a processor. A 1 x 1 convolution in channels_last layout is the same product.
    """
    yield lambda: left @ right.T
    if left.device.type == "cpu":
        size = len(left)
        image = left.view(-1, 8, 8, size).permute(0, 3, 1, 2)
        filters = right.view(size, size, 1, 1)
        yield lambda: F.conv2d(image, filters).permute(0, 2, 3, 1).reshape(size, size)


def fastest_matmul(device: torch.device, precision: str) -> Callable[[], Tensor]:
    """A product of two large random matrices, by the variant with the fastest second call.

    Args:
        device: where to multiply.
        precision: the precision, as in a recipe.
    """
    dtype = AMP_DTYPES.get(precision, torch.float32)
    size = matrix_size(device)
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)

    def seconds(multiply: Callable[[], Tensor]) -> float:
        multiply()
        started = time.perf_counter()
        multiply()
        return time.perf_counter() - started

    return min(matmul_variants(left, right), key=seconds)


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Multiply random matrices in the recipe's precision."""
    multiply = fastest_matmul(select_device(recipe.device), recipe.precision)
    timer.prepared()
    while True:
        multiply()
        timer.step()


if __name__ == "__main__":
    serve(loop)
