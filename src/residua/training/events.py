"""What a training reports while it runs, and the observers that are told.

The loop yields events and calls nobody: whoever iterates shows, stores or ignores them.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from residua.recipes.recipe import Recipe
from residua.runs.records import EpochRecord, Result
from residua.runs.run import Run
from residua.training.metrics import EpochMetrics


@dataclass(frozen=True)
class Started:
    """The training starts or continues."""

    run: Run
    recipe: Recipe
    device: str
    train_images: int
    """Images in the training set."""
    steps_per_epoch: int
    step: int
    """Steps taken already."""
    notes: tuple[str, ...] = ()
    """What was decided about the data, as sentences for the user."""


@dataclass(frozen=True)
class Extended:
    """The training was extended, and continues with the schedules of the longer one."""

    step: int
    """Steps taken so far."""
    epochs_before: int
    epochs: int
    lr_before: float
    """The learning rate of the last step, or of the next one before any."""
    lr: float
    """The learning rate of the next step."""


@dataclass(frozen=True)
class StepFinished:
    """An optimiser step was taken."""

    step: int
    metrics: EpochMetrics
    """Of the running epoch so far; reading a figure waits for the device."""


@dataclass(frozen=True)
class EpochFinished:
    """An epoch was finished and logged."""

    record: EpochRecord
    best: bool
    """Whether it is the best epoch so far."""


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint was written."""

    path: Path
    step: int
    best: bool
    """Whether it is also the checkpoint of the best epoch."""


@dataclass(frozen=True)
class RolledBack:
    """The training diverged, and continues from an earlier checkpoint with lower learning rates."""

    reason: str
    step: int
    """The step it continues from."""
    lr_scale: float
    """What learning rates are multiplied with from now on."""


@dataclass(frozen=True)
class Stopped:
    """The training was stopped on request, and saved."""

    step: int


@dataclass(frozen=True)
class Finished:
    """The training is complete."""

    result: Result


Event = (
    Extended
    | Started
    | StepFinished
    | EpochFinished
    | CheckpointSaved
    | RolledBack
    | Stopped
    | Finished
)
Observer = Callable[[Event], None]


def observe(events: Iterable[Event], *observers: Observer) -> Iterator[Event]:
    """Pass a training's events on, and tell each of them to the observers.

    An observer that raises an exception is reported once, by a warning, and told nothing more; the
    training continues.
    """
    active = list(observers)
    for event in events:
        for observer in tuple(active):
            try:
                observer(event)
            except Exception as error:
                active.remove(observer)
                name = getattr(observer, "__name__", type(observer).__name__)
                warnings.warn(
                    f"{name} failed and is switched off, the training continues: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
        yield event
