"""The same recipe and seed give the same bits, and a switch says what has to hold on a GPU."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from equal_runs import assert_equal_runs
from processes import ENVIRONMENT, following, write_recipe
from test_training import EVERYTHING
from torch import Tensor

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.loop import resume, train
from residua.training.session import TrainingSession

Tiny = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_of_a_recipe_are_equal_in_two_processes(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with as many threads; without the switch."""
    monkeypatch.setitem(ENVIRONMENT, "OMP_NUM_THREADS", str(threads))
    # Threads that spin while they wait take ages where something else runs.
    monkeypatch.setitem(ENVIRONMENT, "OMP_WAIT_POLICY", "passive")
    recipe = write_recipe(tmp_path / "recipe.json", epochs=1)
    for run in ("one", "two"):
        assert following(tmp_path / run, recipe).end() == 0
    assert Run.open(tmp_path / "one").environment["threads"] == threads
    assert_equal_runs(tmp_path / "one", tmp_path / "two")


def test_another_seed_is_another_training(tiny: Tiny, tmp_path: Path) -> None:
    for seed in (0, 1):
        list(train(tiny(seed=seed, epochs=1), tmp_path / str(seed)))
    with pytest.raises(AssertionError):
        assert_equal_runs(tmp_path / "0", tmp_path / "1")


def test_the_switch_changes_nothing_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    for name, wanted in (("plain", False), ("strict", True)):
        list(train(tiny(**EVERYTHING, deterministic=wanted), tmp_path / name))
        assert torch.are_deterministic_algorithms_enabled() == wanted
        assert torch.backends.cudnn.benchmark != wanted, "its search goes by the clock"
        recipe = tmp_path / name / "recipe.json"
        recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"deterministic": False}))
    assert_equal_runs(tmp_path / "plain", tmp_path / "strict")


def test_the_switch_is_off_again_for_the_next_training(tiny: Tiny, tmp_path: Path) -> None:
    next(train(tiny(deterministic=True), tmp_path / "strict"))
    next(train(tiny(), tmp_path / "plain"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_cannot_be_deterministic_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TrainingSession.run

    def unruly(self: TrainingSession, images: Tensor) -> Tensor:
        places = torch.zeros(2, dtype=torch.int64)
        torch.zeros(2).put_(places, torch.tensor([1.0, 2.0]))
        return plain(self, images)

    monkeypatch.setattr(TrainingSession, "run", unruly)
    with pytest.raises(UserError, match="deterministic: put_ has no deterministic implementation"):
        list(train(tiny(deterministic=True), tmp_path / "run"))


def test_going_on_under_other_conditions_is_said(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 2))
    file = run / "environment.json"
    before = json.loads(file.read_text())
    others = before | {
        "device": "cpu, 96 threads",
        "packages": before["packages"] | {"torch": "1.0"},
    }
    file.write_text(json.dumps(others))
    with pytest.warns(
        UserWarning, match=r"not bit for bit: torch is 2.*was 1.0; device is .*was cpu, 96"
    ):
        next(resume(run))
