"""Trainings that fit into a budget of time."""

from collections.abc import Callable

import pytest

from residua import UserError, resolve
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from residua.recipes.stretching import stretched
from residua.schedules import TrainingProgress, value_at
from residua.training import time_budget
from residua.training.time_budget import fit_to_time
from residua.training.timing import MeasuredSpeed

Tiny = Callable[..., Recipe]


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 images a second in training and in evaluation, and no time for anything else."""
    measured = MeasuredSpeed("cpu", {32: (3, 100.0)}, 100.0, 1.0)
    monkeypatch.setattr(time_budget, "measure_speed", lambda *_: measured)
    monkeypatch.setattr(time_budget.time, "monotonic", lambda: 0.0)


@pytest.mark.usefixtures("speed")
def test_largest_number_of_epochs_that_fits(tiny: Tiny) -> None:
    """200 images of training and 100 of evaluation take 3 seconds; 5 seconds are reserved."""
    for seconds, epochs in ((8.0, 1), (13.9, 2), (14.0, 3), (99.0, 31), (105.6, 33)):
        plan = fit_to_time(tiny(), seconds)
        assert plan.recipe.epochs == epochs
        assert plan.estimate.total_seconds == pytest.approx(3 * epochs)


@pytest.mark.usefixtures("speed")
def test_too_small_budgets_are_refused_with_a_way_out(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"--minutes 0.125: one epoch takes about 0.1 minutes"):
        fit_to_time(tiny(), 7.5)
    with pytest.raises(UserError, match=r"at least --minutes 0.14.*--data.limit 166"):
        fit_to_time(tiny(), 7.5)


@pytest.mark.usefixtures("speed")
def test_plan_is_an_ordinary_recipe(tiny: Tiny) -> None:
    plan = fit_to_time(tiny(precision="auto"), 30.0)
    assert parse_recipe(plan.recipe.model_dump(mode="json")) == plan.recipe
    assert plan.recipe.epochs >= 1
    assert plan.recipe.precision in ("float32", "bfloat16")
    assert plan.estimate.total_seconds < 30


def test_sizes_that_were_not_measured_take_time_by_their_pixels() -> None:
    speed = MeasuredSpeed("cpu", {16: (3, 400.0), 32: (3, 90.0)}, 100.0, 1.0)
    assert speed.training_images_per_second(32) == 90.0
    assert speed.training_images_per_second(20) == pytest.approx(256)


@pytest.mark.parametrize("name", ["pocket", "wrn28_10", "resnet44", "resnet34"])
@pytest.mark.parametrize("factor", [0.5, 2])
def test_stretched_schedules_have_the_same_shape(name: str, factor: float) -> None:
    recipe = resolve(name)
    epochs = round(recipe.epochs * factor)
    longer, ratio = stretched(recipe, epochs), epochs / recipe.epochs
    assert longer.epochs == epochs
    steps = 720
    for field in ("optimizer.lr", "image_size"):
        value, other = (_get(each, field) for each in (recipe, longer))
        if value is None:
            continue
        for share in (0.0, 0.1, 0.3, 0.52, 0.77, 0.99):
            before = TrainingProgress(
                round(share * recipe.epochs * steps), recipe.epochs * steps, steps
            )
            after = TrainingProgress(round(share * epochs * steps), epochs * steps, steps)
            expected = value_at(value, before)
            assert value_at(other, after) == pytest.approx(expected, rel=0.02), (field, share)
    if name == "pocket":
        assert longer.evaluate_every == epochs
    if name == "wrn28_10":
        assert recipe.early_stopping is not None
        assert longer.early_stopping is not None
        assert longer.early_stopping.start_epoch == 60 * ratio


def test_stretching_to_the_same_length_changes_nothing() -> None:
    recipe = resolve("wrn28_10")
    assert stretched(recipe, 200) is recipe


def test_averages_start_at_their_share(tiny: Tiny) -> None:
    recipe = tiny(epochs=10, weight_average={"kind": "swa", "start_epoch": 8})
    for epochs, start in ((1, 1), (5, 4), (20, 16)):
        average = stretched(recipe, epochs).weight_average
        assert average is not None
        assert average.model_dump()["start_epoch"] == start


def test_whitening_bias_is_trained_for_its_share() -> None:
    recipe = resolve("pocket", ["--architecture.stem.bias-epochs", "3"])
    for epochs, expected in ((1, 1), (9, 3), (18, 6)):
        stem = stretched(recipe, epochs).architecture.stem
        assert stem.model_dump()["bias_epochs"] == expected


def _get(recipe: Recipe, path: str) -> object:
    value: object = recipe
    for name in path.split("."):
        value = getattr(value, name)
    return value
