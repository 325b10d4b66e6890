"""What happens between epochs: evaluating, judging which is best, and ending."""

import math
import time
import warnings
from dataclasses import replace
from typing import Any

import torch

from residua.devices import peak_memory
from residua.inference.evaluation import Evaluation
from residua.recipes.divergence import Diverged
from residua.runs.artifacts import save_predictions
from residua.runs.run import Run
from residua.training.gradients import diagnosis
from residua.training.session import TrainingSession
from residua.training.state import CorruptCheckpoint, Record, TrainingState

OVERFLOWED = "every step overflowed in float16 and was left out"
LEAST_SCALE = 2**-14
"""Float16's least normal number: gradients that overflow even when scaled by it are infinite."""


def finish_epoch(
    session: TrainingSession, state: TrainingState, evaluations: dict[int, Evaluation]
) -> Record:
    """Evaluate where due, add the epoch to the history, and begin the next one's tally.

    Raises:
        Diverged: the epoch has something that is not finite; it is not added.
    """
    recipe, per_epoch = session.recipe, session.sampler.steps_per_epoch
    epoch = state.step // per_epoch
    waited = time.perf_counter()
    loss, correct, seen, norm, last, *sums = state.tally.tolist()
    seconds = state.seconds + time.perf_counter() - waited
    ensure_finite(state, epoch)
    ensure_sound(state, epoch)
    moved = max(1, per_epoch - state.skipped_steps)
    # The rate of the last step, which an optimiser that was restored in between has not heard of.
    recipe.optimizer.set_progress(
        state.optimizer, replace(session.progress(state), step=state.step - 1)
    )
    record: Record = {
        "epoch": epoch,
        "step": state.step,
        "train_loss": loss / seen,
        "train_accuracy": 100 * correct / seen,
        "last_loss": last,
        "steps": per_epoch,
        "lr": state.optimizer.param_groups[0]["lr"],
        "grad_norm": norm / moved,
        "grad_norms": {
            group: total / moved
            for group, total in zip(state.network.layer_groups(), sums, strict=True)
        },
        "seconds": seconds,
        "images_per_second": seen / seconds,
    }
    warning = diagnosis(record["grad_norms"]) if state.skipped_steps < per_epoch else OVERFLOWED
    if warning is not None:
        record["gradient_warning"] = warning
        warnings.warn(f"epoch {epoch}: {warning}", stacklevel=2)
    if epoch % recipe.evaluate_every == 0 or state.step >= session.total_steps:
        started, split = time.perf_counter(), session.selection_split_name
        evaluation = session.evaluate(state, session.selection_split)
        if not math.isfinite(evaluation.loss):
            raise Diverged(f"the loss on the {split} set is not finite in epoch {epoch}")
        evaluations[epoch] = evaluation
        record |= {
            f"{split}_loss": evaluation.loss,
            f"{split}_accuracy": evaluation.accuracy,
            f"{split}_top5": evaluation.top5,
            f"{split}_images": len(evaluation.predicted),
            "evaluation_seconds": time.perf_counter() - started,
        }
        before = any("target_reached" in old for old in state.history)
        if (
            recipe.target_accuracy is not None
            and evaluation.accuracy >= recipe.target_accuracy
            and not before
        ):
            record["target_reached"] = True
    record["memory_mib"] = peak_memory(session.device)
    if state.rollbacks:
        record["rollbacks"] = state.rollbacks
    state.history.append(record)
    for old in evaluations.keys() - {epoch, best_epoch(session, state)}:
        del evaluations[old]
    state.tally.zero_()
    state.seconds, state.skipped_steps = 0.0, 0
    return record


def ensure_finite(state: TrainingState, epoch: int) -> None:
    """Look whether losses and gradients of the running epoch were finite; waits for the device.

    Raises:
        Diverged: they were not.
    """
    if not bool(state.tally.isfinite().all()):
        what = "gradient" if math.isfinite(state.tally[0]) else "loss"
        raise Diverged(f"the {what} is not finite in epoch {epoch}")


def ensure_sound(state: TrainingState, epoch: int) -> None:
    """Look whether a training can go on from these weights.

    Raises:
        Diverged: one is not finite; or float16 overflows at any scale.
    """
    weights = state.network.state_dict().values()
    if not bool(torch.stack([each.isfinite().all() for each in weights]).all()):
        raise Diverged(f"a weight is not finite after epoch {epoch}")
    if state.scaler.is_enabled() and state.scaler.get_scale() < LEAST_SCALE:
        raise Diverged(f"the gradient is not finite in epoch {epoch}, however it is scaled")


def best_epoch(session: TrainingSession, state: TrainingState) -> int:
    """The first epoch with the highest monitored accuracy; 0 before any was evaluated."""
    accuracies = session.accuracies(state)
    return max(accuracies, key=lambda epoch: accuracies[epoch], default=0)


def is_finished(session: TrainingSession, state: TrainingState) -> bool:
    """Whether every step is taken, or patience has run out."""
    if state.step >= session.total_steps:
        return True
    patience = session.recipe.early_stopping
    if patience is None or state.step % session.sampler.steps_per_epoch:
        return False
    best, bad = -math.inf, 0
    for epoch, accuracy in session.accuracies(state).items():
        improved = accuracy > best + patience.min_delta
        best = accuracy if improved else best
        bad = 0 if improved or epoch <= patience.start_epoch else bad + 1
    return bad >= patience.patience


def finish(
    run: Run, session: TrainingSession, state: TrainingState, evaluations: dict[int, Evaluation]
) -> dict[str, Any]:
    """Evaluate the last and the best epoch on the test set, and write what the report needs."""
    last, best = len(state.history), best_epoch(session, state)
    evaluated = len(session.accuracies(state))
    if session.splits.holdout is not None:
        evaluations = {}
    tested = {last: evaluations.get(last) or session.evaluate(state, session.splits.test)}
    lost = None
    if best not in tested and best not in evaluations and not _went_back(run, state, best):
        lost, best = best, last
    if best not in tested:
        tested[best] = evaluations.get(best) or session.evaluate(state, session.splits.test)

    def figures(epoch: int) -> dict[str, Any]:
        evaluation = tested[epoch]
        return {
            "epoch": epoch,
            "test_loss": evaluation.loss,
            "test_accuracy": evaluation.accuracy,
            "test_top5": evaluation.top5,
        }

    log = run.log
    reached = [record["epoch"] for record in log if "target_reached" in record]
    result = {
        "recipe": session.recipe.name,
        "seed": session.recipe.seed,
        "epochs": last,
        "epochs_planned": session.recipe.epochs,
        "selected_on": session.selection_split_name,
        "evaluations": evaluated,
        "views": session.recipe.tta,
        "rollbacks": log[-1].get("rollbacks", 0),
        "best_lost": lost,
        "last": figures(last),
        "best": figures(best),
        "target": session.recipe.target_accuracy,
        "target_reached_in_epoch": reached[0] if reached else None,
        "train_seconds": sum(record["seconds"] for record in log),
        "evaluation_seconds": sum(record.get("evaluation_seconds", 0.0) for record in log),
    }
    save_predictions(run, session.splits.test, tested[last], tested[best])
    run.write_json("result.json", result)
    return result


def _went_back(run: Run, state: TrainingState, epoch: int) -> bool:
    """Make the state that of the best epoch; false, saying so, where that cannot be."""
    try:
        state.load(run.best)
        if len(state.history) != epoch:
            raise CorruptCheckpoint(f"{run.best} is of epoch {len(state.history)}")
    except CorruptCheckpoint as error:
        warnings.warn(f"{error}; the last epoch stands in for the best, {epoch}", stacklevel=2)
        return False
    return True
