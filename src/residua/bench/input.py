"""Our input pipeline alone: which images, gathered, augmented, normalised, laid out in memory."""

from itertools import count

from residua.bench.serve import Track, serve
from residua.recipe import Recipe
from residua.setting import prepare


def loop(recipe: Recipe, track: Track) -> None:
    """Make the batches of a training, until no more laps are wanted."""
    setting, state = prepare(recipe)
    track.prepared()
    for step in count():
        indices = setting.indices(step)
        setting.augmented(setting.draw(indices, state, "augment", step))
        track.step()


if __name__ == "__main__":
    serve(loop)
