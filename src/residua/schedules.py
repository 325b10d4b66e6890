"""Numbers that change while a network trains, each a pure function of the clock.

Wherever a recipe has a `Number` it takes a plain number or one of the schedules below: that is how
learning rates anneal, phases switch, dropout fades and images grow, with no code of their own. The
formulae are those of `torch.optim.lr_scheduler`, to which the tests hold them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from residua.config import Config


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands."""

    step: int
    """Optimiser steps taken so far."""
    steps: int
    """Optimiser steps of the whole training (of the phase, inside a phase)."""
    steps_per_epoch: int
    metrics: Sequence[float] = ()
    """The monitored accuracy after each finished epoch, oldest first."""
    lr_scale: float = 1.0
    """What optimisers multiply their learning rates with: less than 1 after a roll back."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.steps_per_epoch

    def elapsed(self, interval: Literal["step", "epoch"]) -> float:
        """Epochs elapsed, in whole epochs or step by step."""
        return float(self.epoch) if interval == "epoch" else self.step / self.steps_per_epoch

    def total(self) -> float:
        """Epochs of the whole training."""
        return self.steps / self.steps_per_epoch

    def phase_progress(self, start: float, end: float) -> "TrainingProgress":
        """The clock of a phase that runs from epoch `start` to epoch `end`."""
        first, last = (round(epoch * self.steps_per_epoch) for epoch in (start, end))
        return TrainingProgress(
            self.step - first,
            max(1, last - first),
            self.steps_per_epoch,
            self.metrics[math.ceil(start) :],
        )


class OneCycle(Config):
    """Up from `start` to `peak`, then down to `end` (Smith and Topin, arXiv:1708.07120).

    `torch.optim.lr_scheduler.OneCycleLR` with start = max_lr / div_factor and end = start /
    final_div_factor; a momentum that cycles against the rate is the same curve upside down.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    start: float
    peak: float
    end: float
    pct_start: float = Field(default=0.3, gt=0, lt=1)
    """The share of all steps spent going up."""
    anneal: Literal["cosine", "linear"] = "cosine"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        top = self.pct_start * progress.steps - 1
        last = progress.steps - 1
        if progress.step <= top:
            return self._between(self.start, self.peak, progress.step / top if top else 1.0)
        return self._between(self.peak, self.end, min(1.0, (progress.step - top) / (last - top)))

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.peak, self.end


class Cosine(Config):
    """Half a cosine from `start` to `end` (Loshchilov and Hutter, arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"
    start: float
    end: float = 0.0
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    interval: Literal["step", "epoch"] = "step"
    """Whether the value changes every step or once an epoch."""

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        share = progress.elapsed(self.interval) / (self.epochs or progress.total())
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class WarmRestarts(Config):
    """Cosines that start anew, each `t_mult` times as long as the last (arXiv:1608.03983)."""

    kind: Literal["warm_restarts"] = "warm_restarts"
    start: float
    end: float = 0.0
    t_0: float = Field(default=10.0, gt=0)
    """Epochs of the first cycle (T_0)."""
    t_mult: float = Field(default=1.0, ge=1)
    """What each cycle's length is multiplied with (T_mult)."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        elapsed = progress.elapsed(self.interval)
        if self.t_mult == 1:
            period, elapsed = self.t_0, math.fmod(elapsed, self.t_0)
        else:
            grown = elapsed / self.t_0 * (self.t_mult - 1) + 1
            cycle = math.floor(math.log(grown) / math.log(self.t_mult) + 1e-9)
            elapsed -= self.t_0 * (self.t_mult**cycle - 1) / (self.t_mult - 1)
            period = self.t_0 * self.t_mult**cycle
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * elapsed / period)) / 2

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class Linear(Config):
    """A straight line from `start` to `end`, then `end`: warm-up, or decay to zero."""

    kind: Literal["linear"] = "linear"
    start: float
    end: float
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        share = min(1.0, progress.elapsed(self.interval) / (self.epochs or progress.total()))
        return self.start + (self.end - self.start) * share

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class Exponential(Config):
    """From `start` to `end` by the same factor at every step, then `end`: what a rate finder needs.

    `torch.optim.lr_scheduler.ExponentialLR` where its gamma is the root of end / start.
    """

    kind: Literal["exponential"] = "exponential"
    start: float = Field(gt=0)
    end: float = Field(gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        share = min(1.0, progress.elapsed(self.interval) / (self.epochs or progress.total()))
        return self.start * math.pow(self.end / self.start, share)

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class MultiStep(Config):
    """`start`, multiplied with `gamma` at each milestone."""

    kind: Literal["multi_step"] = "multi_step"
    start: float
    milestones: tuple[float, ...]
    """In epochs."""
    gamma: float = Field(default=0.1, gt=0)

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        passed = sum(progress.elapsed("step") >= milestone for milestone in self.milestones)
        return self.start * self.gamma**passed

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.start * self.gamma ** len(self.milestones)


class Plateau(Config):
    """`start`, multiplied with `factor` when the monitored accuracy has stopped rising.

    `torch.optim.lr_scheduler.ReduceLROnPlateau` in its "max" mode, worked out anew from the history
    of accuracies, so that it has nothing to save and nothing to lose.
    """

    kind: Literal["plateau"] = "plateau"
    start: float
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=10, ge=0)
    """Epochs without improvement that are borne."""
    threshold: float = Field(default=1e-4, ge=0)
    """The relative improvement that counts as one."""
    cooldown: int = Field(default=0, ge=0)
    """Epochs after a reduction in which bad ones are not counted."""
    min_value: float = Field(default=0.0, ge=0)

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        value, best, bad, cooling = self.start, -math.inf, 0, 0
        for metric in progress.metrics:
            better = metric > best * (1 + self.threshold) if best > -math.inf else True
            best, bad = (metric, 0) if better else (best, bad + 1)
            if cooling:
                cooling, bad = cooling - 1, 0
            if bad > self.patience:
                value, bad, cooling = max(self.min_value, value * self.factor), 0, self.cooldown
        return value

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.min_value


class Phases(Config):
    """One number or schedule after another; each runs on a clock that starts with its phase."""

    kind: Literal["phases"] = "phases"
    boundaries: tuple[float, ...]
    """The epochs at which one phase gives way to the next, rising."""
    values: tuple["Scheduled", ...]
    """One for each phase: one more than `boundaries` has."""

    @model_validator(mode="after")
    def _fits(self) -> "Phases":
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError("phases need one number more than there are epochs in `boundaries`")
        if (
            list(self.boundaries) != sorted(set(self.boundaries))
            or min(self.boundaries, default=1) <= 0
        ):
            raise ValueError("the epochs in `boundaries` must be positive and rising")
        return self

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        elapsed = progress.elapsed("step")
        phase = sum(elapsed >= epoch for epoch in self.boundaries)
        start = self.boundaries[phase - 1] if phase else 0.0
        end = (
            self.boundaries[phase] if phase < len(self.boundaries) else max(progress.total(), start)
        )
        return value_at(self.values[phase], progress.phase_progress(start, end))

    def bounds(self) -> tuple[float, ...]:
        """The extremes."""
        return tuple(value for number in self.values for value in bounds(number))


Schedule = Annotated[
    OneCycle | Cosine | WarmRestarts | Linear | Exponential | MultiStep | Plateau | Phases,
    Field(discriminator="kind"),
]
Scheduled = float | Schedule
Phases.model_rebuild()


def value_at(number: Scheduled, progress: TrainingProgress) -> float:
    """What a number of a recipe is at this moment."""
    return number if isinstance(number, float | int) else number(progress)


def bounds(number: Scheduled) -> tuple[float, ...]:
    """Values that bound everything a number can become."""
    return (number,) if isinstance(number, float | int) else number.bounds()


def _within(low: float, high: float, words: str) -> AfterValidator:
    def check(number: Scheduled) -> Scheduled:
        if any(not low <= value <= high for value in bounds(number)):
            raise ValueError(f"must be {words}")
        return number

    return AfterValidator(check)


NonNegative = Annotated[Scheduled, _within(0, math.inf, "0 or more")]
Probability = Annotated[Scheduled, _within(0, 1, "between 0 and 1")]
Fraction = Annotated[Scheduled, _within(0, 0.999, "at least 0 and below 1")]
Level = Annotated[Scheduled, _within(0, 30, "between 0 and 30")]
