"""Back to where a training can go on, and out of an evaluation that nobody waits for."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from residua.errors import UserError
from residua.recipes.divergence import Diverged
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training.session import TrainingSession
from residua.training.state import CorruptCheckpoint, TrainingState

StopCondition = Callable[[TrainingProgress], bool]
"""Asked before every step, and between the batches of an evaluation; true saves and stops."""


class EvaluationInterrupted(Exception):
    """A stop was asked for in the middle of an evaluation."""


def restore(state: TrainingState, checkpoints: Sequence[Path]) -> None:
    """Take the last checkpoint that is sound, and say which ones are not.

    Args:
        state: what is restored.
        checkpoints: oldest first.

    Raises:
        UserError: there is none, or it is of another network.
    """
    for path in reversed(checkpoints):
        try:
            state.load(path)
        except CorruptCheckpoint as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=2)
        else:
            return
    raise UserError(f"none of {len(checkpoints)} checkpoints is there and sound: nothing to go on")


def roll_back(run: Run, session: TrainingSession, state: TrainingState, found: Diverged) -> None:
    """Go back as the recipe says, and set the log back too.

    Only checkpoints that were due are gone back to, never one of a stop: so a training that was
    stopped in between takes the same way as one that was not.

    Raises:
        UserError: the recipe says to stop, or it was gone back often enough.
    """
    times = state.rollbacks
    if times >= session.recipe.on_divergence.max_rollbacks:
        after = f", after going back {times} times" if times else ""
        raise UserError(
            f"{found}{after}: lower --optimizer.lr, set --max-grad-norm, or have "
            "--on-divergence.kind roll_back; the last checkpoint stays"
        ) from None
    restore(state, run.ends)
    state.rollbacks = times + 1
    run.rewind(state.history)


def breakable(
    session: TrainingSession, state: TrainingState, should_stop: StopCondition
) -> TrainingSession:
    """A setting whose evaluations, which change nothing, are broken off when a stop is asked for.

    An epoch's last step counts as taken once the epoch is evaluated: whoever asks for an end after
    an epoch gets its figures.
    """

    def forward(images: Tensor) -> Tensor:
        progress = session.progress(state)
        if not torch.is_grad_enabled() and should_stop(replace(progress, step=progress.step - 1)):
            raise EvaluationInterrupted
        return session.forward(images)

    return replace(session, forward=forward)
