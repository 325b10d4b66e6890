"""Small trainings: the golden curve, exact resumption, and the effect of recipe fields."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from equal_runs import assert_equal_runs, log_without_measurements
from feature_sets import FEATURE_SETS

from residua import UserError, fit
from residua.data import Split
from residua.inference.evaluation import never_stop
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import load_predictions, load_samples
from residua.runs.checkpoint import Checkpoint
from residua.runs.records import EpochRecord, Result
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.training import loop
from residua.training.epoch import is_finished
from residua.training.events import (
    CheckpointSaved,
    EpochFinished,
    Finished,
    Started,
    StepFinished,
    Stopped,
)
from residua.training.loop import resume, train
from residua.training.session import TrainingSession, build_training
from residua.training.state import TrainingState

Tiny = Callable[..., Recipe]


def finish(recipe: Recipe, path: Path) -> Result:
    *_, end = train(recipe, path)
    assert isinstance(end, Finished)
    return end.result


GOLDEN = [4.68189, 4.65833, 4.63403]


def test_golden_curve(tiny: Tiny, tmp_path: Path) -> None:
    """The losses of a small training; a change of any default on the way changes them."""
    finish(tiny(), tmp_path / "run")
    losses = [record.train_loss for record in Run.open(tmp_path / "run").log]
    assert losses == pytest.approx(GOLDEN, rel=5e-4)


@pytest.mark.parametrize("changes", [{}, *FEATURE_SETS.values()], ids=["plain", *FEATURE_SETS])
@pytest.mark.parametrize("stops", [(4,), (2,), (1, 5, 6, 8)], ids=str)
def test_resumption_is_exact(
    tiny: Tiny, tmp_path: Path, changes: dict, stops: tuple[int, ...]
) -> None:
    """A training stopped between epochs or inside one ends bit for bit the same."""
    recipe = tiny(**changes)
    finish(recipe, tmp_path / "whole")

    def at(step: int) -> Callable[[TrainingProgress], bool]:
        return lambda progress: progress.step >= step

    *_, end = train(recipe, tmp_path / "parts", at(stops[0]))
    assert end == Stopped(stops[0])
    for step in stops[1:]:
        *_, end = resume(tmp_path / "parts", at(step))
        assert end == Stopped(step)
    *_, end = resume(tmp_path / "parts")
    assert isinstance(end, Finished)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def leave_one_out(changes: dict) -> Iterator[tuple[str, dict]]:
    """Yield each field or operation that is left out, and the remaining changes."""
    for field in changes:
        yield field, {name: value for name, value in changes.items() if name != field}
    for index, operation in enumerate(augmentation := changes["augmentation"]):
        rest = augmentation[:index] + augmentation[index + 1 :]
        yield operation["kind"], changes | {"augmentation": rest}


@pytest.mark.parametrize("changes", FEATURE_SETS.values(), ids=FEATURE_SETS)
def test_every_field_of_the_resumption_tests_has_an_effect(
    tiny: Tiny, tmp_path: Path, changes: dict
) -> None:
    """Leaving any of them out changes the log."""

    def logged(name: str, changes: dict) -> dict:
        fewer = {"epochs": 2, "data__train": 150, "data__test": 40}
        list(train(tiny(**(fewer | changes)), tmp_path / name))
        return log_without_measurements(tmp_path / name)

    whole = logged("whole", changes)
    idle = [name for name, rest in leave_one_out(changes) if logged(name, rest) == whole]
    assert idle == []


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The networks of the trainings that a test begins."""
    found: list[torch.nn.Module] = []

    def watched(recipe: Recipe) -> Any:
        session, state = build_training(recipe)
        found.append(state.network)
        return session, state

    monkeypatch.setattr("residua.training.loop.build_training", watched)
    return found


def test_phases_switch_at_their_epoch(
    tiny: Tiny, tmp_path: Path, networks: list[torch.nn.Module]
) -> None:
    """Dropout, stochastic depth, image size and augmentation, seen at every step."""

    def then(first: float, second: float) -> dict:
        return {"kind": "phases", "boundaries": [1], "values": [first, second]}

    recipe = tiny(
        epochs=2,
        architecture__dropout=then(0.4, 0.1),
        architecture__stochastic_depth=then(0.3, 0.2),
        image_size=then(16, 24),
        augmentation=[{"kind": "cutout", "size": 64, "p": then(0, 1)}],
    )
    seen: list[tuple[float, float, int, bool]] = []

    def look(network: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        if network.training:
            side, hidden = given[0].shape[-1], not given[0].any()
            seen.append((network.head[-2].p, network.stages[-1][0].branch[-1].p, side, hidden))

    for event in train(recipe, tmp_path / "run"):
        if isinstance(event, Started):
            networks[0].register_forward_pre_hook(look)
    assert seen == [(0.4, 0.3, 16, False)] * 4 + [(0.1, 0.2, 24, True)] * 4


def test_killed_training_resumes_exactly(tiny: Tiny, tmp_path: Path) -> None:
    """The process ends in the middle of an epoch, after its last checkpoint."""
    recipe = tiny(save_every=2)
    finish(recipe, tmp_path / "whole")
    for event in train(recipe, tmp_path / "killed"):
        if isinstance(event, StepFinished) and event.step == 10:
            break
    with (tmp_path / "killed/log.jsonl").open("a") as log:
        log.write('{"epoch": 3, "ste')
    list(resume(tmp_path / "killed"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


def test_events_of_a_training(tiny: Tiny, tmp_path: Path) -> None:
    kinds = [type(event) for event in train(tiny(epochs=2), tmp_path / "run")]
    assert kinds == [
        Started,
        *([StepFinished] * 4 + [EpochFinished, CheckpointSaved]) * 2,
        Finished,
    ]


def test_run_contains_what_its_readers_need(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(target_accuracy=0.5)
    result = finish(recipe, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.recipe == recipe
    assert run.result == result
    environment = run.environment
    assert environment.python
    assert environment.packages["torch"]
    assert (environment.threads, environment.seed) == (torch.get_num_threads(), 0)
    log = run.log
    assert [record.epoch for record in log] == [1, 2, 3]
    for record in log:
        assert record.grad_norms.keys() == {"stem", "stage1", "stage2", "head"}
        assert (record.steps, record.test_images) == (4, 100)
        assert min(record.lr, record.grad_norm, record.seconds, record.images_per_second) > 0
        assert min(record.memory_mib, record.evaluation_seconds) > 0
        assert record.last_loss is not None
    accuracies = [record.test_accuracy for record in log]
    assert result.last.test_accuracy == accuracies[-1]
    assert result.best.test_accuracy == max(accuracies)
    assert result.best.epoch == accuracies.index(max(accuracies)) + 1
    assert result.selection_split == "test"
    reached = [record.epoch for record in log if record.target_reached]
    first = [place + 1 for place, accuracy in enumerate(accuracies) if accuracy >= 0.5][:1]
    assert reached == first
    assert result.target_epoch == (first[0] if first else None)
    assert run.data.splits["train"].images == 200
    kept, predictions = load_samples(run), load_predictions(run)
    assert kept is not None
    assert predictions is not None
    assert kept.originals.shape == kept.augmented.shape == (24, 3, 32, 32)
    correct = 100 * float((predictions.best == predictions.labels).float().mean())
    assert correct == pytest.approx(result.best.test_accuracy, abs=1e-4)
    assert not [path for path in run.path.rglob("*") if "partial" in path.name]


def test_resume_refuses_other_images(tiny: Tiny, tmp_path: Path) -> None:
    list(train(tiny(), tmp_path / "run", lambda progress: progress.epoch >= 1))
    known = json.loads((tmp_path / "run/data.json").read_text())
    known["splits"]["train"]["sha256"] = "0" * 64
    (tmp_path / "run/data.json").write_text(json.dumps(known))
    with pytest.raises(UserError, match="started with other images"):
        list(resume(tmp_path / "run"))


def test_last_n_and_best_checkpoints_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    result = finish(tiny(epochs=5, keep_checkpoints=2), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert [path.name for path in run.checkpoints] == [
        "step-00000012.safetensors",
        "step-00000016.safetensors",
        "step-00000020.safetensors",
    ]
    assert len(Checkpoint.load(run.best_checkpoint).metadata.history) == result.best.epoch


def test_holdout_selects_the_best_epoch_and_the_test_set_is_not_evaluated(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = set()

    def evaluate(session: TrainingSession, state: TrainingState, split: Split, *args: Any) -> Any:
        evaluated.add(split)
        return evaluation(session, state, split, *args)

    evaluation = TrainingSession.evaluate
    monkeypatch.setattr(TrainingSession, "evaluate", evaluate)
    result = finish(tiny(data__holdout=50, epochs=4), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    log, predictions = run.log, load_predictions(run)
    assert {len(split) for split in evaluated} == {50}
    assert predictions is not None
    assert (predictions.split, len(predictions.labels)) == ("holdout", 50)
    assert (result.last.test_accuracy, result.best.test_accuracy) == (None, None)
    assert result.last.holdout_accuracy == log[-1].holdout_accuracy
    assert all(record.test_accuracy is None for record in log)
    held = [record.holdout_accuracy for record in log]
    assert result.selection_split == "holdout"
    assert result.best.epoch == held.index(max(held)) + 1
    assert result.last.epoch == 4


def test_evaluate_every(tiny: Tiny, tmp_path: Path) -> None:
    result = finish(tiny(epochs=5, evaluate_every=2), tmp_path / "run")
    evaluated = [r.epoch for r in Run.open(tmp_path / "run").log if r.test_accuracy is not None]
    assert evaluated == [2, 4, 5]
    assert result.best.epoch in evaluated


def test_early_stopping_waits_for_its_patience(tiny: Tiny, tmp_path: Path) -> None:
    stopping = {"patience": 2, "min_delta": 50.0}
    result = finish(tiny(epochs=9, early_stopping=stopping), tmp_path / "run")
    assert result.epochs == 3
    assert result.epochs_planned == 9
    later = finish(
        tiny(epochs=9, early_stopping={**stopping, "start_epoch": 4}), tmp_path / "later"
    )
    assert later.epochs == 6


def test_patience_counts_too_small_improvements(tiny: Tiny) -> None:
    stopping = {"patience": 2, "min_delta": 1.0, "start_epoch": 1}
    session, state = build_training(tiny(epochs=9, early_stopping=stopping))

    def over(*accuracies: float) -> bool:
        state.history = [
            EpochRecord.model_construct(
                epoch=epoch, test_loss=1.0, test_accuracy=accuracy, test_top5=accuracy
            )
            for epoch, accuracy in enumerate(accuracies, 1)
        ]
        state.step = session.sampler.steps_per_epoch * len(accuracies)
        return is_finished(session, state)

    assert over(10, 11, 10.5)
    assert not over(10, 11, 11.1)
    assert not over(10, 9)


class FakeClock:
    """A clock that advances by a second each time it is read, and when the device is waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.queued = 0.0

    def perf_counter(self) -> float:
        self.seconds += 1
        return self.seconds

    def synchronize(self, _: torch.device) -> None:
        self.seconds += self.queued
        self.queued = 0.0


def test_log_has_times_of_training_and_evaluation(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a device that works asynchronously: a step only queues ten seconds of work."""
    clock = FakeClock()
    for module in ("devices", "training.epoch"):
        monkeypatch.setattr(f"residua.{module}.time", clock)
    monkeypatch.setattr("residua.devices.synchronize", clock.synchronize)
    real_step = loop.step

    def queued_step(session: TrainingSession, state: TrainingState) -> torch.Tensor:
        clock.queued += 10
        return real_step(session, state)

    monkeypatch.setattr(loop, "step", queued_step)
    result = finish(tiny(epochs=2), tmp_path / "run")
    for record in Run.open(tmp_path / "run").log:
        assert record.seconds == 4 * 10 + 1
        assert record.images_per_second == 200 / 41
        assert record.evaluation_seconds == 1
    assert (result.train_seconds, result.evaluation_seconds) == (82, 2)


def test_time_of_a_stopped_epoch_is_kept(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("residua.devices.time", clock)
    list(train(tiny(epochs=1), tmp_path / "run", lambda progress: progress.step >= 2))
    list(resume(tmp_path / "run"))
    assert Run.open(tmp_path / "run").log[0].seconds == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed is 1, was 0"),
        ({"optimizer.lr": 0.5}, "optimizer.lr is 0.5"),
        ({"batch_size": 32}, "batch_size is 32, was 64"),
        ({"augmentation": ()}, "augmentation is"),
        ({"epochs": 9}, "epochs is 9, was 3"),
        ({"data.train": 150}, "data is|other images"),
    ],
)
def test_resume_refuses_an_edited_recipe(
    tiny: Tiny, tmp_path: Path, changes: dict, message: str
) -> None:
    run = fit(tiny(), tmp_path / "run", lambda progress: progress.step >= 2)
    run.write_recipe(run.recipe.replace(**changes))
    with pytest.raises(UserError, match=message):
        list(resume(run.path))
    assert run.log == []


def test_resume_accepts_changes_that_weights_do_not_depend_on(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(), tmp_path / "run", lambda progress: progress.step >= 2)
    free = {"name": "other", "keep_checkpoints": 3, "save_every": 2, "target_accuracy": 50.0}
    copies = {"sync": tmp_path / "drive", "publish": {"repository": "alice/tiny", "every": 5}}
    run.write_recipe(run.recipe.replace(**free, **copies, tta="mirror"))
    *_, end = resume(run.path)
    assert isinstance(end, Finished)


def test_environment_history_of_a_resumed_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread, then two, then one again: both changes are reported and kept."""

    def stop_at(step: int) -> Callable[[TrainingProgress], bool]:
        return lambda progress: progress.step >= step

    devices = iter(["cpu, 1 thread", "cpu, 2 threads", "cpu, 1 thread", "cpu, 1 thread"])
    monkeypatch.setattr("residua.runs.environment.describe_device", lambda _: next(devices))
    run = fit(tiny(), tmp_path / "run", stop_at(2))
    with pytest.warns(UserWarning, match="cpu, 2 threads, was cpu, 1 thread"):
        list(resume(run.path, stop_at(5)))
    with pytest.warns(UserWarning, match="cpu, 1 thread, was cpu, 2 threads"):
        list(resume(run.path, stop_at(7)))
    *_, end = resume(run.path)
    assert isinstance(end, Finished)
    changes = (
        "from step 2: device is cpu, 2 threads, was cpu, 1 thread",
        "from step 5: device is cpu, 1 thread, was cpu, 2 threads",
    )
    assert run.environment.changes == end.result.environment_changes == changes


def test_plateau_lowers_the_learning_rate(tiny: Tiny, tmp_path: Path) -> None:
    plateau = {"kind": "plateau", "start": 0.1, "factor": 0.5, "patience": 0, "threshold": 9.0}
    finish(tiny(epochs=4, optimizer__lr=plateau), tmp_path / "run")
    rates = [record.lr for record in Run.open(tmp_path / "run").log]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_gradients_are_clipped(tiny: Tiny, tmp_path: Path) -> None:
    finish(tiny(epochs=1, max_grad_norm=1e-9, optimizer__weight_decay=0), tmp_path / "run")
    _, before = build_training(tiny())
    weights = Checkpoint.load(Run.open(tmp_path / "run").checkpoints[-1]).tensors
    for name, value in before.network.named_parameters():
        torch.testing.assert_close(weights[f"network.{name}"], value.detach(), atol=1e-6, rtol=0)


def test_averaged_weights_are_evaluated(
    tiny: Tiny, tmp_path: Path, networks: list[torch.nn.Module]
) -> None:
    recipe = tiny(epochs=1, weight_average={"kind": "ema", "decay": 0.99})
    for event in train(recipe, tmp_path / "run"):
        if isinstance(event, Started):
            weight = networks[0].stem[0].weight
            wanted = weight.detach().clone()
        elif isinstance(event, StepFinished):
            wanted = 0.99 * wanted + 0.01 * weight.detach()
    session, state = build_training(recipe)
    state.load(Checkpoint.load(Run.open(tmp_path / "run").checkpoints[-1]))
    torch.testing.assert_close(state.average["stem.0.weight"], wanted)
    with session.evaluated_weights(state, never_stop):
        averaged = session.evaluate(state, session.splits.test)
    state.average = {}
    with session.evaluated_weights(state, never_stop):
        own = session.evaluate(state, session.splits.test)
    assert averaged.loss != own.loss
    assert Run.open(tmp_path / "run").log[0].test_loss == averaged.loss


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16"},
        {"memory_format": "contiguous"},
        {"tta": "mirror"},
        {"drop_last": True},
        {"architecture__activation": "silu"},
    ],
    ids=str,
)
def test_precision_layout_and_other_modes_train(tiny: Tiny, tmp_path: Path, changes: dict) -> None:
    plain = finish(tiny(), tmp_path / "plain")
    other = finish(tiny(**changes), tmp_path / "other")
    assert other.last.test_loss != plain.last.test_loss
    assert other.last.test_loss == pytest.approx(plain.last.test_loss, rel=0.5)


@pytest.mark.parametrize("tta", ["mirror", "mirror_translate"])
def test_tta_averages_logits(tiny: Tiny, tta: str) -> None:
    session, state = build_training(tiny(tta=tta))
    images = session.pipeline.normalize(session.splits.test.images)
    network = state.network.eval()

    def mirrored(seen: torch.Tensor) -> torch.Tensor:
        return (network(seen) + network(seen.flip(3))) / 2

    with torch.no_grad():
        logits = mirrored(images)
        if tta == "mirror_translate":
            down = torch.cat([images[:, :, 1:2], images[:, :, :-1]], 2)
            up = torch.cat([images[:, :, 1:], images[:, :, -2:-1]], 2)
            right = torch.cat([down[..., 1:2], down[..., :-1]], 3)
            left = torch.cat([up[..., 1:], up[..., -2:-1]], 3)
            logits = logits / 2 + (mirrored(right) + mirrored(left)) / 4
    with session.evaluated_weights(state, never_stop):
        evaluation = session.evaluate(state, session.splits.test)
    assert torch.equal(evaluation.predicted, logits.argmax(1))


def test_batch_larger_than_the_data_set_is_replaced_and_said(tiny: Tiny, tmp_path: Path) -> None:
    started, *_ = train(tiny(batch_size=500, epochs=1), tmp_path / "run")
    assert isinstance(started, Started)
    expected = "batch_size 500 is larger than the training set of 200 images: 32 is used instead."
    assert started.notes == (expected,)
    assert Run.open(tmp_path / "run").recipe.batch_size == 32


@pytest.mark.cifar100
@pytest.mark.parametrize("name", ["resnet44", "resnet44v2", "wrn28_10", "resnet26w", "resnet34"])
def test_every_reference_system_takes_steps_on_real_images(
    name: str, cifar100_root: Path, tmp_path: Path
) -> None:
    from residua.recipes.loading import resolve

    recipe = resolve(
        name, ["--epochs", "1", "--data.limit", "16", "--batch-size", "8",
               f"--data.root={cifar100_root}", "--device", "cpu"]
    )  # fmt: skip
    result = finish(recipe, tmp_path / "run")
    assert result.epochs == 1
    assert Run.open(tmp_path / "run").log[0].train_loss > 1
