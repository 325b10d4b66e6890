"""Schedules, compared with torch.optim.lr_scheduler at every step of a training."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch.optim import lr_scheduler as reference

from residua.schedules import (
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Phases,
    Plateau,
    Probability,
    Scheduled,
    TrainingProgress,
    WarmRestarts,
    bounds,
    value_at,
)

EPOCHS, STEPS_PER_EPOCH = 12, 7
STEPS = EPOCHS * STEPS_PER_EPOCH
MakeScheduler = Callable[[torch.optim.Optimizer], reference.LRScheduler]


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def torch_values(make_scheduler: MakeScheduler, key: str, interval: str) -> list[float]:
    """The value of torch's scheduler at every step of a training."""
    sgd = optimizer()
    scheduler, values = make_scheduler(sgd), []
    for step in range(STEPS):
        values.append(sgd.param_groups[0][key])
        sgd.step()
        if interval == "step" or (step + 1) % STEPS_PER_EPOCH == 0:
            scheduler.step()
    return values


def our_values(schedule: Scheduled) -> list[float]:
    return [
        value_at(schedule, TrainingProgress(step, STEPS, STEPS_PER_EPOCH)) for step in range(STEPS)
    ]


CASES = [
    (
        OneCycle(start=0.1 / 25, peak=0.1, end=0.1 / 25 / 1e4),
        lambda o: reference.OneCycleLR(o, 0.1, total_steps=STEPS),
        "lr",
        "step",
    ),
    (
        OneCycle(start=0.95, peak=0.85, end=0.95),
        lambda o: reference.OneCycleLR(o, 0.1, total_steps=STEPS),
        "momentum",
        "step",
    ),
    (
        OneCycle(start=0.01, peak=0.1, end=0.001, pct_start=0.1, anneal="linear"),
        lambda o: reference.OneCycleLR(
            o,
            0.1,
            total_steps=STEPS,
            pct_start=0.1,
            div_factor=10,
            final_div_factor=10,
            anneal_strategy="linear",
        ),
        "lr",
        "step",
    ),
    (
        Cosine(start=0.1, end=0.003),
        lambda o: reference.CosineAnnealingLR(o, STEPS, 0.003),
        "lr",
        "step",
    ),
    (
        Cosine(start=0.1, interval="epoch"),
        lambda o: reference.CosineAnnealingLR(o, EPOCHS),
        "lr",
        "epoch",
    ),
    (
        WarmRestarts(start=0.1, end=0.001, t_0=3),
        lambda o: reference.CosineAnnealingWarmRestarts(o, 3 * STEPS_PER_EPOCH, eta_min=0.001),
        "lr",
        "step",
    ),
    (
        WarmRestarts(start=0.1, t_0=2, t_mult=2, interval="epoch"),
        lambda o: reference.CosineAnnealingWarmRestarts(o, 2, 2),
        "lr",
        "epoch",
    ),
    (
        MultiStep(start=0.1, milestones=(4, 9), gamma=0.2),
        lambda o: reference.MultiStepLR(o, [4, 9], 0.2),
        "lr",
        "epoch",
    ),
    (
        Exponential(start=0.1, end=0.1 * 0.95**STEPS),
        lambda o: reference.ExponentialLR(o, 0.95),
        "lr",
        "step",
    ),
    (
        Linear(start=0.01, end=0.1, epochs=5),
        lambda o: reference.LinearLR(o, 0.1, 1.0, 5 * STEPS_PER_EPOCH),
        "lr",
        "step",
    ),
    (
        Phases(boundaries=(2,), values=(Linear(start=0.01, end=0.1), Cosine(start=0.1))),
        lambda o: reference.SequentialLR(
            o,
            [
                reference.LinearLR(o, 0.1, 1.0, 2 * STEPS_PER_EPOCH),
                reference.CosineAnnealingLR(o, STEPS - 2 * STEPS_PER_EPOCH),
            ],
            [2 * STEPS_PER_EPOCH],
        ),
        "lr",
        "step",
    ),
]


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(("ours", "theirs", "key", "interval"), CASES)
def test_matches_torch_at_every_step(
    ours: Scheduled, theirs: MakeScheduler, key: str, interval: str
) -> None:
    assert our_values(ours) == pytest.approx(torch_values(theirs, key, interval), abs=1e-7)


@given(
    metrics=st.lists(st.floats(0, 100, width=16), max_size=40),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
)
def test_plateau_matches_torch(metrics: list[float], patience: int, cooldown: int) -> None:
    sgd = optimizer()
    theirs = reference.ReduceLROnPlateau(
        sgd, "max", 0.5, patience, cooldown=cooldown, min_lr=0.01, eps=0
    )
    for metric in metrics:
        theirs.step(metric)
    ours = Plateau(start=0.1, factor=0.5, patience=patience, cooldown=cooldown, min_value=0.01)
    accuracies = dict(enumerate(metrics, 1))
    value = value_at(ours, TrainingProgress(len(metrics), 100, 1, accuracies))
    assert value == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-9)


@given(step=st.integers(0, 99), steps_per_epoch=st.integers(1, 10))
def test_values_stay_within_bounds(step: int, steps_per_epoch: int) -> None:
    progress = TrainingProgress(step, 100, steps_per_epoch)
    for ours, *_ in CASES:
        low, high = min(bounds(ours)), max(bounds(ours))
        assert low - 1e-12 <= value_at(ours, progress) <= high + 1e-12


def test_phases_change_at_their_boundaries() -> None:
    schedule = Phases(boundaries=(3, 5), values=(0.3, 0.2, 0.1))
    values = our_values(schedule)
    assert values[3 * STEPS_PER_EPOCH - 1] == 0.3
    assert values[3 * STEPS_PER_EPOCH] == 0.2
    assert values[5 * STEPS_PER_EPOCH] == 0.1


def test_plateau_in_a_phase_uses_the_metrics_of_that_phase() -> None:
    schedule = Phases(boundaries=(3,), values=(1.0, Plateau(start=1.0, factor=0.5, patience=0)))
    accuracies = {1: 90.0, 2: 91.0, 3: 92.0, 4: 50.0, 5: 60.0}
    assert value_at(schedule, TrainingProgress(5, 10, 1, accuracies)) == 1.0
    assert value_at(schedule, TrainingProgress(6, 10, 1, accuracies | {6: 55.0})) == 0.5


def test_plateau_in_a_phase_counts_rare_evaluations() -> None:
    """Every fifth epoch is evaluated; the accuracies before the phase do not count."""
    schedule = Phases(boundaries=(60,), values=(1.0, Plateau(start=1.0, factor=0.5, patience=0)))
    accuracies = {epoch: 50.0 + min(epoch, 65) for epoch in range(5, 80, 5)}
    assert value_at(schedule, TrainingProgress(65, 100, 1, accuracies)) < 1.0
    before = {epoch: value for epoch, value in accuracies.items() if epoch <= 65}
    assert value_at(schedule, TrainingProgress(65, 100, 1, before)) == 1.0


def test_cosine_keeps_its_end_value() -> None:
    schedule = Cosine(start=0.1, end=0.01, epochs=5)
    values = [value_at(schedule, TrainingProgress(step, 10, 1)) for step in range(10)]
    assert values[5:] == [pytest.approx(0.01)] * 5


def test_values_out_of_range_are_rejected_inside_schedules() -> None:
    probability = TypeAdapter[Scheduled](Probability)
    assert probability.validate_python("1e-3") == 1e-3
    for invalid in (1.5, {"kind": "cosine", "start": 2}, {"kind": "linear", "start": 0, "end": -1}):
        with pytest.raises(ValidationError, match="between 0 and 1"):
            probability.validate_python(invalid)


def test_phases_with_invalid_boundaries_are_rejected() -> None:
    with pytest.raises(ValidationError, match="one entry more"):
        Phases(boundaries=(3,), values=(1.0,))
    with pytest.raises(ValidationError, match="positive and increasing"):
        Phases(boundaries=(3, 3), values=(1.0, 2.0, 3.0))
    with pytest.raises(ValidationError, match="positive and increasing"):
        Phases(boundaries=(0, 3), values=(1.0, 2.0, 3.0))


def test_one_cycle_with_few_steps_is_finite() -> None:
    for steps in range(1, 8):
        for step in range(steps):
            cycle = OneCycle(start=0.01, peak=0.1, end=0.001)
            assert math.isfinite(value_at(cycle, TrainingProgress(step, steps, 1)))
