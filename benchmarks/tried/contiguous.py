"""The loop of `residua train` with images and filters in NCHW layout."""

from speed import ours
from speed.worker import StepTimer, serve

from residua.recipes.recipe import Recipe


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Train by the recipe."""
    ours.loop(recipe.replace(memory_format="contiguous"), timer)


if __name__ == "__main__":
    serve(loop)
