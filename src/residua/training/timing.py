"""Time some training steps, and estimate from them how long the whole training takes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import torch

from residua.devices import describe_device, error_advice, peak_memory
from residua.errors import UserError
from residua.inference.evaluation import EVAL_BATCH_SIZE, eval_mode
from residua.recipes.recipe import Recipe
from residua.schedules import TrainingProgress
from residua.training.loop import step
from residua.training.session import TrainingSession, build_training
from residua.training.state import TrainingState

BUDGET = 10.0
"""Seconds to measure, warm-up apart; shared out evenly over image sizes and evaluation."""
MAX_CALLS = 100
"""Steps to measure at most, for each image size."""
WARM_UP = 3
"""Steps before the measured ones, which compile, search for algorithms and allocate memory."""
MAX_SAMPLED_STEPS = 10_000
"""Image sizes of a longer training are looked up at this many evenly spaced steps."""


@dataclass(frozen=True)
class SizeTiming:
    """The training steps at one image size."""

    image_size: int
    """Height and width of the training images in pixels."""
    images: float
    """Images of the whole training that have this size."""
    measured_steps: int
    images_per_second: float

    @property
    def seconds(self) -> float:
        """Estimated time of all steps at this size."""
        return self.images / self.images_per_second


@dataclass(frozen=True)
class TrainingEstimate:
    """The estimated time of a training on this machine: its steps and its evaluations.

    It leaves out loading the data, saving checkpoints, writing reports, and re-estimating batch
    norm for averaged weights; and it does not know whether the training will stop early.
    """

    device: str
    sizes: tuple[SizeTiming, ...]
    """One for each image size of the training, smallest first."""
    evaluation_seconds: float
    """Estimated time of all evaluations of the selection split."""
    peak_memory_mib: float
    """Of the device; on a CPU, of this process."""

    @property
    def train_seconds(self) -> float:
        """Estimated time of all training steps."""
        return sum(size.seconds for size in self.sizes)

    @property
    def images_per_second(self) -> float:
        """Estimated mean over all training steps."""
        return sum(size.images for size in self.sizes) / self.train_seconds

    @property
    def total_seconds(self) -> float:
        """Estimated time of training steps and evaluations."""
        return self.train_seconds + self.evaluation_seconds


@dataclass(frozen=True)
class MeasuredSpeed:
    """How fast a device trains and evaluates a recipe's network on a recipe's images."""

    device: str
    training: dict[int, tuple[int, float]]
    """Of each image size: the steps measured, and images/s."""
    evaluation: float
    """Images/s."""
    peak_memory_mib: float

    def training_images_per_second(self, size: int) -> float:
        """At an image size; of one that was not measured by the pixels of the nearest."""
        nearest = min(self.training, key=lambda measured: abs(measured - size))
        return self.training[nearest][1] * (nearest / size) ** 2


def estimate_training(
    recipe: Recipe, budget: float = BUDGET, max_calls: int = MAX_CALLS
) -> TrainingEstimate:
    """Run some steps of a training on its own data and extrapolate; writes no run.

    Where the image size changes during the training, steps are measured at each size.

    Args:
        recipe: the training.
        budget: seconds to measure; a few steps are run even where they take longer.
        max_calls: steps to measure at most, for each image size.

    Raises:
        UserError: the data is missing, the recipe does not fit it, or memory does not suffice.
    """
    session, state = build_training(recipe)
    return extrapolate(session, measure_speed(session, state, budget, max_calls))


def measure_speed(
    session: TrainingSession,
    state: TrainingState,
    budget: float = BUDGET,
    max_calls: int = MAX_CALLS,
) -> MeasuredSpeed:
    """Run some steps and evaluations, which change the state.

    Raises:
        UserError: memory does not suffice.
    """
    steps_by_size = _steps_by_image_size(session)
    share = budget / (len(steps_by_size) + 1)
    training = {}
    try:
        for size, steps in sorted(steps_by_size.items()):
            count, seconds = _time_steps(session, state, steps, share, max_calls)
            training[size] = count, session.recipe.batch_size * count / seconds
        evaluation = _time_evaluations(session, state, share, max_calls)
    except RuntimeError as error:
        if advice := error_advice(error):
            raise UserError(advice) from error
        raise
    device = describe_device(session.device)
    return MeasuredSpeed(device, training, evaluation, peak_memory(session.device))


def extrapolate(session: TrainingSession, speed: MeasuredSpeed) -> TrainingEstimate:
    """The estimated time of a whole training at a measured speed."""
    recipe, steps_by_size = session.recipe, _steps_by_image_size(session)
    sampled_steps = sum(map(len, steps_by_size.values()))
    total_images = recipe.epochs * _images_per_epoch(session)
    sizes = tuple(
        SizeTiming(
            size,
            total_images * len(steps) / sampled_steps,
            speed.training[size][0] if size in speed.training else 0,
            speed.training_images_per_second(size),
        )
        for size, steps in sorted(steps_by_size.items())
    )
    evaluations = math.ceil(recipe.epochs / recipe.evaluate_every)
    seconds = evaluations * len(session.selection_split) / speed.evaluation
    return TrainingEstimate(speed.device, sizes, seconds, speed.peak_memory_mib)


def _images_per_epoch(session: TrainingSession) -> int:
    sampler = session.sampler
    return min(sampler.length, sampler.steps_per_epoch * sampler.batch_size)


def _steps_by_image_size(session: TrainingSession) -> dict[int, list[int]]:
    """Group the steps of a training, or an even sample of them, by the size of their images."""
    total, per_epoch = session.total_steps, session.sampler.steps_per_epoch
    original = session.splits.train.images.shape[-1]
    samples = min(total, MAX_SAMPLED_STEPS)
    groups: dict[int, list[int]] = {}
    for index in range(samples):
        step_index = index * total // samples
        size = session.image_size_at(TrainingProgress(step_index, total, per_epoch))
        groups.setdefault(size or original, []).append(step_index)
    return groups


def _time_steps(
    session: TrainingSession,
    state: TrainingState,
    steps: list[int],
    budget: float,
    max_calls: int,
) -> tuple[int, float]:
    """Run some of these steps, from their middle on; return how many, and their seconds."""
    full_batches = session.sampler.length // session.sampler.batch_size
    full = [each for each in steps if each % session.sampler.steps_per_epoch < full_batches]
    ordered = full or steps
    middle = len(ordered) // 2
    remaining = cycle(ordered[middle:] + ordered[:middle])

    def run_step() -> None:
        state.step = next(remaining)
        step(session, state)

    return _time_calls(run_step, session.device, budget, max_calls)


def _time_evaluations(
    session: TrainingSession, state: TrainingState, budget: float, max_calls: int
) -> float:
    """Evaluate some images of the selection split; return images/s."""
    selection = session.selection_split
    batch = selection.subset(torch.arange(min(len(selection), EVAL_BATCH_SIZE)))
    with eval_mode(state.network):
        count, seconds = _time_calls(
            lambda: session.evaluate(state, batch), session.device, budget, max_calls
        )
    return count * len(batch) / seconds


def _time_calls(
    call: Callable[[], object], device: torch.device, budget: float, max_calls: int
) -> tuple[int, float]:
    """Call repeatedly for about `budget` seconds after a warm-up.

    Returns:
        how many calls were measured, at least one and at most `max_calls`; and their seconds.
    """

    def timed(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            call()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - started

    spent = duration = 0.0
    for _ in range(WARM_UP):
        duration = timed(1)
        spent += duration
        if spent > budget:
            break
    count = max(1, min(max_calls, int(budget / duration)))
    return count, timed(count)
