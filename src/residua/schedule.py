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

from residua.value import Value


@dataclass(frozen=True)
class Clock:
    """Where a training stands."""

    step: int
    """Optimiser steps taken so far."""
    steps: int
    """Optimiser steps of the whole training (of the phase, inside a phase)."""
    steps_per_epoch: int
    metrics: Sequence[float] = ()
    """The monitored accuracy after each finished epoch, oldest first."""
    slowed: float = 1.0
    """What optimisers multiply their learning rates with: less than 1 after a roll back."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.steps_per_epoch

    def elapsed(self, per: Literal["step", "epoch"]) -> float:
        """Epochs elapsed, in whole epochs or step by step."""
        return float(self.epoch) if per == "epoch" else self.step / self.steps_per_epoch

    def total(self) -> float:
        """Epochs of the whole training."""
        return self.steps / self.steps_per_epoch

    def within(self, start: float, end: float) -> "Clock":
        """The clock of a phase that runs from epoch `start` to epoch `end`."""
        first, last = (round(epoch * self.steps_per_epoch) for epoch in (start, end))
        return Clock(
            self.step - first,
            max(1, last - first),
            self.steps_per_epoch,
            self.metrics[math.ceil(start) :],
        )


class OneCycle(Value):
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

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        top = self.pct_start * clock.steps - 1
        last = clock.steps - 1
        if clock.step <= top:
            return self._between(self.start, self.peak, clock.step / top if top else 1.0)
        return self._between(self.peak, self.end, min(1.0, (clock.step - top) / (last - top)))

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.peak, self.end


class Cosine(Value):
    """Half a cosine from `start` to `end` (Loshchilov and Hutter, arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"
    start: float
    end: float = 0.0
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    per: Literal["step", "epoch"] = "step"
    """Whether the value changes every step or once an epoch."""

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        share = clock.elapsed(self.per) / (self.epochs or clock.total())
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class WarmRestarts(Value):
    """Cosines that start anew, each `growth` times as long as the last (arXiv:1608.03983)."""

    kind: Literal["warm_restarts"] = "warm_restarts"
    start: float
    end: float = 0.0
    period: float = Field(default=10.0, gt=0)
    """Epochs of the first cycle (T_0)."""
    growth: float = Field(default=1.0, ge=1)
    """What each cycle's length is multiplied with (T_mult)."""
    per: Literal["step", "epoch"] = "step"

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        elapsed = clock.elapsed(self.per)
        if self.growth == 1:
            period, elapsed = self.period, math.fmod(elapsed, self.period)
        else:
            grown = elapsed / self.period * (self.growth - 1) + 1
            cycle = math.floor(math.log(grown) / math.log(self.growth) + 1e-9)
            elapsed -= self.period * (self.growth**cycle - 1) / (self.growth - 1)
            period = self.period * self.growth**cycle
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * elapsed / period)) / 2

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class Linear(Value):
    """A straight line from `start` to `end`, then `end`: warm-up, or decay to zero."""

    kind: Literal["linear"] = "linear"
    start: float
    end: float
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    per: Literal["step", "epoch"] = "step"

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        share = min(1.0, clock.elapsed(self.per) / (self.epochs or clock.total()))
        return self.start + (self.end - self.start) * share

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class Exponential(Value):
    """From `start` to `end` by the same factor at every step, then `end`: what a rate finder needs.

    `torch.optim.lr_scheduler.ExponentialLR` where its gamma is the root of end / start.
    """

    kind: Literal["exponential"] = "exponential"
    start: float = Field(gt=0)
    end: float = Field(gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; the whole training (or phase) when left out."""
    per: Literal["step", "epoch"] = "step"

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        share = min(1.0, clock.elapsed(self.per) / (self.epochs or clock.total()))
        return self.start * math.pow(self.end / self.start, share)

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.end


class Steps(Value):
    """`start`, multiplied with `factor` at each milestone."""

    kind: Literal["steps"] = "steps"
    start: float
    milestones: tuple[float, ...]
    """In epochs."""
    factor: float = Field(default=0.1, gt=0)

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        passed = sum(clock.elapsed("step") >= milestone for milestone in self.milestones)
        return self.start * self.factor**passed

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.start * self.factor ** len(self.milestones)


class Plateau(Value):
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
    minimum: float = Field(default=0.0, ge=0)

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        value, best, bad, cooling = self.start, -math.inf, 0, 0
        for metric in clock.metrics:
            better = metric > best * (1 + self.threshold) if best > -math.inf else True
            best, bad = (metric, 0) if better else (best, bad + 1)
            if cooling:
                cooling, bad = cooling - 1, 0
            if bad > self.patience:
                value, bad, cooling = max(self.minimum, value * self.factor), 0, self.cooldown
        return value

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return self.start, self.minimum


class Phases(Value):
    """One number or schedule after another; each runs on a clock that starts with its phase."""

    kind: Literal["phases"] = "phases"
    until: tuple[float, ...]
    """The epochs at which one phase gives way to the next, rising."""
    numbers: tuple["Number", ...]
    """One for each phase: one more than `until` has."""

    @model_validator(mode="after")
    def _fits(self) -> "Phases":
        if len(self.numbers) != len(self.until) + 1:
            raise ValueError("phases need one number more than there are epochs in `until`")
        if list(self.until) != sorted(set(self.until)) or min(self.until, default=1) <= 0:
            raise ValueError("the epochs in `until` must be positive and rising")
        return self

    def __call__(self, clock: Clock) -> float:
        """The value at this step."""
        elapsed = clock.elapsed("step")
        phase = sum(elapsed >= epoch for epoch in self.until)
        start = self.until[phase - 1] if phase else 0.0
        end = self.until[phase] if phase < len(self.until) else max(clock.total(), start)
        return at(self.numbers[phase], clock.within(start, end))

    def values(self) -> tuple[float, ...]:
        """The extremes."""
        return tuple(value for number in self.numbers for value in extremes(number))


Schedule = Annotated[
    OneCycle | Cosine | WarmRestarts | Linear | Exponential | Steps | Plateau | Phases,
    Field(discriminator="kind"),
]
Number = float | Schedule
Phases.model_rebuild()


def at(number: Number, clock: Clock) -> float:
    """What a number of a recipe is at this moment."""
    return number if isinstance(number, float | int) else number(clock)


def extremes(number: Number) -> tuple[float, ...]:
    """Values that bound everything a number can become."""
    return (number,) if isinstance(number, float | int) else number.values()


def _within(low: float, high: float, words: str) -> AfterValidator:
    def check(number: Number) -> Number:
        if any(not low <= value <= high for value in extremes(number)):
            raise ValueError(f"must be {words}")
        return number

    return AfterValidator(check)


NonNegative = Annotated[Number, _within(0, math.inf, "0 or more")]
Probability = Annotated[Number, _within(0, 1, "between 0 and 1")]
Fraction = Annotated[Number, _within(0, 0.999, "at least 0 and below 1")]
Level = Annotated[Number, _within(0, 30, "between 0 and 30")]
