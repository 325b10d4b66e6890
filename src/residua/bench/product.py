"""Square matrix products: what the machine can do at most, while nothing else is asked of it."""

import torch

from residua.bench.serve import Track, serve
from residua.device import choose
from residua.evaluation import PRECISIONS
from residua.recipe import Recipe


def side(device: torch.device) -> int:
    """Of the matrices: large enough that a larger one is no faster."""
    return 8192 if device.type == "cuda" else 2048


def flops(device: torch.device) -> int:
    """Floating-point operations of one product."""
    return 2 * side(device) ** 3


def loop(recipe: Recipe, track: Track) -> None:
    """Multiply random matrices in the recipe's precision, until no more laps are wanted."""
    device, number = choose(recipe.device), PRECISIONS.get(recipe.precision, torch.float32)
    left, right = (
        torch.randn(side(device), side(device), device=device, dtype=number) for _ in range(2)
    )
    product = torch.empty_like(left)
    track.prepared()
    while True:
        torch.mm(left, right, out=product)
        track.step()


if __name__ == "__main__":
    serve(loop)
