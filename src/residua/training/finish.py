"""The end of a training: the last and the best epoch's figures, the models, the result."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from residua.errors import UserError
from residua.inference.evaluation import Evaluation, StopCheck, never_stop
from residua.runs.artifacts import Predictions, save_predictions
from residua.runs.checkpoint import CorruptCheckpoint
from residua.runs.model_file import Which, copy_last_model, load_model, save_model, update_model
from residua.runs.records import EpochRecord, FinalFigures, Metrics, Result
from residua.runs.run import Run
from residua.training.epoch import EvaluationCache, best_epoch, model_info
from residua.training.recovery import load_checkpoint, share_state
from residua.training.session import TrainingSession
from residua.training.state import TrainingState


@dataclass(frozen=True)
class FinalEvaluations:
    """The last and the best epoch on the selection split."""

    last: Evaluation
    best: Evaluation
    best_epoch: int
    lost_epoch: int | None
    """The best epoch, where its checkpoint is damaged and the last epoch stands in for it."""


def finish_training(
    run: Run,
    session: TrainingSession,
    state: TrainingState,
    cache: EvaluationCache,
    check_stop: StopCheck,
) -> Result:
    """Evaluate the last and the best epoch; write result, models and predictions.

    They are evaluated on the selection split: with a holdout, nothing here looks at the test set.

    Raises:
        EvaluationInterrupted: a stop was requested; resumption evaluates again.
    """
    history = list(state.history)  # Loading the best checkpoint takes its shorter history.
    world = session.world
    final = _evaluate_last_and_best(run, session, state, cache, check_stop)
    changes = world.from_writer(lambda: json.dumps(run.environment.changes))
    result = _result(session, history, final, tuple(json.loads(changes)))
    if world.is_writer:
        predictions = Predictions.of(
            session.selection_split,
            final.last.predicted,
            final.best.predicted,
            final.best.confidence,
            session.selection_split_name,
        )
        save_predictions(run, predictions)
        run.write_json("result.json", result)
    return result


def _evaluate_last_and_best(
    run: Run,
    session: TrainingSession,
    state: TrainingState,
    cache: EvaluationCache,
    check_stop: StopCheck,
) -> FinalEvaluations:
    """Evaluate both epochs, and make sure that the saved models are theirs."""
    known, split = cache.by_epoch, session.selection_split_name
    last, best = state.history[-1].epoch, best_epoch(session, state)
    writer = session.world.is_writer
    model_saved = not session.world.any(writer and not _best_model_is_saved(run, best))
    of_last = known.get(last) or _evaluate(session, state, check_stop)
    of_best: Evaluation | None = of_last
    if best != last:
        _save_model(run, session, state, of_last.metrics, "last")
        of_best = (known.get(best) if model_saved else None) or _evaluate_best(
            run, session, state, best, check_stop
        )
    if of_best is None:
        if writer:
            copy_last_model(run)
        return FinalEvaluations(of_last, of_last, last, lost_epoch=best)
    if not model_saved:
        _save_model(run, session, state, of_best.metrics, "best")
    if writer:
        update_model(run, {split: of_best.metrics}, is_last=best == last)
    return FinalEvaluations(of_last, of_best, best, lost_epoch=None)


def _result(
    session: TrainingSession,
    history: Sequence[EpochRecord],
    final: FinalEvaluations,
    environment_changes: tuple[str, ...],
) -> Result:
    recipe, last, split = session.recipe, history[-1], session.selection_split_name
    flops = [record.flops for record in history if record.flops is not None]
    reached = [record.epoch for record in history if record.target_reached]
    return Result(
        recipe=recipe.name,
        seed=recipe.seed,
        epochs=last.epoch,
        epochs_planned=recipe.epochs,
        selection_split=split,
        evaluations=sum(record.evaluation is not None for record in history),
        tta=recipe.tta,
        rollbacks=last.rollbacks,
        environment_changes=environment_changes,
        lost_best_epoch=final.lost_epoch,
        last=FinalFigures.of(last.epoch, split, final.last.metrics),
        best=FinalFigures.of(final.best_epoch, split, final.best.metrics),
        target_accuracy=recipe.target_accuracy,
        target_epoch=reached[0] if reached else None,
        train_seconds=sum(record.seconds for record in history),
        evaluation_seconds=sum(record.evaluation_seconds for record in history),
        flops=sum(flops) if len(flops) == len(history) else None,
    )


def _evaluate(session: TrainingSession, state: TrainingState, check_stop: StopCheck) -> Evaluation:
    with session.evaluated_weights(state, check_stop):
        return session.evaluate(state, session.selection_split, check_stop)


def _evaluate_best(
    run: Run, session: TrainingSession, state: TrainingState, epoch: int, check_stop: StopCheck
) -> Evaluation | None:
    """Evaluate the best epoch's checkpoint; None, with a warning, where it is damaged."""
    world = session.world
    if world.any(world.is_writer and not _load_best(run, state, epoch)):
        return None
    share_state(state, world)
    return _evaluate(session, state, check_stop)


def _load_best(run: Run, state: TrainingState, epoch: int) -> bool:
    """Load the best epoch's checkpoint; False, with a warning, where it is damaged."""
    try:
        load_checkpoint(state, run.best_checkpoint)
        if len(state.history) != epoch:
            raise CorruptCheckpoint(f"{run.best_checkpoint} is of epoch {len(state.history)}")
    except CorruptCheckpoint as error:
        warnings.warn(f"{error}; the last epoch stands in for the best, {epoch}", stacklevel=2)
        return False
    return True


def _best_model_is_saved(run: Run, best: int) -> bool:
    """Whether model.safetensors holds the network of the best epoch; warns where it does not."""
    try:
        _, info = load_model(run.path)
        if info.epoch != best:
            raise UserError(f"{run.path}: the model is of epoch {info.epoch}, the best is {best}")
    except UserError as error:
        warnings.warn(f"{error}; it is written again", stacklevel=2)
        return False
    return True


def _save_model(
    run: Run,
    session: TrainingSession,
    state: TrainingState,
    metrics: Metrics,
    which: Which,
) -> None:
    """Save the network as it is evaluated, at the end of an epoch."""
    info = model_info(session, state.history[-1], {session.selection_split_name: metrics})
    with session.evaluated_weights(state, never_stop):
        if session.world.is_writer:
            save_model(run, state.network, info, which)
