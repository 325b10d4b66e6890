"""Trainings on two and three ranks: processes on this machine that exchange tensors by gloo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from equal_runs import assert_equal_runs
from feature_sets import EVERYTHING, SHARP, WAITING
from rank_processes import run_ranks
from torch import Tensor

from residua.distributed import World, current_world
from residua.errors import PeerError, UserError
from residua.inference.evaluation import Evaluation, never_stop
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training.events import Finished, RolledBack, Stopped
from residua.training.loop import fit, resume, step, train
from residua.training.session import build_training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Tiny = Callable[..., Recipe]
SIZES = pytest.mark.parametrize("size", [2, 3])
STEPS = 20
UNEVEN = {"data__train": 201, "batch_size": 100}
"""Batches of 100, 100 and 1: shares that differ by one image, and ranks without an image."""
EXACT = {
    "mixed": UNEVEN
    | {
        "architecture__norm": {"kind": "none"},
        "architecture__dropout": 0.2,
        "architecture__stochastic_depth": 0.3,
        "augmentation": [
            {"kind": "crop"},
            {"kind": "affine", "degrees": 10},
            {"kind": "cutmix"},
            {"kind": "mixup"},
        ],
        "max_grad_norm": 0.5,
        "weight_average": {"kind": "ema", "decay": 0.9},
    },
    "accumulated": UNEVEN
    | {
        "architecture__norm": {"kind": "group", "groups": 2},
        "augmentation": [{"kind": "flip"}, {"kind": "random_erasing", "fill": "noise"}],
        "gradient_accumulation": 3,
    },
}
"""Without batch norm."""
SYNC = {
    "sync": {
        "data__train": 201,
        "batch_size": 67,
        "architecture__norm": {"kind": "batch", "sync": True},
        "augmentation": [{"kind": "rand_augment"}, {"kind": "cutmix"}],
        "gradient_accumulation": 2,
        "optimizer__lr": 0.01,
    },
    "sync sharp": UNEVEN
    | {
        "architecture__norm": {"kind": "batch", "sync": True},
        "gradient_accumulation": 2,
        "sam": {"kind": "sam", "rho": 0.05},
    },
    "sync bfloat16": {
        "architecture__norm": {"kind": "batch", "sync": True, "scale": False},
        "precision": "bfloat16",
    },
}

TOLERANCES = {"sync": (1e-6, 5e-5), "sync sharp": (1e-5, 1e-3), "sync bfloat16": (1e-2, 1e-1)}
"""Of losses and of tensors; else 1e-6. Batch norm amplifies rounding: another memory format changes
the tensors of one process as much. So do a batch of one image, and SAM."""


def figures(evaluation: Evaluation) -> tuple[Any, ...]:
    return (
        *(evaluation.loss, evaluation.accuracy, evaluation.top5),
        *(evaluation.predicted.tolist(), evaluation.confidence.tolist()),
    )


def take_steps(recipes: dict[str, Recipe], folder: Path) -> None:
    """Take some steps of each recipe, and store losses, tensors and evaluations of this rank."""
    for name, recipe in recipes.items():
        session, state = build_training(recipe)
        with session.evaluated_weights(state, never_stop):
            before = figures(session.evaluate(state, session.splits.test))
        losses = torch.tensor([float(step(session, state)) for _ in range(STEPS)])
        tensors = {key: value.clone() for key, value in state._own_tensors().items()}
        path = folder / f"{name}-{session.world.size}-{session.world.rank}"
        torch.save((before, losses, tensors), path)


@SIZES
def test_ranks_change_only_rounding(tiny: Tiny, tmp_path: Path, size: int) -> None:
    recipes = {name: tiny(**changes) for name, changes in (EXACT | SYNC | {"local": {}}).items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    take_steps(recipes, tmp_path)
    torch.set_num_threads(threads)
    run_ranks(take_steps, size, recipes, tmp_path, store=tmp_path)
    for name in recipes:
        before, losses, tensors = torch.load(tmp_path / f"{name}-1-0")
        ranks = [torch.load(tmp_path / f"{name}-{size}-{rank}") for rank in range(size)]
        for rank in ranks:
            assert rank[0] == before, "an evaluation of the same weights is the same"
            assert all(torch.equal(rank[2][key], ranks[0][2][key]) for key in tensors)
        if name == "local":
            assert not torch.allclose(ranks[0][1], losses, rtol=1e-5)
            continue
        of_losses, of_tensors = TOLERANCES.get(name, (1e-6, 1e-6))
        torch.testing.assert_close(ranks[0][1], losses, rtol=of_losses, atol=0)
        for key, value in tensors.items():
            if key != "metrics":
                atol = of_tensors * max(1.0, float(value.double().abs().max()))
                torch.testing.assert_close(ranks[0][2][key], value, rtol=0, atol=atol)


def stop_once(number: int) -> Callable[[TrainingProgress], bool]:
    """True at the n-th call, on the last rank only."""
    calls, world = iter(range(1, 10_000)), current_world()
    return lambda _: next(calls) == number and world.rank == world.size - 1


def train_and_resume(recipes: dict[str, Recipe], folder: Path, stops: tuple[int, ...]) -> None:
    """Train each recipe twice: without a stop, and with stops that one rank asks for."""
    for name, recipe in recipes.items():
        whole = list(train(recipe, folder / name))
        assert isinstance(whole[-1], Finished)
        rollbacks = [event.step for event in whole if isinstance(event, RolledBack)]
        assert rollbacks == ([8, 8] if name == "diverging" else [])
        *_, end = train(recipe, folder / f"{name}-stopped", stop_once(stops[0]))
        assert isinstance(end, Stopped)
        for stop in stops[1:]:
            *_, end = resume(folder / f"{name}-stopped", stop_once(stop))
            assert isinstance(end, Stopped)
        *_, end = resume(folder / f"{name}-stopped")
        assert isinstance(end, Finished)


@SIZES
def test_resumption_on_ranks_is_exact(tiny: Tiny, tmp_path: Path, size: int) -> None:
    """Local batch norm, EMA, SWA, SAM, accumulation, clipping, roll backs and early stopping."""
    lr = {"kind": "phases", "boundaries": [2], "values": [0.1, 1e20]}
    rollback = {"kind": "roll_back", "factor": 1e-11, "max_rollbacks": 2}
    recipes = {
        "everything": tiny(**EVERYTHING),
        "sharp": tiny(**SHARP),
        "waiting": tiny(**WAITING | UNEVEN),
        "diverging": tiny(optimizer__lr=lr, on_divergence=rollback, epochs=4),
        "sync": tiny(architecture__norm={"kind": "batch", "sync": True}, **UNEVEN),
    }
    run_ranks(train_and_resume, size, recipes, tmp_path, (3, 6), store=tmp_path)
    for name in recipes:
        assert_equal_runs(tmp_path / name, tmp_path / f"{name}-stopped")
        assert Run.open(tmp_path / name).environment.ranks == size
    assert len(Run.open(tmp_path / "waiting").log) == 4


def resume_quietly(path: Path) -> None:
    """Resume a run; the writer warns of the change."""
    if current_world().is_writer:
        with pytest.warns(UserWarning, match="not bit for bit: the number of processes"):
            assert isinstance(list(resume(path))[-1], Finished)
    else:
        list(resume(path))


def test_another_number_of_ranks_keeps_the_batches_and_is_said(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"architecture__norm": {"kind": "none"}, "augmentation": [{"kind": "cutmix"}]}
    recipe = tiny(**changes)
    whole = fit(recipe, tmp_path / "whole")
    *_, end = train(recipe, tmp_path / "run", lambda progress: progress.step >= 6)
    assert isinstance(end, Stopped)
    run_ranks(resume_quietly, 2, tmp_path / "run", store=tmp_path)
    run = Run.open(tmp_path / "run")
    for ours, theirs in zip(run.log, whole.log, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-5)
        assert ours.test_loss == pytest.approx(theirs.test_loss, abs=1e-5)
    [change] = run.environment.changes
    assert change.startswith("from step 6: the number of processes")
    assert run.result.environment_changes == (change,)


def fail_on_rank_1(world: World) -> None:
    with world.same_outcome():
        if world.rank == 1:
            raise UserError("no data here")


def misuse(recipe: Recipe, folder: Path) -> None:
    """What goes wrong on one rank ends all of them, and one says why."""
    world = current_world()
    assert world.from_writer(lambda: "") == ""
    assert world.from_writer(lambda: "päth") == "päth"
    assert world.any(world.rank == world.size - 1)
    assert not world.any(False)
    expected = UserError if world.rank == 1 else PeerError
    with pytest.raises(expected):
        fail_on_rank_1(world)
    with pytest.raises(UserError, match="too small for 2 processes" if world.is_writer else ""):
        fit(recipe.replace(batch_size=1), folder / "small")
    fit(recipe, folder / "run")
    with pytest.raises(UserError) as refused:
        fit(recipe, folder / "run")
    assert isinstance(refused.value, PeerError) != world.is_writer
    session, state = build_training(recipe)
    network = state.network

    def small_memory(images: Tensor) -> Tensor:
        if world.rank == 1 and len(images) > 60:
            raise RuntimeError("out of memory")
        return network(images)

    with session.evaluated_weights(state, never_stop):
        evaluation = session.evaluate(state, session.splits.test)
        state.forward = small_memory
        halved = session.evaluate(state, session.splits.test)
    assert torch.equal(halved.predicted, evaluation.predicted)
    assert halved.loss == pytest.approx(evaluation.loss, rel=1e-6)


def test_errors_stops_and_full_memory_on_one_rank(tiny: Tiny, tmp_path: Path) -> None:
    run_ranks(misuse, 2, tiny(epochs=1, data__test=1100), tmp_path, store=tmp_path)
    assert not (tmp_path / "small").exists()


def test_shares_cover_each_position_once() -> None:
    for size in range(1, 6):
        for count in range(12):
            shares = [World(rank, size).share(count, 7) for rank in range(size)]
            positions = torch.cat([share.positions(torch.device("cpu")) for share in shares])
            assert positions.tolist() == list(range(7, 7 + count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
