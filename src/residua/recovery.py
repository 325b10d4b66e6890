"""Back to where a training can go on, and out of an evaluation that nobody waits for."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from residua.divergence import Diverged
from residua.errors import UserError
from residua.run import Run
from residua.schedule import Clock
from residua.setting import Setting
from residua.state import Damaged, State

Until = Callable[[Clock], bool]
"""Asked before every step, and between the batches of an evaluation; true saves and stops."""


class BrokenOff(Exception):
    """A stop was asked for in the middle of an evaluation."""


def restore(state: State, checkpoints: Sequence[Path]) -> None:
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
        except Damaged as error:
            warnings.warn(f"{error}; the checkpoint before it is taken", stacklevel=2)
        else:
            return
    raise UserError(f"none of {len(checkpoints)} checkpoints is there and sound: nothing to go on")


def roll_back(run: Run, setting: Setting, state: State, found: Diverged) -> None:
    """Go back as the recipe says, and set the log back too.

    Only checkpoints that were due are gone back to, never one of a stop: so a training that was
    stopped in between takes the same way as one that was not.

    Raises:
        UserError: the recipe says to stop, or it was gone back often enough.
    """
    times = state.rollbacks
    if times >= setting.recipe.on_divergence.times:
        after = f", after going back {times} times" if times else ""
        raise UserError(
            f"{found}{after}: lower --optimizer.lr, set --clip-norm, or have "
            "--on-divergence.kind roll_back; the last checkpoint stays"
        ) from None
    restore(state, run.ends)
    state.rollbacks = times + 1
    run.rewind(state.history)


def breakable(setting: Setting, state: State, until: Until) -> Setting:
    """A setting whose evaluations, which change nothing, are broken off when a stop is asked for.

    An epoch's last step counts as taken once the epoch is evaluated: whoever asks for an end after
    an epoch gets its figures.
    """

    def forward(images: Tensor) -> Tensor:
        clock = setting.clock(state)
        if not torch.is_grad_enabled() and until(replace(clock, step=clock.step - 1)):
            raise BrokenOff
        return setting.forward(images)

    return replace(setting, forward=forward)
