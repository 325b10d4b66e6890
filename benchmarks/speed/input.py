"""Our input pipeline alone: which images, gathered, augmented, normalised, laid out in memory."""

from itertools import count

from residua.recipes.recipe import Recipe
from residua.training.session import build_session
from speed.serve import Track, serve


def loop(recipe: Recipe, track: Track) -> None:
    """Make the batches of a training, until no more laps are wanted."""
    session, state = build_session(recipe)
    track.prepared()
    for step in count():
        indices = session.indices(step)
        session.make_batch(session.batch_random(indices, state, "augment", step))
        track.step()


if __name__ == "__main__":
    serve(loop)
