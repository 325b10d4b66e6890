"""Our training, as `residua train` runs it: a step's time has all that happens between two."""

from pathlib import Path
from tempfile import TemporaryDirectory

from residua.bench.serve import Track, serve
from residua.recipe import Recipe
from residua.training import Started, Stepped, train


def loop(recipe: Recipe, track: Track) -> None:
    """Train, until no more laps are wanted."""
    with TemporaryDirectory() as home:
        for event in train(recipe, Path(home) / "run"):
            match event:
                case Started():
                    track.prepared()
                case Stepped():
                    track.step()


if __name__ == "__main__":
    serve(loop)
