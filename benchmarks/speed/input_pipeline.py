"""residua's input pipeline alone: select, gather, augment, normalise and lay out batches."""

from itertools import count

from residua.recipes.recipe import Recipe
from residua.training.session import build_training
from speed.worker import StepTimer, serve


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Make the batches of a training without training on them."""
    session, state = build_training(recipe)
    timer.prepared()
    for step in count():
        indices = session.indices(step)
        session.make_batch(session.batch_random(indices, state, "augment", step))
        timer.step()


if __name__ == "__main__":
    serve(loop)
