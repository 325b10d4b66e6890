"""What happens between epochs: evaluating, judging which is best, and ending."""

import math
import time
import warnings
from typing import Any

from residua.device import peak_memory
from residua.errors import UserError
from residua.evaluation import Evaluation
from residua.evidence import keep_predictions
from residua.gradients import diagnosis
from residua.run import Run
from residua.setting import Setting
from residua.state import Record, State


def finish_epoch(setting: Setting, state: State, evaluations: dict[int, Evaluation]) -> Record:
    """Evaluate where due, add the epoch to the history, and begin the next one's tally."""
    recipe, per_epoch = setting.recipe, setting.batches.steps_per_epoch
    epoch = state.step // per_epoch
    waited = time.perf_counter()
    loss, correct, seen, norm, last, *sums = state.tally.tolist()
    seconds = state.seconds + time.perf_counter() - waited
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(
            f"the loss is not finite in epoch {epoch}: lower --optimizer.lr or set --clip-norm"
        )
    record: Record = {
        "epoch": epoch,
        "step": state.step,
        "train_loss": loss / seen,
        "train_accuracy": 100 * correct / seen,
        "last_loss": last,
        "steps": per_epoch,
        "lr": state.optimizer.param_groups[0]["lr"],
        "grad_norm": norm / per_epoch,
        "grad_norms": {
            group: total / per_epoch
            for group, total in zip(state.network.groups(), sums, strict=True)
        },
        "seconds": seconds,
        "images_per_second": seen / seconds,
    }
    warning = diagnosis(record["grad_norms"])
    if warning is not None:
        record["gradient_warning"] = warning
        warnings.warn(f"epoch {epoch}: {warning}", stacklevel=2)
    if epoch % recipe.evaluate_every == 0 or state.step >= setting.steps:
        started, split = time.perf_counter(), setting.monitored_name
        evaluation = setting.evaluate(state, setting.monitored)
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
    state.history.append(record)
    for old in evaluations.keys() - {epoch, best_epoch(setting, state)}:
        del evaluations[old]
    state.tally.zero_()
    state.seconds = 0.0
    return record


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
    if best not in tested:
        if best not in evaluations:
            state.load(run.best)
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
