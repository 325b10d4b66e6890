"""As many epochs as fit into a budget of time."""

import math
import time
from dataclasses import dataclass, replace

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.recipes.stretching import stretched
from residua.training.session import TrainingSession, build_training
from residua.training.timing import (
    BUDGET,
    MeasuredSpeed,
    TrainingEstimate,
    extrapolate,
    measure_speed,
)

MEASURED_SHARE = 0.05
"""The share of the budget that measuring takes at most."""
RESERVED_SHARE = 0.05
"""The share of the budget that is kept for checkpoints and reports, and for slower moments."""
MIN_RESERVED = 5.0
"""The same in seconds, at least."""
MAX_EPOCHS = 1_000_000


@dataclass(frozen=True)
class TimePlan:
    """A training that fits into a budget of time."""

    recipe: Recipe
    """With the chosen number of epochs, and its schedules stretched to it."""
    estimate: TrainingEstimate
    """Of the training on this machine."""


def fit_to_time(recipe: Recipe, seconds: float) -> TimePlan:
    """Measure the speed of a training here, and give it as many epochs as fit into a time.

    Args:
        recipe: the training; its schedules are stretched to the number of epochs.
        seconds: from the call of this function to the end of the training, its start and its
            evaluations included.

    Raises:
        UserError: one epoch does not fit, or the training cannot start.
    """
    started = time.monotonic()
    session, state = build_training(recipe)
    start_seconds = time.monotonic() - started
    speed = measure_speed(session, state, min(BUDGET, MEASURED_SHARE * seconds))
    reserved = max(MIN_RESERVED, RESERVED_SHARE * seconds)
    left = seconds - (time.monotonic() - started) - start_seconds - reserved
    epochs = _largest_fit(session, speed, left)
    if epochs == 0:
        needed = _estimate(session, speed, 1).total_seconds
        limit = math.floor(len(session.splits.train) * max(0.0, left) / needed)
        fewer = f", or train on fewer images: --data.limit {limit}" if limit > 1 else ""
        raise UserError(
            f"--minutes {seconds / 60:g}: one epoch takes about {needed / 60:.1f} minutes here, "
            f"with its evaluation; give at least --minutes "
            f"{_rounded_up(seconds - left + needed)}{fewer}"
        )
    return TimePlan(stretched(session.recipe, epochs), _estimate(session, speed, epochs))


def _largest_fit(session: TrainingSession, speed: MeasuredSpeed, seconds: float) -> int:
    """The largest number of epochs whose training takes at most these seconds; 0 if none does."""
    fits, too_many = 0, 1
    while too_many <= MAX_EPOCHS and _takes_at_most(session, speed, too_many, seconds):
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if middle <= MAX_EPOCHS and _takes_at_most(session, speed, middle, seconds):
            fits = middle
        else:
            too_many = middle
    return fits


def _takes_at_most(
    session: TrainingSession, speed: MeasuredSpeed, epochs: int, seconds: float
) -> bool:
    return _estimate(session, speed, epochs).total_seconds <= seconds


def _estimate(session: TrainingSession, speed: MeasuredSpeed, epochs: int) -> TrainingEstimate:
    return extrapolate(replace(session, recipe=stretched(session.recipe, epochs)), speed)


def _rounded_up(seconds: float) -> str:
    """Minutes, in a number of two digits that is not smaller."""
    minutes = seconds / 60
    digit = 10 ** (math.floor(math.log10(minutes)) - 1)
    return f"{math.ceil(minutes / digit) * digit:g}"
