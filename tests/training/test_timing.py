"""The estimate of a training's time: what is measured, and how it is extrapolated."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from residua import UserError
from residua.cli import main
from residua.recipes.recipe import Recipe
from residua.training import timing
from residua.training.timing import SizeTiming, TrainingEstimate, estimate_training

Tiny = Callable[..., Recipe]


def test_estimate_extrapolates_measured_steps_and_evaluations(tiny: Tiny) -> None:
    estimate = estimate_training(tiny(epochs=7), budget=0.2, max_calls=5)
    (size,) = estimate.sizes
    assert size.image_size == 32
    assert size.images == 7 * 200
    assert 1 <= size.measured_steps <= 5
    assert estimate.train_seconds == pytest.approx(7 * 200 / size.images_per_second)
    assert estimate.images_per_second == pytest.approx(size.images_per_second)
    assert estimate.evaluation_seconds > 0
    assert estimate.total_seconds == estimate.train_seconds + estimate.evaluation_seconds
    assert estimate.peak_memory_mib > 1
    assert estimate.device.startswith("cpu")


def test_dropped_last_batch_is_not_counted(tiny: Tiny) -> None:
    estimate = estimate_training(tiny(drop_last=True), budget=0.1, max_calls=1)
    assert estimate.sizes[0].images == 3 * 192


def test_each_image_size_is_measured(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    step = timing.step

    def recorded(session: timing.TrainingSession, state: timing.TrainingState) -> torch.Tensor:
        sizes.append(session.image_size_at(session.progress(state)))
        return step(session, state)

    monkeypatch.setattr(timing, "step", recorded)
    growing = {"kind": "phases", "boundaries": [1, 3], "values": [16, 24, 32]}
    estimate = estimate_training(tiny(epochs=4, image_size=growing), budget=0.2, max_calls=3)
    assert [size.image_size for size in estimate.sizes] == [16, 24, 32]
    assert [size.images for size in estimate.sizes] == [200, 400, 200]
    for size in estimate.sizes:
        assert timing.WARM_UP + 3 >= sizes.count(size.image_size) > size.measured_steps >= 1


def test_long_trainings_are_sampled(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_SAMPLED_STEPS", 100)
    growing = {"kind": "phases", "boundaries": [250_000], "values": [16, 32]}
    recipe = tiny(epochs=1_000_000, image_size=growing)
    estimate = estimate_training(recipe, budget=0.1, max_calls=1)
    assert [size.images for size in estimate.sizes] == [0.25 * 200e6, 0.75 * 200e6]


def test_evaluations_are_counted(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves one second a call, every evaluation batch takes a second."""

    def time_calls(call: Callable[[], object], *_: object) -> tuple[int, float]:
        call()
        return 1, 1.0

    monkeypatch.setattr(timing, "_time_calls", time_calls)
    monkeypatch.setattr(timing, "EVAL_BATCH_SIZE", 40)
    seconds = {}
    for holdout, every in ((0, 1), (0, 2), (50, 1)):
        recipe = tiny(epochs=3, data__holdout=holdout, evaluate_every=every)
        seconds[holdout, every] = estimate_training(recipe).evaluation_seconds
    # There are 100 test images; with a holdout, only its images are evaluated.
    images = {key: 40 * value for key, value in seconds.items()}
    assert images == {(0, 1): 300, (0, 2): 200, (50, 1): 3 * 50}


def test_warm_up_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    durations = iter([100.0, *[2.0] * 50])

    def call() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    cpu = torch.device("cpu")
    assert timing._time_calls(call, cpu, budget=1000.0, max_calls=4) == (4, 8.0)
    assert timing._time_calls(call, cpu, budget=11.0, max_calls=100) == (5, 10.0)
    assert timing._time_calls(call, cpu, budget=1.0, max_calls=100) == (1, 2.0)


def test_means_are_weighted_by_images() -> None:
    sizes = (SizeTiming(16, 1000, 3, 100.0), SizeTiming(32, 3000, 3, 50.0))
    estimate = TrainingEstimate("cpu", sizes, 5.0, 1.0)
    assert estimate.train_seconds == 10 + 60
    assert math.isclose(estimate.images_per_second, 4000 / 70)
    assert estimate.total_seconds == 75


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    from residua.recipes.loading import resolve

    with pytest.raises(UserError, match="residua data get cifar100"):
        estimate_training(resolve("resnet44", ["--data.root", str(tmp_path)]))


def test_command_prints_an_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = (SizeTiming(16, 1000, 3, 100.0), SizeTiming(32, 3000, 4, 50.0))
    monkeypatch.setattr(
        timing, "estimate_training", lambda _: TrainingEstimate("cpu, 2 threads", sizes, 5.0, 321)
    )
    main(["summary", "quickstart", "--time"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "images/s 57" in lines
    assert "peak memory 321 MiB" in lines
    assert "16 x 16 1,000 3 100 10.0 s" in lines
    assert "32 x 32 3,000 4 50 1 min 00 s" in lines
    assert "training 1 min 10 s (estimate)" in lines
    assert "evaluation 5.0 s (estimate)" in lines
    assert "whole training 1 min 15 s (estimate)" in lines
