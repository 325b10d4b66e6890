"""Observers are told every event, and cannot end a training."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from residua import fit
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.events import (
    CheckpointSaved,
    EpochFinished,
    Event,
    Finished,
    Started,
    StepFinished,
    observe,
)
from residua.training.loop import train

Tiny = Callable[..., Recipe]


def test_observers_are_told_every_event(tiny: Tiny, tmp_path: Path) -> None:
    seen: list[Event] = []
    events = list(observe(train(tiny(epochs=1), tmp_path / "run"), seen.append))
    assert seen == events
    assert isinstance(seen[0], Started)
    assert isinstance(seen[-1], Finished)


@pytest.mark.parametrize("error", [RuntimeError("broken"), OSError(28, "no space"), KeyError("x")])
def test_failing_observer_is_reported_once_and_the_training_continues(
    tiny: Tiny, tmp_path: Path, error: Exception
) -> None:
    calls = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise error

    others: list[Event] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        events = observe(train(tiny(epochs=2), tmp_path / "run"), broken, others.append)
        *_, last = events
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1
    assert "broken failed and is switched off, the training continues" in messages[0]
    assert type(error).__name__ in messages[0]
    assert len(calls) == 1
    assert isinstance(last, Finished)
    assert others[-1] is last


def test_observer_cannot_swallow_an_interrupt(tiny: Tiny, tmp_path: Path) -> None:
    def interrupted(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(observe(train(tiny(), tmp_path / "run"), interrupted))


def test_events_carry_what_observers_show(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    for event in train(tiny(epochs=1, save_every=5), tmp_path / "run"):
        match event:
            case Started():
                assert (event.recipe.name, event.device) == ("tiny", "cpu")
                assert (event.train_images, event.steps_per_epoch, event.step) == (200, 4, 0)
            case StepFinished(step, metrics):
                assert 0 <= metrics.accuracy <= 100
                assert metrics.loss > 0
                assert metrics.last_loss > 0
                loss, last_loss = metrics.loss, metrics.last_loss
                assert step <= 4
            case EpochFinished(record):
                assert record.train_loss == pytest.approx(loss)
                assert record.last_loss == pytest.approx(last_loss)
            case CheckpointSaved(path, step, best):
                assert (path, step, best) == (run.epoch_checkpoints[-1], 4, True)
                assert path.is_file()


def test_fit_trains_to_the_end_and_returns_the_run(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(epochs=1), tmp_path / "run")
    assert run.result is not None
    assert run.result.epochs == 1
    stopped = fit(tiny(), tmp_path / "stopped", lambda progress: progress.step >= 2)
    assert stopped.result is None
