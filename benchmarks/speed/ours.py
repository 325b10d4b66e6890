"""Our training, as `residua train` runs it: a step's time has all that happens between two."""

from pathlib import Path
from tempfile import TemporaryDirectory

from residua.recipes.recipe import Recipe
from residua.training.loop import Started, StepFinished, train
from speed.serve import Track, serve


def loop(recipe: Recipe, track: Track) -> None:
    """Train, until no more laps are wanted."""
    with TemporaryDirectory() as home:
        for event in train(recipe, Path(home) / "run"):
            match event:
                case Started():
                    track.prepared()
                case StepFinished():
                    track.step()


if __name__ == "__main__":
    serve(loop)
