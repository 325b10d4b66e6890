"""Extending a training: more epochs than it was planned for."""

from dataclasses import replace

from residua.errors import UserError
from residua.recipes.recipe import Extension, Recipe
from residua.training.epoch import is_finished
from residua.training.events import Extended
from residua.training.session import TrainingSession
from residua.training.state import TrainingState


def extend(session: TrainingSession, state: TrainingState, epochs: int) -> TrainingSession:
    """Plan a training for more epochs, from where its state stands; the state gets the recipe.

    The schedules of further steps are those of a training that had this length from the start.

    Raises:
        UserError: it is planned for as many epochs already, or early stopping has ended it.
    """
    recipe = session.recipe
    if epochs <= recipe.epochs:
        raise UserError(
            f"--epochs {epochs}: the training is planned for {recipe.epochs} epochs already; give "
            "a larger number"
        )
    extended = replace(session, recipe=_extended(recipe, state.step, epochs))
    if is_finished(extended, state):
        raise UserError(
            f"early stopping ended this training after {len(state.history)} of {recipe.epochs} "
            "epochs, so more epochs do not continue it: raise early_stopping.patience in its "
            "recipe.json first"
        )
    state.recipe = extended.recipe
    return extended


def _extended(recipe: Recipe, step: int, epochs: int) -> Recipe:
    extension = Extension(step=step, epochs=recipe.epochs)
    return recipe.replace(epochs=epochs, extensions=(*recipe.extensions, extension))


def extended_event(
    before: TrainingSession, session: TrainingSession, state: TrainingState
) -> Extended:
    """What an extension does to the learning rate."""
    lr_at = session.recipe.optimizer.lr_at
    return Extended(
        state.step,
        before.recipe.epochs,
        session.recipe.epochs,
        lr_at(before.progress(state, max(0, state.step - 1))),
        lr_at(session.progress(state)),
    )
