"""The learning-rate range test (Smith, arXiv:1506.01186).

The learning rate rises exponentially over some training steps that are thrown away afterwards.
Where the loss falls, and where it turns up, shows which rates a schedule may use.
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
"""Decay of the loss's exponential moving average, whose start-up bias is corrected."""
DIVERGENCE_FACTOR = 4.0
"""The loss has diverged when its moving average is this many times its minimum."""
SUGGESTION_DIVISOR = 10.0
"""The suggestion is the learning rate with the least smoothed loss, divided by this."""


@dataclass(frozen=True)
class LRCurve:
    """Learning rates and losses of a range test."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each batch, before the step with that learning rate."""
    smoothed: tuple[float, ...]
    """The losses' moving average."""
    diverged: bool
    """Whether the test ended early because the loss diverged."""

    @property
    def suggestion(self) -> float:
        """A tenth of the learning rate with the least smoothed loss."""
        lowest = min(range(len(self.smoothed)), key=lambda index: self.smoothed[index])
        return self.lrs[lowest] / SUGGESTION_DIVISOR


def find_lr(recipe: Recipe, start: float = 1e-5, end: float = 10.0, steps: int = 100) -> LRCurve:
    """Train for some steps while `optimizer.lr` rises; writes no run.

    Everything else is as in the recipe, but weights are not averaged. The test ends early when the
    loss diverges or is not finite.

    Args:
        recipe: what to train.
        start: the first learning rate, above 0.
        end: the last learning rate, above the first.
        steps: the number of steps, at least 2.

    Raises:
        UserError: the arguments are out of range; data is missing; the first loss is not finite.
    """
    if not 0 < start < end < math.inf or steps < 2:
        raise UserError("a range test needs 0 < start < end and at least 2 steps")
    lrs: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    for count, (lr, loss) in enumerate(_losses(recipe, start, end, steps), 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        corrected = average / (1 - SMOOTHING**count)
        diverged = not math.isfinite(loss) or corrected > DIVERGENCE_FACTOR * min(
            [corrected, *smoothed]
        )
        if diverged:
            break
        lrs.append(lr)
        losses.append(loss)
        smoothed.append(corrected)
    if not lrs:
        raise UserError(f"the loss is not finite at the first learning rate, {start:g}: lower it")
    return LRCurve(tuple(lrs), tuple(losses), tuple(smoothed), diverged)


def _losses(recipe: Recipe, start: float, end: float, steps: int) -> Iterator[tuple[float, float]]:
    """Yield the learning rate and the loss of each step."""
    session, state = build_training(recipe.replace(weight_average=None))
    epochs = (steps - 1) / session.sampler.steps_per_epoch
    rising = Exponential(start=start, end=end, epochs=epochs)
    session = replace(session, recipe=session.recipe.replace(**{"optimizer.lr": rising}))
    for _ in range(steps):
        lr = session.recipe.optimizer.lr_at(session.progress(state))
        yield lr, float(step(session, state))


def plot(curve: LRCurve) -> Figure:
    """Plot the loss against the learning rate and mark the suggestion."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.lrs, curve.losses, color="#c9cdd4", linewidth=1, label="each batch")
    axes.plot(curve.lrs, curve.smoothed, color="#d55e00", linewidth=1.6, label="smoothed")
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


def save_plot(curve: LRCurve, path: Path) -> None:
    """Write the plot of a curve to a .png or .svg file.

    Raises:
        UserError: the file name has another suffix.
    """
    check_plot_path(path)
    with mpl.rc_context({"svg.hashsalt": "residua"}):
        plot(curve).savefig(path)


def check_plot_path(path: Path) -> None:
    """Check that a plot can be written under this name.

    Raises:
        UserError: it ends in neither .png nor .svg, or its directory is missing.
    """
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"{path}: the name of a plot ends in .png or .svg")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}")
