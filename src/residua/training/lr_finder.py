"""Which learning rate a recipe bears: Smith's range test (arXiv:1506.01186).

The rate rises exponentially over some steps of a training that leaves nothing behind; where the
loss falls, and where it turns up, show what a schedule may start from and go up to.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.schedules import Exponential
from residua.training.loop import step
from residua.training.session import build_training

SMOOTHING = 0.9
"""What the smoothed loss keeps of itself at every step, corrected for its start."""
DIVERGED = 4.0
"""The loss has diverged when its smoothed value is so many times the least one."""
BELOW = 10.0
"""The suggested rate is the one at which the smoothed loss is least, divided by this."""


@dataclass(frozen=True)
class LRCurve:
    """The loss of a training whose rate rises from step to step."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each batch, before the step of that rate."""
    smoothed: tuple[float, ...]
    """The same, smoothed."""
    diverged: bool
    """Whether it was stopped because the loss diverged."""

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is least."""
        least = min(range(len(self.smoothed)), key=lambda place: self.smoothed[place])
        return self.rates[least] / BELOW


def find_lr(recipe: Recipe, start: float = 1e-5, end: float = 10.0, steps: int = 100) -> LRCurve:
    """Train for some steps while the rate of `optimizer.lr` rises; no run is made or touched.

    All else runs as in the recipe; weights are not averaged.
    The training stops at a loss that is not finite or has diverged.

    Args:
        recipe: what to train.
        start: the first rate, above 0.
        end: the last rate, above the first.
        steps: steps to take at most, at least 2.

    Raises:
        UserError: rates or steps that make no curve; the data is missing; no loss was finite.
    """
    if not 0 < start < end < math.inf or steps < 2:
        raise UserError("a rate is searched for over 2 steps or more, from above 0 upwards")
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    total, diverged = 0.0, False
    for count, (rate, loss) in enumerate(_losses(recipe, start, end, steps), 1):
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        smooth = total / (1 - SMOOTHING**count)
        diverged = not math.isfinite(loss) or smooth > DIVERGED * min([smooth, *smoothed])
        if diverged:
            break
        rates.append(rate)
        losses.append(loss)
        smoothed.append(smooth)
    if not rates:
        raise UserError("the loss is not finite at the first rate already: begin with a lower one")
    return LRCurve(tuple(rates), tuple(losses), tuple(smoothed), diverged)


def _losses(recipe: Recipe, start: float, end: float, steps: int) -> Iterator[tuple[float, float]]:
    """The rate and the loss of each step."""
    session, state = build_training(recipe.model_copy(update={"average": None}))
    epochs = (steps - 1) / session.sampler.steps_per_epoch
    rising = Exponential(start=start, end=end, epochs=epochs)
    optimizer = recipe.optimizer.model_copy(update={"lr": rising})
    changed = session.recipe.model_copy(update={"optimizer": optimizer})
    session = replace(session, recipe=changed)
    for _ in range(steps):
        loss = step(session, state)
        yield state.optimizer.param_groups[0]["lr"], float(loss)


def picture(curve: LRCurve) -> Figure:
    """The loss against the rate, with the suggestion marked."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, color="#c9cdd4", linewidth=1, label="each batch")
    axes.plot(curve.rates, curve.smoothed, color="#d55e00", linewidth=1.6, label="smoothed")
    axes.axvline(
        curve.suggestion,
        color="#0072b2",
        linewidth=1,
        linestyle="--",
        label=f"suggestion {curve.suggestion:.2g}",
    )
    axes.set_xscale("log")
    low, high = min(curve.smoothed), max(curve.smoothed)
    margin = 0.2 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure


def draw(curve: LRCurve, path: Path) -> None:
    """Write the picture of a curve.

    Args:
        curve: what was found.
        path: a file that ends in .png or .svg.

    Raises:
        UserError: another ending.
    """
    with mpl.rc_context({"svg.hashsalt": "residua"}):
        picture(curve).savefig(checked(path))


def checked(path: Path) -> Path:
    """The path of a picture.

    Raises:
        UserError: it ends in neither .png nor .svg.
    """
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"{path}: a picture's name ends in .png or .svg")
    return path
