"""The same recipe and seed give the same bits; on a GPU with `deterministic` only."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from equal_runs import assert_equal_runs
from feature_sets import EVERYTHING
from processes import ENVIRONMENT, start_training, write_recipe
from torch import Tensor

from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.model_file import load_model, save_model
from residua.runs.run import Run
from residua.training.loop import resume, train
from residua.training.session import TrainingSession
from residua.training.state import TrainingState

Tiny = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def reset_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_of_a_recipe_are_equal_in_two_processes(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit with the same number of threads, also without `deterministic`."""
    monkeypatch.setitem(ENVIRONMENT, "OMP_NUM_THREADS", str(threads))
    # Threads that spin while they wait are slow where other processes run.
    monkeypatch.setitem(ENVIRONMENT, "OMP_WAIT_POLICY", "passive")
    recipe = write_recipe(tmp_path / "recipe.json", epochs=1)
    for run in ("one", "two"):
        assert start_training(tmp_path / run, recipe).wait() == 0
    assert Run.open(tmp_path / "one").environment.threads == threads
    assert_equal_runs(tmp_path / "one", tmp_path / "two")


def test_another_seed_is_another_training(
    tiny: Tiny, complete_run: Callable[[Recipe], Path]
) -> None:
    with pytest.raises(AssertionError):
        assert_equal_runs(complete_run(tiny()), complete_run(tiny(seed=1)))


def test_deterministic_changes_nothing_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    for name, deterministic in (("plain", False), ("strict", True)):
        list(train(tiny(**EVERYTHING, deterministic=deterministic), tmp_path / name))
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic, "its choice depends on timings"
    strict = Run.open(tmp_path / "strict")
    for path in strict.path.glob("model*.safetensors"):
        which = "last" if "last" in path.name else "best"
        network, info = load_model(strict.path, which)
        info = info.replace(**{"recipe.deterministic": False})
        save_model(strict, network.network, info, which)
    assert_equal_runs(tmp_path / "plain", tmp_path / "strict")


def test_deterministic_is_off_again_for_the_next_training(tiny: Tiny, tmp_path: Path) -> None:
    next(train(tiny(deterministic=True), tmp_path / "strict"))
    next(train(tiny(), tmp_path / "plain"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_operation_that_cannot_be_deterministic_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingSession.forward_amp

    def forward_amp(self: TrainingSession, state: TrainingState, images: Tensor) -> Tensor:
        torch.zeros(2).put_(torch.zeros(2, dtype=torch.int64), torch.tensor([1.0, 2.0]))
        return original(self, state, images)

    monkeypatch.setattr(TrainingSession, "forward_amp", forward_amp)
    with pytest.raises(UserError, match="deterministic: put_ has no deterministic implementation"):
        list(train(tiny(deterministic=True), tmp_path / "run"))


def test_resumption_in_another_environment_is_a_warning(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 2))
    path = run / "environment.json"
    environment = json.loads(path.read_text())
    environment["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(environment | {"device": "cpu, 96 threads"}))
    with pytest.warns(
        UserWarning, match=r"not bit for bit: torch is 2.*was 1.0; device is .*was cpu, 96"
    ):
        next(resume(run))
