"""Values that change during a training, as pure functions of its progress.

Wherever a recipe has a `Scheduled` value, it accepts a number or one of the schedules below. This
covers learning rates, momentum, dropout rates and image sizes. The formulas are those of
`torch.optim.lr_scheduler`; the tests compare with it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from residua.config import Config


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a training, or of one phase of it."""

    step: int
    """Optimizer steps taken so far."""
    total_steps: int
    """Optimizer steps of the whole training (of the phase, inside a phase)."""
    steps_per_epoch: int
    accuracies: Mapping[int, float] = field(default_factory=dict)
    """The accuracy on the selection split after each evaluated epoch, oldest first."""
    lr_scale: float = 1.0
    """The factor of all learning rates: below 1 after a roll-back."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.steps_per_epoch

    @property
    def total_epochs(self) -> float:
        """Epochs of the whole training (of the phase, inside a phase)."""
        return self.total_steps / self.steps_per_epoch

    def elapsed_epochs(self, interval: Literal["step", "epoch"]) -> float:
        """Elapsed epochs: whole epochs, or with the fraction of the current one."""
        return float(self.epoch) if interval == "epoch" else self.step / self.steps_per_epoch

    def elapsed_fraction(self, epochs: float | None, interval: Literal["step", "epoch"]) -> float:
        """Elapsed epochs as a fraction of `epochs`, or of `total_epochs` if it is None."""
        return self.elapsed_epochs(interval) / (epochs or self.total_epochs)

    def phase_progress(self, start: float, end: float) -> "TrainingProgress":
        """The progress of a phase that runs from epoch `start` to epoch `end`."""
        first, last = (round(epoch * self.steps_per_epoch) for epoch in (start, end))
        return TrainingProgress(
            self.step - first,
            max(1, last - first),
            self.steps_per_epoch,
            {
                epoch - math.ceil(start): accuracy
                for epoch, accuracy in self.accuracies.items()
                if epoch > start
            },
        )


class OneCycle(Config):
    """Rise from `start` to `peak`, then fall to `end` (Smith and Topin, arXiv:1708.07120).

    Equals `torch.optim.lr_scheduler.OneCycleLR` with start = max_lr / div_factor and end = start /
    final_div_factor. For a momentum that cycles inversely, set `peak` below `start`.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    start: float
    peak: float
    end: float
    pct_start: float = Field(default=0.3, gt=0, lt=1)
    """The fraction of all steps in which the value rises."""
    anneal: Literal["cosine", "linear"] = "cosine"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        peak = self.pct_start * progress.total_steps - 1
        last = progress.total_steps - 1
        if progress.step <= peak:
            return self._anneal(self.start, self.peak, progress.step / peak if peak else 1.0)
        return self._anneal(self.peak, self.end, min(1.0, (progress.step - peak) / (last - peak)))

    def _anneal(self, start: float, end: float, fraction: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * fraction
        return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.peak, self.end


class Cosine(Config):
    """Half a cosine from `start` to `end` (Loshchilov and Hutter, arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"
    start: float
    end: float = 0.0
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; by default the whole training or phase."""
    interval: Literal["step", "epoch"] = "step"
    """Whether the value changes at every step or once per epoch."""

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        fraction = min(1.0, progress.elapsed_fraction(self.epochs, self.interval))
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * fraction)) / 2

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.end


class WarmRestarts(Config):
    """Cosine with restarts; each cycle is `t_mult` times as long as the last (arXiv:1608.03983)."""

    kind: Literal["warm_restarts"] = "warm_restarts"
    start: float
    end: float = 0.0
    t_0: float = Field(default=10.0, gt=0)
    """Epochs of the first cycle (T_0)."""
    t_mult: float = Field(default=1.0, ge=1)
    """The factor of the length from one cycle to the next (T_mult)."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        elapsed = progress.elapsed_epochs(self.interval)
        if self.t_mult == 1:
            period, elapsed = self.t_0, math.fmod(elapsed, self.t_0)
        else:
            growth = elapsed / self.t_0 * (self.t_mult - 1) + 1
            cycle = math.floor(math.log(growth) / math.log(self.t_mult) + 1e-9)
            elapsed -= self.t_0 * (self.t_mult**cycle - 1) / (self.t_mult - 1)
            period = self.t_0 * self.t_mult**cycle
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * elapsed / period)) / 2

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.end


class Linear(Config):
    """A straight line from `start` to `end`, constant afterwards."""

    kind: Literal["linear"] = "linear"
    start: float
    end: float
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; by default the whole training or phase."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        fraction = min(1.0, progress.elapsed_fraction(self.epochs, self.interval))
        return self.start + (self.end - self.start) * fraction

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.end


class Exponential(Config):
    """From `start` to `end` by the same factor at every step, constant afterwards.

    Equals `torch.optim.lr_scheduler.ExponentialLR` with gamma = (end / start) ** (1 / steps).
    """

    kind: Literal["exponential"] = "exponential"
    start: float = Field(gt=0)
    end: float = Field(gt=0)
    epochs: float | None = Field(default=None, gt=0)
    """Epochs from start to end; by default the whole training or phase."""
    interval: Literal["step", "epoch"] = "step"

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        fraction = min(1.0, progress.elapsed_fraction(self.epochs, self.interval))
        return self.start * math.pow(self.end / self.start, fraction)

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.end


class MultiStep(Config):
    """`start`, multiplied by `gamma` at each milestone."""

    kind: Literal["multi_step"] = "multi_step"
    start: float
    milestones: tuple[float, ...]
    """Epochs."""
    gamma: float = Field(default=0.1, gt=0)

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        passed = sum(progress.elapsed_epochs("step") >= milestone for milestone in self.milestones)
        return self.start * self.gamma**passed

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.start * self.gamma ** len(self.milestones)


class Plateau(Config):
    """`start`, multiplied by `factor` when the monitored accuracy has stopped rising.

    Equals `torch.optim.lr_scheduler.ReduceLROnPlateau` in "max" mode, but is computed from the
    history of accuracies and therefore has no state to save.
    """

    kind: Literal["plateau"] = "plateau"
    start: float
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=10, ge=0)
    """Evaluations without improvement that do not reduce the value yet."""
    threshold: float = Field(default=1e-4, ge=0)
    """The smallest relative increase that counts as an improvement."""
    cooldown: int = Field(default=0, ge=0)
    """Evaluations after a reduction in which those without improvement are not counted."""
    min_value: float = Field(default=0.0, ge=0)

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        value, best, bad, cooldown = self.start, -math.inf, 0, 0
        for accuracy in progress.accuracies.values():
            better = accuracy > best * (1 + self.threshold) if best > -math.inf else True
            best, bad = (accuracy, 0) if better else (best, bad + 1)
            if cooldown:
                cooldown, bad = cooldown - 1, 0
            if bad > self.patience:
                value = max(self.min_value, value * self.factor)
                bad, cooldown = 0, self.cooldown
        return value

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return self.start, self.min_value


class Phases(Config):
    """A sequence of numbers or schedules, each with a progress that starts with its phase."""

    kind: Literal["phases"] = "phases"
    boundaries: tuple[float, ...]
    """The epochs at which the next phase starts, in increasing order."""
    values: tuple["Scheduled", ...]
    """One for each phase: one more than `boundaries`."""

    @model_validator(mode="after")
    def _check(self) -> "Phases":
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError("`values` must have one entry more than `boundaries`")
        if list(self.boundaries) != sorted({each for each in self.boundaries if each > 0}):
            raise ValueError("`boundaries` must be positive and increasing")
        return self

    def __call__(self, progress: TrainingProgress) -> float:
        """The value at this step."""
        elapsed = progress.elapsed_epochs("step")
        phase = sum(elapsed >= epoch for epoch in self.boundaries)
        start = (0.0, *self.boundaries)[phase]
        end = (*self.boundaries, max(progress.total_epochs, start))[phase]
        return value_at(self.values[phase], progress.phase_progress(start, end))

    def bounds(self) -> tuple[float, ...]:
        """Values that include the minimum and the maximum."""
        return tuple(bound for value in self.values for bound in bounds(value))


Schedule = Annotated[
    OneCycle | Cosine | WarmRestarts | Linear | Exponential | MultiStep | Plateau | Phases,
    Field(discriminator="kind"),
]
Scheduled = float | Schedule
Phases.model_rebuild()


def value_at(value: Scheduled, progress: TrainingProgress) -> float:
    """Evaluate a number or schedule of a recipe."""
    return value if isinstance(value, float | int) else value(progress)


def bounds(value: Scheduled) -> tuple[float, ...]:
    """Values that include the minimum and the maximum of a number or schedule."""
    return (value,) if isinstance(value, float | int) else value.bounds()


def _in_range(low: float, high: float, description: str) -> AfterValidator:
    def check(value: Scheduled) -> Scheduled:
        if any(not low <= bound <= high for bound in bounds(value)):
            raise ValueError(f"must be {description}")
        return value

    return AfterValidator(check)


NonNegative = Annotated[Scheduled, _in_range(0, math.inf, "0 or more")]
Probability = Annotated[Scheduled, _in_range(0, 1, "between 0 and 1")]
Fraction = Annotated[Scheduled, _in_range(0, math.nextafter(1, 0), "at least 0 and below 1")]
Magnitude = Annotated[Scheduled, _in_range(0, 30, "between 0 and 30")]
