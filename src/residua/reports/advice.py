"""What to try next: recommendations that follow from a run's figures by stated rules."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from residua.augment import CutMix, Mixing
from residua.recipes.recipe import Recipe

GAP = 15.0
SATURATED = 99.0
RISING = 0.05
FLAT = 0.20
ANNEALED = 0.10
LOSS_RISE = 1.10
SWING = 2.0
NORM_PEAK = 10.0
ENOUGH = 10
"""Evaluated epochs below which the course of a curve is not judged."""


@dataclass(frozen=True)
class Figures:
    """What the rules look at."""

    epochs: int
    """Finished epochs."""
    evaluated: int
    """Evaluated epochs."""
    gap: float
    """Training minus test accuracy in the last evaluated epoch, in points."""
    train_accuracy: float
    """Of the last epoch, in percent."""
    plateau_share: float
    """The share of the epochs since which nothing was won beyond the noise."""
    highest_rate: float
    """Of learning, over the epochs so far."""
    rate_share: float
    """The last epoch's rate as a share of the highest one."""
    loss_rise: float
    """The last test loss as a multiple of the lowest one."""
    swing: float
    """How far single evaluations of the last third stray, in points."""
    norm: float
    """The median over the epochs of the gradient's norm."""
    norm_peak: float
    """The highest epoch's gradient norm as a multiple of the median."""


@dataclass(frozen=True)
class Advice:
    """One recommendation."""

    title: str
    rule: str
    """The rule that led to it, with the figure that triggered it."""
    overrides: tuple[str, ...]
    """Each one a way to try, as typed behind `residua train RECIPE`; empty where none is needed."""


Rule = Callable[[Recipe, Figures], Advice | None]


def advise(recipe: Recipe, figures: Figures) -> list[Advice]:
    """What follows from the figures, by every rule that applies."""
    found = (rule(recipe, figures) for rule in RULES)
    return [advice for advice in found if advice is not None]


def overfitting(recipe: Recipe, figures: Figures) -> Advice | None:
    """Gap above GAP points: more dropout, more weight decay."""
    if figures.gap <= GAP:
        return None
    rule = f"Gap above {GAP:g} points: it is {figures.gap:.2f}."
    tree, ways = recipe.model_dump(mode="json"), []
    dropout, decay = tree["architecture"]["dropout"], tree["optimizer"].get("weight_decay")
    if isinstance(dropout, int | float) and dropout < 0.5:
        ways.append(f"--architecture.dropout {min(0.5, dropout + 0.2):g}")
    if isinstance(decay, int | float) and decay > 0:
        ways.append(f"--optimizer.weight_decay {2 * decay:g}")
    return Advice("Regularise more", rule, tuple(ways))


def memorising(recipe: Recipe, figures: Figures) -> Advice | None:
    """Training accuracy from SATURATED % on, and images are not mixed: mix them."""
    if figures.train_accuracy < SATURATED or _mixes(recipe):
        return None
    rule = (
        f"Training accuracy of at least {SATURATED:g} % without mixed images: it is "
        f"{figures.train_accuracy:.2f} %, the training set is known by heart."
    )
    more = [*recipe.model_dump(mode="json")["augmentation"], CutMix(p=0.5).model_dump(mode="json")]
    return Advice("Augment more", rule, (f"--augmentation {_quoted(more)}",))


def overconfident(recipe: Recipe, figures: Figures) -> Advice | None:
    """The last test loss above LOSS_RISE times the lowest, without smoothing: smooth."""
    few = figures.evaluated < ENOUGH
    if figures.loss_rise <= LOSS_RISE or few or recipe.loss.label_smoothing > 0:
        return None
    rule = (
        f"Last test loss above {LOSS_RISE:g} times the lowest one of at least {ENOUGH} evaluated "
        f"epochs, targets not smoothed: it is {figures.loss_rise:.2f} times; the network is surer "
        "than it is right."
    )
    return Advice("Smooth the targets", rule, ("--loss.label_smoothing 0.1",))


def rising(recipe: Recipe, figures: Figures) -> Advice | None:
    """Improvement beyond the noise within the last RISING of all planned epochs: train longer."""
    unfinished = figures.epochs < recipe.epochs
    if figures.plateau_share >= RISING or figures.evaluated < ENOUGH or unfinished:
        return None
    rule = (
        f"Improvement beyond the noise within the last {100 * RISING:g} % of at least {ENOUGH} "
        f"evaluated epochs: the plateau is {100 * figures.plateau_share:.1f} %."
    )
    return Advice("Train longer", rule, (f"--epochs {math.ceil(1.5 * recipe.epochs)}",))


def stuck(_: Recipe, figures: Figures) -> Advice | None:
    """A plateau above FLAT of the epochs while the rate is still high: decay on a plateau."""
    flat = figures.plateau_share > FLAT and figures.evaluated >= ENOUGH
    if not flat or figures.rate_share <= ANNEALED:
        return None
    rule = (
        f"Plateau above {100 * FLAT:g} % of the epochs with a rate above {100 * ANNEALED:g} % of "
        f"its highest: they are {100 * figures.plateau_share:.1f} % and "
        f"{100 * figures.rate_share:.0f} %."
    )
    patience = max(2, round(0.05 * figures.epochs))
    schedule = {"kind": "plateau", "start": figures.highest_rate, "patience": patience}
    return Advice("Lower the rate on a plateau", rule, (f"--optimizer.lr {_quoted(schedule)}",))


def idle(recipe: Recipe, figures: Figures) -> Advice | None:
    """A plateau above FLAT of the epochs though the rate has annealed: stop earlier."""
    flat = figures.plateau_share > FLAT and figures.evaluated >= ENOUGH
    if not flat or figures.rate_share > ANNEALED or recipe.early_stopping is not None:
        return None
    rule = (
        f"Plateau above {100 * FLAT:g} % of the epochs with a rate of at most "
        f"{100 * ANNEALED:g} % of its highest, no early stopping: they are "
        f"{100 * figures.plateau_share:.1f} % and {100 * figures.rate_share:.0f} %."
    )
    patience = max(3, round(0.1 * figures.epochs))
    return Advice("Stop earlier", rule, (f"--early_stopping.patience {patience}",))


def held_back(recipe: Recipe, figures: Figures) -> Advice | None:
    """Training accuracy below test accuracy: expected where images are mixed, else ease off."""
    if figures.gap >= 0:
        return None
    rule = f"Training accuracy below test accuracy: by {-figures.gap:.2f} points."
    if _mixes(recipe):
        title = "Nothing to change: mixed images count as right for their own label only"
        return Advice(title, rule, ())
    dropout = recipe.architecture.dropout
    ways = [f"--epochs {math.ceil(1.5 * recipe.epochs)}"]
    if isinstance(dropout, int | float) and dropout > 0:
        ways.insert(0, f"--architecture.dropout {dropout / 2:g}")
    return Advice("Regularise less, or train longer", rule, tuple(ways))


def restless(recipe: Recipe, figures: Figures) -> Advice | None:
    """Evaluations of the last third that stray by more than SWING points: average the weights."""
    if figures.swing <= SWING or figures.evaluated < ENOUGH or recipe.weight_average is not None:
        return None
    rule = (
        f"Single evaluations of the last third stray by more than {SWING:g} points, weights not "
        f"averaged: by {figures.swing:.2f}."
    )
    return Advice("Average the weights", rule, ("--weight-average.kind ema",))


def bursting(recipe: Recipe, figures: Figures) -> Advice | None:
    """An epoch's gradient norm above NORM_PEAK times the median, without clipping: clip."""
    if figures.norm_peak <= NORM_PEAK or recipe.max_grad_norm is not None:
        return None
    rule = (
        f"An epoch's gradient norm above {NORM_PEAK:g} times the median, no clipping: it is "
        f"{figures.norm_peak:.1f} times."
    )
    return Advice("Clip the gradient", rule, (f"--max_grad_norm {2 * figures.norm:.2g}",))


RULES: tuple[Rule, ...] = (
    overfitting, memorising, overconfident, rising, stuck, idle, held_back, restless, bursting,
)  # fmt: skip
"""In the order in which recommendations are shown."""


def _mixes(recipe: Recipe) -> bool:
    return any(isinstance(each, Mixing) for each in recipe.augmentation)


def _quoted(tree: Any) -> str:
    """A tree as one word of a command line."""
    return f"'{json.dumps(tree)}'"
