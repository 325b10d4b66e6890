"""The loop of `residua train`; a step lasts from one `StepFinished` event to the next."""

from pathlib import Path
from tempfile import TemporaryDirectory

from residua.recipes.recipe import Recipe
from residua.training.events import Started, StepFinished
from residua.training.loop import train
from speed.worker import StepTimer, serve


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Train by the recipe."""
    with TemporaryDirectory() as folder:
        for event in train(recipe, Path(folder) / "run"):
            match event:
                case Started():
                    timer.prepared()
                case StepFinished():
                    timer.step()


if __name__ == "__main__":
    serve(loop)
