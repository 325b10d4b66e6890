"""Our loop with images and filters in NCHW."""

from speed import ours
from speed.serve import Track, serve

from residua.recipes.recipe import Recipe


def loop(recipe: Recipe, track: Track) -> None:
    """Train, until no more laps are wanted."""
    ours.loop(recipe.model_copy(update={"memory_format": "contiguous"}), track)


if __name__ == "__main__":
    serve(loop)
