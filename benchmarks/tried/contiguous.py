"""Our loop with images and filters in NCHW."""

from residua.bench import ours
from residua.bench.serve import Track, serve
from residua.recipe import Recipe


def loop(recipe: Recipe, track: Track) -> None:
    """Train, until no more laps are wanted."""
    ours.loop(recipe.model_copy(update={"memory_format": "contiguous"}), track)


if __name__ == "__main__":
    serve(loop)
