"""Extending a training by `residua resume RUN --epochs N`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs

from residua import UserError, fit, load
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Extension, Recipe
from residua.reports import write_report
from residua.runs.run import Run
from residua.training.events import Extended, Finished, StepFinished, Stopped
from residua.training.loop import resume, train

Tiny = Callable[..., Recipe]


def test_finished_run_is_extended(tiny: Tiny, tmp_path: Path) -> None:
    """Its log goes on, with the rates of the longer schedule."""
    recipe = tiny(epochs=2, data__holdout=40)
    run = fit(recipe, tmp_path / "run")
    before = run.log
    first, *_, end = resume(run.path, epochs=4)
    assert isinstance(first, Extended)
    assert (first.step, first.epochs_before, first.epochs) == (6, 2, 4)
    # 0.05 is the middle of a cosine from 0.1; the first one's last step is close to its end.
    assert (first.lr_before, first.lr) == (pytest.approx(0.0067, abs=1e-4), pytest.approx(0.05))
    assert isinstance(end, Finished)
    assert (end.result.epochs, end.result.epochs_planned) == (4, 4)
    assert run.log[:2] == before
    assert [record.epoch for record in run.log] == [1, 2, 3, 4]
    assert run.recipe.extensions == (Extension(step=6, epochs=2),)
    assert load(run, "last").info.epoch == 4
    text = (write_report(run).parent / "report.md").read_text()
    assert "planned for 2 epochs, and extended after step 6" in text


@pytest.mark.parametrize("evaluate_every", [1, 2])
def test_recipe_of_an_extended_run_gives_the_same_training(
    tiny: Tiny, tmp_path: Path, evaluate_every: int
) -> None:
    recipe = tiny(epochs=1, evaluate_every=evaluate_every, weight_average={"kind": "ema"})
    run = fit(recipe, tmp_path / "run")
    list(resume(run.path, epochs=2))
    list(resume(run.path, epochs=3))
    again = fit(run.recipe, tmp_path / "again")
    assert_equal_runs(again.path, run.path)


def test_stopped_run_is_extended_and_its_resumption_is_exact(tiny: Tiny, tmp_path: Path) -> None:
    """Stopped inside an epoch, extended, killed before the next checkpoint, and resumed."""
    recipe, run = tiny(epochs=2), tmp_path / "run"
    list(train(recipe, run, lambda progress: progress.step >= 5))
    for event in resume(run, epochs=3):
        if isinstance(event, StepFinished) and event.step == 7:
            break
    *_, end = resume(run, lambda progress: progress.step >= 10)
    assert end == Stopped(10)
    list(resume(run))
    again = fit(Run.open(run).recipe, tmp_path / "again")
    assert_equal_runs(again.path, run)
    assert again.recipe.extensions == (Extension(step=5, epochs=2),)


def test_interrupted_extension_can_be_repeated(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without its result and with the old recipe, as a kill may leave it."""
    run = fit(tiny(epochs=2), tmp_path / "run")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_recipe", killed)
        with pytest.raises(KeyboardInterrupt):
            list(resume(run.path, epochs=3))
    assert run.result is None
    assert run.recipe.epochs == 2
    *_, end = resume(run.path)
    assert isinstance(end, Finished)
    *_, end = resume(run.path, epochs=3)
    assert isinstance(end, Finished)
    assert end.result.epochs == 3


def test_what_cannot_be_extended(tiny: Tiny, tmp_path: Path) -> None:
    stopping = {"patience": 1, "min_delta": 50.0}
    run = fit(tiny(epochs=5, early_stopping=stopping), tmp_path / "run")
    result = run.result
    for epochs, message in ((5, "planned for 5 epochs already"), (9, "early stopping ended")):
        with pytest.raises(UserError, match=message):
            list(resume(run.path, epochs=epochs))
    assert run.result == result
    assert run.recipe.epochs == 5


def test_changed_epochs_are_refused_and_the_command_is_named(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(epochs=2), tmp_path / "run", lambda progress: progress.step >= 2)
    run.write_recipe(run.recipe.replace(epochs=3))
    with pytest.raises(UserError, match="resume RUN --epochs N"):
        list(resume(run.path))


@pytest.mark.parametrize(
    "extensions",
    [
        [{"step": 4, "epochs": 9}],
        [{"step": 4, "epochs": 3}, {"step": 2, "epochs": 4}],
        [{"step": 4, "epochs": 3}, {"step": 6, "epochs": 3}],
    ],
)
def test_extensions_are_in_order(extensions: list[dict[str, int]]) -> None:
    with pytest.raises(UserError, match="extensions need increasing steps"):
        parse_recipe({"epochs": 9, "extensions": extensions})
