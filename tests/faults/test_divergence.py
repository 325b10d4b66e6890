"""Losses that are no numbers, gradients that overflow, devices that are full, stops at any time."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from equal_runs import assert_equal_runs
from test_training import EVERYTHING, SHARP
from torch import Tensor, nn

from residua.devices import error_advice
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training.events import (
    EpochFinished,
    Finished,
    RolledBack,
    Started,
    StepFinished,
    Stopped,
)
from residua.training.loop import resume, step, train
from residua.training.session import TrainingSession, build_training
from residua.training.state import TrainingState, read

Tiny = Callable[..., Recipe]
LATE = {
    "optimizer__lr": {"kind": "phases", "boundaries": [2], "values": [0.1, 1e20]},
    "on_divergence": {"kind": "roll_back", "factor": 1e-11, "max_rollbacks": 2},
    "epochs": 4,
}
"""Diverges in epoch 3, with a rate of 1e20, and after one roll back, with 1e9; then 0.01."""


def nth_call(number: int) -> Callable[[TrainingProgress], bool]:
    """True at its n-th call, whatever the clock says: steps are taken twice after a roll back."""
    calls = iter(range(1, 10_000))
    return lambda _: next(calls) == number


def test_a_loss_that_is_not_finite_stops_the_training(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    rates = {"kind": "phases", "boundaries": [1], "values": [0.1, 1e20]}
    with pytest.raises(UserError, match=r"not finite in epoch 2: lower .* roll_back"):
        list(train(tiny(optimizer__lr=rates), run))
    assert [record.epoch for record in Run.open(run).log] == [1]
    assert Run.open(run).step == 4
    with pytest.raises(UserError, match="not finite in epoch 2"):
        list(resume(run))


def test_a_training_rolls_back_and_goes_on_with_a_lower_rate(tiny: Tiny, tmp_path: Path) -> None:
    events = list(train(tiny(**LATE), tmp_path / "run"))
    backs = [event for event in events if isinstance(event, RolledBack)]
    assert [(each.step, each.lr_scale) for each in backs] == [
        (8, 1e-11),
        (8, pytest.approx(1e-22)),
    ]
    assert "not finite in epoch 3" in backs[0].reason
    log = Run.open(tmp_path / "run").log
    assert [record.get("rollbacks", 0) for record in log] == [0, 0, 2, 2]
    assert [record.lr for record in log] == [0.1, 0.1, pytest.approx(0.01), pytest.approx(0.01)]
    assert isinstance(events[-1], Finished)
    assert events[-1].result["rollbacks"] == 2


def test_a_training_that_diverges_at_once_goes_back_to_its_first_weights(
    tiny: Tiny, tmp_path: Path
) -> None:
    wild = {"optimizer__lr": 2.0**70, "on_divergence": {"kind": "roll_back", "factor": 2.0**-73}}
    *_, end = train(tiny(**wild), tmp_path / "run")
    assert isinstance(end, Finished)
    list(train(tiny(optimizer__lr=0.125), tmp_path / "calm"))
    log, calm = (Run.open(tmp_path / name).log for name in ("run", "calm"))
    assert [each["train_loss"] for each in log] == [each["train_loss"] for each in calm]


@pytest.mark.parametrize("stops", [(5,), (10,), (13, 3), (17,), (2, 9, 4, 3)], ids=str)
@pytest.mark.parametrize("changes", [{}, {"save_every": 3, "evaluate_every": 4}], ids=["", "rare"])
def test_resumption_is_exact_through_roll_backs(
    tiny: Tiny, tmp_path: Path, stops: tuple[int, ...], changes: dict
) -> None:
    """Stopped before, within and after a divergence, the training goes the same way."""
    recipe = tiny(**LATE, **changes)
    list(train(recipe, tmp_path / "whole"))
    *_, end = train(recipe, tmp_path / "parts", nth_call(stops[0]))
    assert isinstance(end, Stopped)
    for stop in stops[1:]:
        *_, end = resume(tmp_path / "parts", nth_call(stop))
        assert isinstance(end, Stopped)
    *_, end = resume(tmp_path / "parts")
    assert isinstance(end, Finished)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_a_training_rolls_back_no_more_often_than_its_recipe_says(
    tiny: Tiny, tmp_path: Path
) -> None:
    stubborn = LATE | {"on_divergence": {"kind": "roll_back", "factor": 0.9, "max_rollbacks": 2}}
    with pytest.raises(UserError, match="not finite in epoch 3, after going back 2 times"):
        list(train(tiny(**stubborn), tmp_path / "run"))
    assert len(Run.open(tmp_path / "run").log) == 2


def test_a_damaged_checkpoint_is_not_rolled_back_to(tiny: Tiny, tmp_path: Path) -> None:
    run, seen = tmp_path / "run", []
    with pytest.warns(UserWarning, match=r"step-00000008.* is damaged.*before it is"):  # noqa: PT031
        for event in train(tiny(**LATE), run):
            if isinstance(event, StepFinished) and event.step == 9 and not seen:
                (run / "checkpoints/step-00000008.safetensors").write_bytes(b"")
            if isinstance(event, RolledBack):
                seen.append(event.step)
    assert seen == [4, 8]


def test_a_divergence_is_found_within_a_long_epoch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "WATCHED", 3)
    steps = []
    with pytest.raises(UserError, match="not finite in epoch 1"):  # noqa: PT012
        for event in train(tiny(optimizer__lr=1e20, batch_size=20), tmp_path / "run"):
            if isinstance(event, StepFinished):
                steps.append(event.step)
    assert steps[-1] in (2, 5)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda state: next(state.network.parameters()).fill_(float("inf")), "a weight is not"),
        (lambda state: state.tally[3].fill_(float("inf")), "the gradient is not"),
        (lambda state: state.tally[0].fill_(float("nan")), "the loss is not"),
    ],
)
def test_what_is_not_finite_at_an_epochs_end_is_never_saved(
    what: Callable[[TrainingState], object],
    said: str,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken(session: TrainingSession, state: TrainingState) -> Tensor:
        loss = step(session, state)
        with torch.no_grad():
            if state.step == 8:
                what(state)
        return loss

    monkeypatch.setattr(training, "step", taken)
    with pytest.raises(UserError, match=f"{said} finite .*epoch 2"):
        list(train(tiny(evaluate_every=3), tmp_path / "run"))
    assert Run.open(tmp_path / "run").step == 4


def test_an_evaluation_whose_loss_is_not_finite_is_a_divergence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TrainingSession.evaluate

    def nowhere(self: TrainingSession, *words: object) -> object:
        return replace(plain(self, *words), loss=float("nan"))

    monkeypatch.setattr(TrainingSession, "evaluate", nowhere)
    with pytest.raises(UserError, match="the loss on the test set is not finite in epoch 1"):
        list(train(tiny(), tmp_path / "run"))


@contextmanager
def scaled(by: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: plain(device, by, enabled=enabled)
    )
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_gradients_that_overflow_in_float16_are_left_out_and_no_divergence(
    kind: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(precision="float16", optimizer={"kind": kind}, max_grad_norm=1.0)
    with scaled(2.0**127, monkeypatch):
        session, state = build_training(recipe)
        before = {name: value.clone() for name, value in state.network.named_parameters()}
        step(session, state)
        assert state.skipped_steps == 1, "this scale overflows"
        for name, value in state.network.named_parameters():
            assert torch.equal(value, before[name]), name
        assert not state.optimizer.state, "no momentum of a step that was not taken"
    with scaled(2.0**19, monkeypatch):
        *_, end = train(recipe, tmp_path / "run")
    assert isinstance(end, Finished)
    log = Run.open(tmp_path / "run").log
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    _, rest = read(Run.open(tmp_path / "run").checkpoints[-1])
    assert json.loads(rest)["scaler"]["scale"] < 2.0**19, "something overflowed on the way"


def test_an_epoch_that_overflows_whole_is_warned_of(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        scaled(2.0**127, monkeypatch),
        pytest.warns(UserWarning, match="epoch 1: every step overflowed in float16"),
    ):
        list(train(tiny(precision="float16", epochs=1), tmp_path / "run"))
    assert "overflowed" in Run.open(tmp_path / "run").log[0]["gradient_warning"]


def test_steps_left_out_do_not_count_in_the_mean_gradient(tiny: Tiny, tmp_path: Path) -> None:
    _, state = build_training(tiny(precision="float16"))
    one = torch.tensor(1.0)
    state.count(one, one, 10, torch.tensor([3.0, 4.0, 0.0, 0.0]))
    state.count(one, one, 10, torch.tensor([float("inf"), 4.0, 0.0, 0.0]))
    state.count(one, one, 10, torch.tensor([float("nan"), 4.0, 0.0, 0.0]))
    assert state.tally.tolist() == [30, 3, 30, 5, 1, 3, 4, 0, 0]
    assert state.skipped_steps == 2


def test_float16_that_overflows_at_any_scale_is_a_divergence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        scaled(2.0**-15, monkeypatch),
        pytest.raises(UserError, match="gradient is not finite in epoch 1, however it is scaled"),
    ):
        list(train(tiny(precision="float16"), tmp_path / "run"))


def test_a_full_device_names_what_helps(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(TrainingSession, "run", full)
    with pytest.raises(
        UserError, match="step 1: the device is out of memory: `--gradient-accumulation 2`"
    ):
        list(train(tiny(), tmp_path / "run"))
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60)
    assert "out of memory" in str(error_advice(real.value))
    assert error_advice(RuntimeError("shapes do not match")) is None


def without_statistics(network: nn.Module) -> None:
    """Batch normalisation by its running statistics: the one layer that sees its batch."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize("parts", [2, 5, 64])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts: int, tiny: Tiny) -> None:
    """But for batch normalisation, which sees each part alone; and 64 = 13 + 13 + 13 + 13 + 12."""
    outcomes = []
    for gradient_accumulation in (1, parts):
        recipe = tiny(
            gradient_accumulation=gradient_accumulation,
            loss__label_smoothing=0.1,
            max_grad_norm=1.0,
        )
        session, state = build_training(recipe)
        without_statistics(state.network)
        losses = [float(step(session, state)) for _ in range(5)]
        outcomes.append((losses, state.tally, list(state.network.parameters())))
    (losses, tally, weights), (theirs, other, others) = outcomes
    assert losses == pytest.approx(theirs, rel=1e-5)
    torch.testing.assert_close(tally, other, rtol=1e-4, atol=1e-4)
    for one, two in zip(weights, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-5)


def test_accumulation_takes_parts_through_the_network(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, plain = [], TrainingSession.run

    def noted(self: TrainingSession, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(TrainingSession, "run", noted)
    session, state = build_training(tiny(gradient_accumulation=5))
    step(session, state)
    assert sizes == [13, 13, 13, 13, 12]


@pytest.mark.parametrize("changes", [{}, EVERYTHING, SHARP], ids=["plain", "everything", "sharp"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_stop_breaks_off_an_evaluation_and_resumption_is_exact(
    epoch: int, changes: dict, tiny: Tiny, tmp_path: Path
) -> None:
    """Also that of the end, when the holdout has chosen and the test set is opened."""
    recipe = tiny(**changes)
    list(train(recipe, tmp_path / "whole"))
    asked, taken = [], []
    per_epoch = 0
    for event in train(recipe, tmp_path / "parts", lambda _: bool(asked)):
        if isinstance(event, Started):
            per_epoch = event.session.sampler.steps_per_epoch
        if isinstance(event, StepFinished) and event.step == epoch * per_epoch:
            asked.append("in the evaluation that follows")
        taken.append(event)
    assert taken[-1] == Stopped(epoch * per_epoch)
    assert sum(isinstance(event, EpochFinished) for event in taken) == epoch - 1
    *_, end = resume(tmp_path / "parts")
    assert isinstance(end, Finished)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_a_stop_breaks_off_the_last_evaluations(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(data__holdout=40, epochs=2)
    list(train(recipe, tmp_path / "whole"))
    asked = []
    for event in train(recipe, tmp_path / "parts", lambda _: bool(asked)):
        if isinstance(event, EpochFinished) and event.record.epoch == 2:
            asked.append("while the test set is evaluated")
    assert event == Stopped(6)
    assert Run.open(tmp_path / "parts").result is None
    list(resume(tmp_path / "parts"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_an_end_after_an_epoch_comes_with_its_evaluation(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "run", lambda progress: progress.epoch >= 2))
    assert "test_accuracy" in Run.open(tmp_path / "run").log[1]


def test_steps_left_out_are_remembered(tiny: Tiny, tmp_path: Path) -> None:
    _, state = build_training(tiny(precision="float16"))
    state.skipped_steps = 3
    state.save(tmp_path / "x")
    state.skipped_steps = 0
    state.load(tmp_path / "x")
    assert state.skipped_steps == 3
