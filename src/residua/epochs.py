"""What happens between epochs: evaluating, judging which is best, and ending."""

import math
import time
import warnings
from dataclasses import replace
from typing import Any

import torch

from residua.device import peak_memory
from residua.divergence import Diverged
from residua.evaluation import Evaluation
from residua.evidence import keep_predictions
from residua.gradients import diagnosis
from residua.run import Run
from residua.setting import Setting
from residua.state import Damaged, Record, State

OVERFLOWED = "every step overflowed in float16 and was left out"
LEAST_SCALE = 2**-14
"""Float16's least normal number: gradients that overflow even when scaled by it are infinite."""


def finish_epoch(setting: Setting, state: State, evaluations: dict[int, Evaluation]) -> Record:
    """Evaluate where due, add the epoch to the history, and begin the next one's tally.

    Raises:
        Diverged: the epoch has something that is not finite; it is not added.
    """
    recipe, per_epoch = setting.recipe, setting.batches.steps_per_epoch
    epoch = state.step // per_epoch
    waited = time.perf_counter()
    loss, correct, seen, norm, last, *sums = state.tally.tolist()
    seconds = state.seconds + time.perf_counter() - waited
    ensure_finite(state, epoch)
    ensure_sound(state, epoch)
    moved = max(1, per_epoch - state.left_out)
    # The rate of the last step, which an optimiser that was restored in between has not heard of.
    recipe.optimizer.set_clock(state.optimizer, replace(setting.clock(state), step=state.step - 1))
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
            group: total / moved for group, total in zip(state.network.groups(), sums, strict=True)
        },
        "seconds": seconds,
        "images_per_second": seen / seconds,
    }
    warning = diagnosis(record["grad_norms"]) if state.left_out < per_epoch else OVERFLOWED
    if warning is not None:
        record["gradient_warning"] = warning
        warnings.warn(f"epoch {epoch}: {warning}", stacklevel=2)
    if epoch % recipe.evaluate_every == 0 or state.step >= setting.steps:
        started, split = time.perf_counter(), setting.monitored_name
        evaluation = setting.evaluate(state, setting.monitored)
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
        if recipe.target is not None and evaluation.accuracy >= recipe.target and not before:
            record["target_reached"] = True
    record["memory_mib"] = peak_memory(setting.device)
    if state.rollbacks:
        record["rollbacks"] = state.rollbacks
    state.history.append(record)
    for old in evaluations.keys() - {epoch, best_epoch(setting, state)}:
        del evaluations[old]
    state.tally.zero_()
    state.seconds, state.left_out = 0.0, 0
    return record


def ensure_finite(state: State, epoch: int) -> None:
    """Look whether losses and gradients of the running epoch were finite; waits for the device.

    Raises:
        Diverged: they were not.
    """
    if not bool(state.tally.isfinite().all()):
        what = "gradient" if math.isfinite(state.tally[0]) else "loss"
        raise Diverged(f"the {what} is not finite in epoch {epoch}")


def ensure_sound(state: State, epoch: int) -> None:
    """Look whether a training can go on from these weights.

    Raises:
        Diverged: one is not finite; or float16 overflows at any scale.
    """
    weights = state.network.state_dict().values()
    if not bool(torch.stack([each.isfinite().all() for each in weights]).all()):
        raise Diverged(f"a weight is not finite after epoch {epoch}")
    if state.scaler.is_enabled() and state.scaler.get_scale() < LEAST_SCALE:
        raise Diverged(f"the gradient is not finite in epoch {epoch}, however it is scaled")


def best_epoch(setting: Setting, state: State) -> int:
    """The first epoch with the highest monitored accuracy; 0 before any was evaluated."""
    accuracies = setting.accuracies(state)
    return max(accuracies, key=lambda epoch: accuracies[epoch], default=0)


def is_over(setting: Setting, state: State) -> bool:
    """Whether every step is taken, or patience has run out."""
    if state.step >= setting.steps:
        return True
    patience = setting.recipe.early_stopping
    if patience is None or state.step % setting.batches.steps_per_epoch:
        return False
    best, bad = -math.inf, 0
    for epoch, accuracy in setting.accuracies(state).items():
        improved = accuracy > best + patience.min_delta
        best = accuracy if improved else best
        bad = 0 if improved or epoch <= patience.after else bad + 1
    return bad >= patience.patience


def finish(
    run: Run, setting: Setting, state: State, evaluations: dict[int, Evaluation]
) -> dict[str, Any]:
    """Evaluate the last and the best epoch on the test set, and write what the report needs."""
    last, best = len(state.history), best_epoch(setting, state)
    evaluated = len(setting.accuracies(state))
    if setting.splits.holdout is not None:
        evaluations = {}
    tested = {last: evaluations.get(last) or setting.evaluate(state, setting.splits.test)}
    lost = None
    if best not in tested and best not in evaluations and not _went_back(run, state, best):
        lost, best = best, last
    if best not in tested:
        tested[best] = evaluations.get(best) or setting.evaluate(state, setting.splits.test)

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
        "recipe": setting.recipe.name,
        "seed": setting.recipe.seed,
        "epochs": last,
        "epochs_planned": setting.recipe.epochs,
        "selected_on": setting.monitored_name,
        "evaluations": evaluated,
        "views": setting.recipe.views,
        "rollbacks": log[-1].get("rollbacks", 0),
        "best_lost": lost,
        "last": figures(last),
        "best": figures(best),
        "target": setting.recipe.target,
        "target_reached_in_epoch": reached[0] if reached else None,
        "train_seconds": sum(record["seconds"] for record in log),
        "evaluation_seconds": sum(record.get("evaluation_seconds", 0.0) for record in log),
    }
    keep_predictions(run, setting.splits.test, tested[last], tested[best])
    run.record("result.json", result)
    return result


def _went_back(run: Run, state: State, epoch: int) -> bool:
    """Make the state that of the best epoch; false, saying so, where that cannot be."""
    try:
        state.load(run.best)
        if len(state.history) != epoch:
            raise Damaged(f"{run.best} is of epoch {len(state.history)}")
    except Damaged as error:
        warnings.warn(f"{error}; the last epoch stands in for the best, {epoch}", stacklevel=2)
        return False
    return True
