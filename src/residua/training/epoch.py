"""The end of an epoch: its figures, its evaluation, the best epoch, early stopping."""

import math
import time
import warnings
from dataclasses import dataclass, field

from residua.devices import peak_memory
from residua.inference.evaluation import Evaluation, StopCheck
from residua.recipes.recipe import EarlyStopping
from residua.runs.model_file import (
    ModelInfo,
    save_model,
)
from residua.runs.records import EpochRecord, Metrics, SplitName
from residua.runs.run import Run
from residua.training.arithmetic import epoch_flops
from residua.training.gradients import diagnose_gradients
from residua.training.recovery import (
    check_evaluation_finite,
    check_finite,
    check_weights_finite,
)
from residua.training.session import TrainingSession
from residua.training.state import TrainingState

OVERFLOW_WARNING = "every step overflowed in float16 and was skipped"


@dataclass
class EvaluationCache:
    """The evaluations of the last and of the best epoch, kept for the end of the training."""

    by_epoch: dict[int, Evaluation] = field(default_factory=dict)

    def keep(self, *epochs: int) -> None:
        """Forget the evaluations of all other epochs."""
        for epoch in self.by_epoch.keys() - set(epochs):
            del self.by_epoch[epoch]


def finish_epoch(
    run: Run,
    session: TrainingSession,
    state: TrainingState,
    cache: EvaluationCache,
    check_stop: StopCheck,
) -> EpochRecord:
    """Measure the epoch, evaluate where that is due, and add its record to the history.

    Raises:
        Diverged: a figure is not finite; the epoch is not added.
        EvaluationInterrupted: a stop was requested; the epoch is not added.
    """
    epoch = state.step // session.sampler.steps_per_epoch
    record = training_record(session, state, epoch)
    if record.gradient_warning is not None:
        warnings.warn(f"epoch {epoch}: {record.gradient_warning}", stacklevel=2)
    if epoch % session.recipe.evaluate_every == 0 or _was_planned_end(session, state.step):
        record = _evaluated(run, session, state, cache, record, check_stop)
    state.history.append(record.replace(memory_mib=peak_memory(session.device)))
    cache.keep(epoch, best_epoch(session, state))
    state.start_epoch()
    return state.history[-1]


def training_record(session: TrainingSession, state: TrainingState, epoch: int) -> EpochRecord:
    """The record of the running epoch, which took its last step, without an evaluation.

    Raises:
        Diverged: a loss, a gradient or a weight is not finite.
    """
    steps = session.sampler.steps_per_epoch
    totals = state.metrics.read()
    check_finite(state, epoch)
    check_weights_finite(state, epoch)
    taken = max(1, steps - state.skipped_steps)
    last = session.progress(state, state.step - 1)
    trained = state.network.layer_groups()
    norms = {group: n / taken for group, n in totals.group_norms.items() if group in trained}
    all_skipped = state.skipped_steps >= steps
    return EpochRecord(
        epoch=epoch,
        step=state.step,
        train_loss=totals.loss / totals.images,
        train_accuracy=100 * totals.correct / totals.images,
        last_loss=totals.last_loss,
        steps=steps,
        lr=session.recipe.optimizer.lr_at(last),
        grad_norm=totals.grad_norm / taken,
        grad_norms=norms,
        gradient_warning=OVERFLOW_WARNING if all_skipped else diagnose_gradients(norms),
        seconds=state.seconds,
        images_per_second=totals.images / max(state.seconds, 1e-9),
        flops=epoch_flops(session, state),
        rollbacks=state.rollbacks,
    )


def _evaluated(
    run: Run,
    session: TrainingSession,
    state: TrainingState,
    cache: EvaluationCache,
    record: EpochRecord,
    check_stop: StopCheck,
) -> EpochRecord:
    """The record with the evaluation of the selection split; saves the model if it is the best."""
    split, target = session.selection_split_name, session.recipe.target_accuracy
    started = time.perf_counter()
    best_before = max(session.selection_accuracies(state).values(), default=-math.inf)
    with session.evaluated_weights(state, check_stop):
        evaluation = session.evaluate(state, session.selection_split, check_stop)
        check_evaluation_finite(evaluation.loss, split, record.epoch)
        seconds = time.perf_counter() - started
        if evaluation.accuracy > best_before and session.world.is_writer:
            save_model(run, state.network, model_info(session, record, {split: evaluation.metrics}))
    cache.by_epoch[record.epoch] = evaluation
    reached_before = any(earlier.target_reached for earlier in state.history)
    reached = target is not None and evaluation.accuracy >= target and not reached_before
    return record.with_evaluation(split, evaluation.metrics, seconds, reached)


def _was_planned_end(session: TrainingSession, step: int) -> bool:
    """Whether the training ends after this step, or was to end there before it was extended."""
    return step >= session.planned_steps(step - 1)


def model_info(
    session: TrainingSession, record: EpochRecord, metrics: dict[SplitName, Metrics]
) -> ModelInfo:
    """What model.json says about the network after this epoch."""
    height, width = session.splits.train.images.shape[-2:]
    return ModelInfo(
        recipe=session.recipe,
        classes=session.splits.train.classes,
        normalization=session.pipeline.normalize.stats,
        image_size=(height, width),
        splits=session.fingerprint.splits,
        epoch=record.epoch,
        step=record.step,
        metrics=metrics,
        selection_split=session.selection_split_name,
    )


def best_epoch(session: TrainingSession, state: TrainingState) -> int:
    """The first epoch with the highest accuracy on the selection split; 0 before any evaluation."""
    accuracies = session.selection_accuracies(state)
    return max(accuracies, key=lambda epoch: accuracies[epoch], default=0)


def is_finished(session: TrainingSession, state: TrainingState) -> bool:
    """Whether every step was taken, or early stopping ends the training."""
    if state.step >= session.total_steps:
        return True
    stopping = session.recipe.early_stopping
    if stopping is None or state.step % session.sampler.steps_per_epoch:
        return False
    return patience_exceeded(stopping, session.selection_accuracies(state))


def patience_exceeded(stopping: EarlyStopping, accuracies: dict[int, float]) -> bool:
    """Whether the accuracy, by epoch, has not improved for `patience` evaluations."""
    best, bad = -math.inf, 0
    for epoch, accuracy in accuracies.items():
        improved = accuracy > best + stopping.min_delta
        best = accuracy if improved else best
        bad = 0 if improved or epoch <= stopping.start_epoch else bad + 1
    return bad >= stopping.patience
