"""Gradient norms by layer group, and the rules that warn of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint
from residua.runs.run import Run
from residua.training.gradients import (
    EXPLODING_NORM,
    VANISHING_NORM,
    VANISHING_RATIO,
    diagnose_gradients,
    gradient_norms,
)
from residua.training.loop import step, train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ({}, None),
        ({"stem": 1.0, "head": 2.0}, None),
        (
            {"stem": 0.99 * VANISHING_NORM, "head": VANISHING_NORM},
            "vanish in stem: their norm of 9.9e-08",
        ),
        ({"stem": VANISHING_NORM, "head": VANISHING_NORM}, None),
        ({"stem": 0.0, "head": 0.0}, "vanish in stem"),
        ({"stem": 1.0, "stage1": 1.01 * EXPLODING_NORM}, "explode in stage1"),
        ({"stem": 1.0, "stage1": EXPLODING_NORM}, None),
        (
            {"stem": 1.0, "head": 0.99 / VANISHING_RATIO},
            "vanish in head: their norm of 9.9e-05 is less",
        ),
        ({"stem": 1.0, "head": 1 / VANISHING_RATIO}, None),
        ({"stem": 0.5 * VANISHING_NORM, "head": 2 * EXPLODING_NORM}, "vanish in stem"),
    ],
)
def test_diagnosis_at_the_thresholds(norms: dict[str, float], message: str | None) -> None:
    diagnosis = diagnose_gradients(norms)
    if message is None:
        assert diagnosis is None
    else:
        assert diagnosis is not None
        assert message in diagnosis


def test_layer_groups_hold_all_trained_parameters(tiny: Tiny) -> None:
    _, state = build_training(tiny())
    groups = state.network.layer_groups()
    assert list(groups) == ["stem", "stage1", "stage2", "head"]
    assert sum(map(len, groups.values())) == len(list(state.network.parameters()))
    frozen = {"stem": {"kind": "whitening"}, "depths": [1], "widths": [4]}
    assert list(build_training(tiny(architecture=frozen))[1].network.layer_groups()) == [
        "stage1",
        "head",
    ]


def test_gradient_norms_equal_a_loop_over_parameters(tiny: Tiny) -> None:
    session, state = build_training(tiny())
    images, targets = session.make_batch(session.batch_random(torch.arange(8), state))
    torch.autograd.backward(session.recipe.loss(session.forward_amp(state, images), targets))
    for name, ours in zip(
        state.network.layer_groups(),
        gradient_norms(state.network.layer_groups()).tolist(),
        strict=True,
    ):
        module = {"stage1": "stages.0", "stage2": "stages.1"}.get(name, name)
        total = sum(
            float(weight.grad.square().sum())
            for weight in state.network.get_submodule(module).parameters()
            if weight.grad is not None
        )
        assert ours == pytest.approx(total**0.5, rel=1e-4)


def test_log_has_group_norms_and_last_loss(tiny: Tiny, tmp_path: Path) -> None:
    session, state = build_training(tiny(epochs=1))
    sums, squares, losses = [0.0] * 4, 0.0, []
    for _ in range(4):
        before = state.metrics.totals.clone()
        losses.append(float(step(session, state)))
        now = (state.metrics.totals - before)[5:].tolist()
        sums = [total + size for total, size in zip(sums, now, strict=True)]
        squares += sum(size**2 for size in now) ** 0.5
    list(train(tiny(epochs=1), tmp_path / "run"))
    record = Run.open(tmp_path / "run").log[0]
    assert list(record.grad_norms) == ["stem", "stage1", "stage2", "head"]
    assert list(record.grad_norms.values()) == pytest.approx([each / 4 for each in sums])
    assert record.grad_norm == pytest.approx(squares / 4, rel=1e-5)
    assert record.last_loss == pytest.approx(losses[-1])
    assert (record.steps, record.test_images) == (4, 100)
    assert record.gradient_warning is None


def test_norms_are_measured_before_clipping(tiny: Tiny) -> None:
    totals = []
    for max_grad_norm in (None, 1e-3):
        session, state = build_training(tiny(max_grad_norm=max_grad_norm))
        step(session, state)
        totals.append(state.metrics.totals.tolist())
    assert totals[0] == totals[1]
    assert min(totals[0][5:]) > 1e-3


def test_vanishing_gradients_are_reported_once_an_epoch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residua.training.gradients.VANISHING_NORM", 1e9)
    with pytest.warns(UserWarning, match="vanish") as caught:
        list(train(tiny(epochs=2), tmp_path / "run"))
    messages = [str(each.message) for each in caught if "vanish" in str(each.message)]
    assert [message.partition(":")[0] for message in messages] == ["epoch 1", "epoch 2"]
    log = Run.open(tmp_path / "run").log
    assert [f"epoch {r.epoch}: {r.gradient_warning}" for r in log] == messages


def test_checkpoint_inside_an_epoch_has_its_metrics(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "run", lambda progress: progress.step >= 2))
    checkpoint = Checkpoint.load(Run.open(tmp_path / "run").checkpoints[-1])
    assert checkpoint.tensors["metrics"].shape == (9,)
    assert (checkpoint.tensors["metrics"] > 0).all()
    assert checkpoint.metadata.step == 2
