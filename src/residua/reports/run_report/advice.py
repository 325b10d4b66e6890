"""What to try next: advice that follows from a run's figures by fixed rules."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from residua.augment import CutMix, Mixing
from residua.recipes.recipe import Recipe
from residua.reports.kit import document as doc

MAX_GAP = 15.0
SATURATED_ACCURACY = 99.0
SHORT_PLATEAU = 0.05
LONG_PLATEAU = 0.20
ANNEALED_LR = 0.10
MAX_LOSS_RISE = 1.10
MAX_JITTER = 2.0
MAX_NORM_PEAK = 10.0
MAX_DROPOUT = 0.5
MIN_EVALUATIONS = 10
"""Evaluated epochs below which the shape of a curve is not judged."""


@dataclass(frozen=True)
class AdviceInputs:
    """The figures that the rules look at."""

    epochs: int
    """Finished epochs."""
    evaluated: int
    """Evaluated epochs."""
    gap: float
    """Training minus test accuracy in the last evaluated epoch, in points."""
    train_accuracy: float
    """Of the last epoch, in percent."""
    plateau_share: float
    """The share of the epochs since which accuracy has not improved beyond the noise."""
    max_lr: float
    lr_share: float
    """The last epoch's learning rate as a share of the highest."""
    loss_rise: float
    """The last test loss as a multiple of the lowest."""
    eval_jitter: float
    """The standard deviation of single evaluations in the last third, in points."""
    grad_norm: float
    """The median over the epochs."""
    grad_norm_peak: float
    """The highest gradient norm of an epoch as a multiple of the median."""

    @property
    def has_curve(self) -> bool:
        """Whether enough epochs were evaluated to judge the shape of a curve."""
        return self.evaluated >= MIN_EVALUATIONS


class Advice:
    """One piece of advice.

    Args:
        title: what to do.
        reason: the rule, and the figure that triggered it.
        overrides: alternatives, as typed behind `residua train RECIPE`.
    """

    def __init__(self, title: str, reason: str, *overrides: str) -> None:
        self.title, self.reason, self.overrides = title, reason, overrides


def advise(recipe: Recipe, inputs: AdviceInputs) -> list[Advice]:
    """The advice of all rules that apply."""
    rules = (_fit_advice, _plateau_advice, _stability_advice)
    return [advice for rule in rules for advice in rule(recipe, inputs)]


def advice_blocks(advice: list[Advice], command: str) -> list[doc.Block]:
    """Advice with the commands to try."""
    if not advice:
        return ["No rule applies: the figures suggest no change."]
    blocks: list[doc.Block] = []
    for item in advice:
        blocks.append(doc.Text(doc.Strong(f"{item.title}."), f" {item.reason}"))
        blocks += [doc.Code(f"{command} {override}") for override in item.overrides]
    return blocks


def _fit_advice(recipe: Recipe, inputs: AdviceInputs) -> Iterator[Advice]:
    """Overfitting, memorised images, overconfidence."""
    fields = recipe.model_dump(mode="json")
    dropout, decay = fields["architecture"]["dropout"], fields["optimizer"].get("weight_decay")
    if inputs.gap > MAX_GAP:
        overrides = []
        if isinstance(dropout, int | float) and dropout < MAX_DROPOUT:
            overrides.append(f"--architecture.dropout {min(MAX_DROPOUT, dropout + 0.2):g}")
        if isinstance(decay, int | float) and decay > 0:
            overrides.append(f"--optimizer.weight_decay {2 * decay:g}")
        reason = f"The gap is above {MAX_GAP:g} points: {inputs.gap:.2f}."
        yield Advice("Regularise more", reason, *overrides)
    if inputs.train_accuracy >= SATURATED_ACCURACY and not mixes_images(recipe):
        augmentation = [*fields["augmentation"], CutMix(p=0.5).model_dump(mode="json")]
        reason = (
            f"Training accuracy is at least {SATURATED_ACCURACY:g} % without mixed images: "
            f"{inputs.train_accuracy:.2f} %. The network memorises the training set."
        )
        yield Advice("Augment more", reason, f"--augmentation {_quoted(augmentation)}")
    smoothed = recipe.loss.label_smoothing > 0
    if inputs.loss_rise > MAX_LOSS_RISE and inputs.has_curve and not smoothed:
        reason = (
            f"The last test loss is above {MAX_LOSS_RISE:g} times the lowest of at least "
            f"{MIN_EVALUATIONS} evaluated epochs, without label smoothing: {inputs.loss_rise:.2f} "
            "times. The network is overconfident."
        )
        yield Advice("Smooth the labels", reason, "--loss.label_smoothing 0.1")


def _plateau_advice(recipe: Recipe, inputs: AdviceInputs) -> Iterator[Advice]:
    """Accuracy that still improves at the end, or no longer."""
    if not inputs.has_curve:
        return
    plateau = f"{100 * inputs.plateau_share:.1f} %"
    if inputs.plateau_share < SHORT_PLATEAU and inputs.epochs >= recipe.epochs:
        reason = (
            f"Accuracy improved beyond the noise within the last {100 * SHORT_PLATEAU:g} % of at "
            f"least {MIN_EVALUATIONS} evaluated epochs: the plateau is {plateau}."
        )
        yield Advice("Train longer", reason, f"--epochs {math.ceil(1.5 * recipe.epochs)}")
    if inputs.plateau_share <= LONG_PLATEAU:
        return
    long_plateau = f"The plateau is above {100 * LONG_PLATEAU:g} % of the epochs"
    annealed = f"{100 * ANNEALED_LR:g} % of its highest value"
    values = f"they are {plateau} and {100 * inputs.lr_share:.0f} %."
    if inputs.lr_share > ANNEALED_LR:
        reason = f"{long_plateau} while the learning rate is above {annealed}: {values}"
        patience = max(2, round(0.05 * inputs.epochs))
        schedule = {"kind": "plateau", "start": inputs.max_lr, "patience": patience}
        override = f"--optimizer.lr {_quoted(schedule)}"
        yield Advice("Lower the learning rate on a plateau", reason, override)
    elif recipe.early_stopping is None:
        reason = (
            f"{long_plateau} with a learning rate of at most {annealed}, without early stopping: "
            f"{values}"
        )
        patience = max(3, round(0.1 * inputs.epochs))
        yield Advice("Stop earlier", reason, f"--early_stopping.patience {patience}")


def _stability_advice(recipe: Recipe, inputs: AdviceInputs) -> Iterator[Advice]:
    """Underfitting, noisy evaluations, peaks of the gradient norm."""
    if inputs.gap < 0:
        reason = f"Training accuracy is below test accuracy, by {-inputs.gap:.2f} points."
        dropout = recipe.architecture.dropout
        overrides = [f"--epochs {math.ceil(1.5 * recipe.epochs)}"]
        if isinstance(dropout, int | float) and dropout > 0:
            overrides.insert(0, f"--architecture.dropout {dropout / 2:g}")
        if mixes_images(recipe):
            title = "Nothing to change: mixed images count as correct for their own label only"
            yield Advice(title, reason)
        else:
            yield Advice("Regularise less, or train longer", reason, *overrides)
    if inputs.eval_jitter > MAX_JITTER and inputs.has_curve and recipe.weight_average is None:
        reason = (
            f"Single evaluations of the last third vary by more than {MAX_JITTER:g} points, "
            f"without averaged weights: by {inputs.eval_jitter:.2f}."
        )
        yield Advice("Average the weights", reason, "--weight-average.kind ema")
    if inputs.grad_norm_peak > MAX_NORM_PEAK and recipe.max_grad_norm is None:
        reason = (
            f"The gradient norm of an epoch is above {MAX_NORM_PEAK:g} times the median, without "
            f"clipping: {inputs.grad_norm_peak:.1f} times."
        )
        yield Advice("Clip the gradient", reason, f"--max_grad_norm {2 * inputs.grad_norm:.2g}")


def mixes_images(recipe: Recipe) -> bool:
    """Whether training images are mixed (MixUp, CutMix)."""
    return any(isinstance(operation, Mixing) for operation in recipe.augmentation)


def _quoted(value: Any) -> str:
    """A JSON value as one word of a command line."""
    return f"'{json.dumps(value)}'"
