"""Losses that are not finite, overflowing gradients, full devices, and stops at any time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from equal_runs import assert_equal_runs
from feature_sets import EVERYTHING, SHARP
from torch import Tensor, nn

from residua.devices import error_advice
from residua.errors import UserError
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint
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
from residua.training.loop import fit, resume, step, train
from residua.training.metrics import EpochTotals
from residua.training.session import TrainingSession, build_training
from residua.training.state import TrainingState

Tiny = Callable[..., Recipe]
Complete = Callable[[Recipe], Path]
DIVERGING = {
    "optimizer__lr": {"kind": "phases", "boundaries": [2], "values": [0.1, 1e20]},
    "on_divergence": {"kind": "roll_back", "factor": 1e-11, "max_rollbacks": 2},
    "epochs": 4,
}
"""Diverges in epoch 3 at a learning rate of 1e20, and of 1e9 after a rollback; not at 0.01."""


def nth_call(number: int) -> Callable[[TrainingProgress], bool]:
    """True at its n-th call, whatever the step is: steps are taken twice after a rollback."""
    calls = iter(range(1, 10_000))
    return lambda _: next(calls) == number


def test_loss_that_is_not_finite_stops_the_training(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lr = {"kind": "phases", "boundaries": [1], "values": [0.1, 1e20]}
    with pytest.raises(UserError, match=r"not finite in epoch 2: lower .* roll_back"):
        list(train(tiny(optimizer__lr=lr), run))
    assert [record.epoch for record in Run.open(run).log] == [1]
    assert Run.open(run).checkpoints[-1].name == "step-00000004.safetensors"
    with pytest.raises(UserError, match="not finite in epoch 2"):
        list(resume(run))


def test_training_rolls_back_and_continues_with_a_lower_learning_rate(
    tiny: Tiny, tmp_path: Path
) -> None:
    events = list(train(tiny(**DIVERGING), tmp_path / "run"))
    rollbacks = [event for event in events if isinstance(event, RolledBack)]
    assert [(event.step, event.lr_scale) for event in rollbacks] == [
        (8, 1e-11),
        (8, pytest.approx(1e-22)),
    ]
    assert "not finite in epoch 3" in rollbacks[0].reason
    log = Run.open(tmp_path / "run").log
    assert [record.rollbacks for record in log] == [0, 0, 2, 2]
    assert [record.lr for record in log] == [0.1, 0.1, pytest.approx(0.01), pytest.approx(0.01)]
    assert isinstance(events[-1], Finished)
    assert events[-1].result.rollbacks == 2


def test_training_that_diverges_at_once_rolls_back_to_its_initial_weights(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    on_divergence = {"kind": "roll_back", "factor": 2.0**-73}
    run = fit(tiny(optimizer__lr=2.0**70, on_divergence=on_divergence), tmp_path / "run")
    expected = Run.open(complete_run(tiny(optimizer__lr=0.125)))
    losses = [[record.train_loss for record in each.log] for each in (run, expected)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("stops", [(5,), (10,), (13, 3), (17,), (2, 9, 4, 3)], ids=str)
@pytest.mark.parametrize("changes", [{}, {"save_every": 3, "evaluate_every": 4}], ids=["", "rare"])
def test_resumption_is_exact_through_rollbacks(
    tiny: Tiny, complete_run: Complete, tmp_path: Path, stops: tuple[int, ...], changes: dict
) -> None:
    """Stopped before, within and after a divergence, the training takes the same course."""
    recipe, run = tiny(**DIVERGING, **changes), tmp_path / "run"
    *_, end = train(recipe, run, nth_call(stops[0]))
    assert isinstance(end, Stopped)
    for stop in stops[1:]:
        *_, end = resume(run, nth_call(stop))
        assert isinstance(end, Stopped)
    *_, end = resume(run)
    assert isinstance(end, Finished)
    assert_equal_runs(complete_run(recipe), run)


def test_training_rolls_back_no_more_often_than_its_recipe_allows(
    tiny: Tiny, tmp_path: Path
) -> None:
    on_divergence = {"kind": "roll_back", "factor": 0.9, "max_rollbacks": 2}
    with pytest.raises(UserError, match="not finite in epoch 3, after 2 rollbacks"):
        list(train(tiny(**DIVERGING | {"on_divergence": on_divergence}), tmp_path / "run"))
    assert len(Run.open(tmp_path / "run").log) == 2


def test_damaged_checkpoint_is_skipped_by_a_rollback(tiny: Tiny, tmp_path: Path) -> None:
    run, steps = tmp_path / "run", []
    with pytest.warns(UserWarning, match=r"step-00000008.* is damaged.*using the"):  # noqa: PT031
        for event in train(tiny(**DIVERGING), run):
            if isinstance(event, StepFinished) and event.step == 9 and not steps:
                (run / "checkpoints/step-00000008.safetensors").write_bytes(b"")
            if isinstance(event, RolledBack):
                steps.append(event.step)
    assert steps == [4, 8]


def test_divergence_is_noticed_within_a_long_epoch(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residua.training.loop.FINITE_CHECK_EVERY", 3)
    steps = []
    with pytest.raises(UserError, match="not finite in epoch 1"):  # noqa: PT012
        for event in train(tiny(optimizer__lr=1e20, batch_size=20), tmp_path / "run"):
            if isinstance(event, StepFinished):
                steps.append(event.step)
    assert steps[-1] in (2, 5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: next(state.network.parameters()).fill_(float("inf")), "a weight is not"),
        (lambda state: state.metrics.totals[3].fill_(float("inf")), "the gradient is not"),
        (lambda state: state.metrics.totals[0].fill_(float("nan")), "the loss is not"),
    ],
)
def test_state_that_is_not_finite_at_the_end_of_an_epoch_is_never_saved(
    spoil: Callable[[TrainingState], object],
    message: str,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoiling_step(session: TrainingSession, state: TrainingState) -> Tensor:
        loss = step(session, state)
        with torch.no_grad():
            if state.step == 8:
                spoil(state)
        return loss

    monkeypatch.setattr("residua.training.loop.step", spoiling_step)
    with pytest.raises(UserError, match=f"{message} finite .*epoch 2"):
        list(train(tiny(evaluate_every=3), tmp_path / "run"))
    assert Run.open(tmp_path / "run").checkpoints[-1].name == "step-00000004.safetensors"


def test_evaluation_whose_loss_is_not_finite_is_a_divergence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingSession.evaluate

    def evaluate(self: TrainingSession, *arguments: object) -> object:
        return replace(original(self, *arguments), loss=float("nan"))

    monkeypatch.setattr(TrainingSession, "evaluate", evaluate)
    with pytest.raises(UserError, match="the loss on the test set is not finite in epoch 1"):
        list(train(tiny(), tmp_path / "run"))
    assert not list((tmp_path / "run").glob("model*")), "nor is its network saved"


@contextmanager
def initial_loss_scale(scale: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    original = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: original(device, scale, enabled=enabled)
    )
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("kind", ["sgd", "muon", "adamw"])
def test_steps_that_overflow_in_float16_are_skipped_and_no_divergence(
    kind: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(precision="float16", optimizer={"kind": kind}, max_grad_norm=1.0)
    with initial_loss_scale(2.0**127, monkeypatch):
        session, state = build_training(recipe)
        before = {name: value.clone() for name, value in state.network.named_parameters()}
        step(session, state)
        assert state.skipped_steps == 1, "this scale overflows"
        for name, value in state.network.named_parameters():
            assert torch.equal(value, before[name]), name
        assert not state.optimizer.state, "a skipped step leaves no momentum"
    with initial_loss_scale(2.0**19, monkeypatch):
        run = fit(recipe, tmp_path / "run")
    assert run.log[-1].train_loss < run.log[0].train_loss
    scaler = Checkpoint.load(run.checkpoints[-1]).metadata.scaler
    assert scaler["scale"] < 2.0**19, "some steps overflowed"


def test_epoch_whose_steps_all_overflow_is_a_warning(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        initial_loss_scale(2.0**127, monkeypatch),
        pytest.warns(UserWarning, match="epoch 1: every step overflowed in float16"),
    ):
        run = fit(tiny(precision="float16", epochs=1), tmp_path / "run")
    assert "overflowed" in (run.log[0].gradient_warning or "")


def test_skipped_steps_do_not_count_in_the_mean_gradient(tiny: Tiny) -> None:
    _, state = build_training(tiny(precision="float16"))
    one = torch.tensor(1.0)
    for first in (3.0, float("inf"), float("nan")):
        state.add_step(one, one, 10, torch.tensor([first, 4.0, 0.0, 0.0]))
    norms = {"stem": 3, "stage1": 4, "stage2": 0, "head": 0}
    assert state.metrics.read() == EpochTotals(30, 3, 30, 5, 1, norms)
    assert state.skipped_steps == 2


def test_skipped_steps_are_saved(tiny: Tiny) -> None:
    _, state = build_training(tiny(precision="float16"))
    state.skipped_steps = 3
    checkpoint = state.to_checkpoint()
    state.skipped_steps = 0
    state.load(checkpoint)
    assert state.skipped_steps == 3


def test_overflow_in_float16_at_any_scale_is_a_divergence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        initial_loss_scale(2.0**-15, monkeypatch),
        pytest.raises(UserError, match="gradient is not finite in epoch 1, however it is scaled"),
    ):
        list(train(tiny(precision="float16"), tmp_path / "run"))


def test_error_of_a_full_device_suggests_gradient_accumulation(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(TrainingSession, "forward_amp", out_of_memory)
    with pytest.raises(
        UserError, match="step 1: the device is out of memory: `--gradient-accumulation 2`"
    ):
        list(train(tiny(), tmp_path / "run"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert "out of memory" in str(error_advice(caught.value))
    assert error_advice(RuntimeError("shapes do not match")) is None


def use_running_statistics(network: nn.Module) -> None:
    """Batch normalization is the one layer whose output depends on the rest of its batch."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize("chunks", [2, 5, 64])
def test_accumulated_gradients_equal_those_of_the_whole_batch(chunks: int, tiny: Tiny) -> None:
    """Apart from batch normalization, which sees each chunk alone; 64 = 13 + 13 + 13 + 13 + 12."""
    outcomes = []
    for gradient_accumulation in (1, chunks):
        recipe = tiny(
            gradient_accumulation=gradient_accumulation,
            loss__label_smoothing=0.1,
            max_grad_norm=1.0,
        )
        session, state = build_training(recipe)
        use_running_statistics(state.network)
        losses = [float(step(session, state)) for _ in range(5)]
        outcomes.append((losses, state.metrics.totals, list(state.network.parameters())))
    (losses, totals, weights), (whole_losses, whole_totals, whole_weights) = outcomes
    assert losses == pytest.approx(whole_losses, rel=1e-5)
    torch.testing.assert_close(totals, whole_totals, rtol=1e-4, atol=1e-4)
    for weight, whole in zip(weights, whole_weights, strict=True):
        torch.testing.assert_close(weight, whole, rtol=1e-3, atol=2e-5)


def test_gradient_accumulation_splits_batches_into_chunks(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, original = [], TrainingSession.forward_amp

    def forward_amp(self: TrainingSession, state: TrainingState, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return original(self, state, images)

    monkeypatch.setattr(TrainingSession, "forward_amp", forward_amp)
    session, state = build_training(tiny(gradient_accumulation=5))
    step(session, state)
    assert sizes == [13, 13, 13, 13, 12]


@pytest.mark.parametrize("changes", [{}, EVERYTHING, SHARP], ids=["plain", "everything", "sharp"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_stop_interrupts_an_evaluation_and_resumption_is_exact(
    epoch: int, changes: dict, tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    recipe, run = tiny(**changes), tmp_path / "run"
    stops, events, last = [], [], 0
    for event in train(recipe, run, lambda _: bool(stops)):
        if isinstance(event, Started):
            last = epoch * event.steps_per_epoch
        if isinstance(event, StepFinished) and event.step == last:
            stops.append("in the evaluation that follows")
        events.append(event)
    assert events[-1] == Stopped(last)
    assert sum(isinstance(event, EpochFinished) for event in events) == epoch - 1
    *_, end = resume(run)
    assert isinstance(end, Finished)
    assert_equal_runs(complete_run(recipe), run)


def test_stop_interrupts_the_final_evaluations(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    recipe, run = tiny(data__holdout=40, epochs=2), tmp_path / "run"
    for event in train(recipe, run):
        if isinstance(event, EpochFinished) and event.record.epoch == 2:
            break
    *_, event = resume(run, lambda _: True)
    assert event == Stopped(6)
    assert Run.open(run).result is None
    list(resume(run))
    assert_equal_runs(complete_run(recipe), run)


def test_stop_after_an_epoch_includes_its_evaluation(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(), tmp_path / "run", lambda progress: progress.epoch >= 2)
    assert len(run.log) == 2
    assert run.log[1].evaluation is not None
