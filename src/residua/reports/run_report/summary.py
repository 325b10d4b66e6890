"""The most important figures of a run, and notes on how they were obtained."""

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, duration, percent, scaled
from residua.reports.run_data import RunData
from residua.reports.run_report.network import Structure
from residua.runs.records import Result

SELECTION_NOTES = {
    "test": "The best epoch was selected on the test set, so its accuracy is optimistic. "
    "Quote the last epoch's accuracy, which was not selected.",
    "holdout": "The best epoch was selected on the holdout set; the test set was not used for it.",
}


def metrics(run: RunData, structure: Structure | None, flops: int | None) -> list[doc.Metric]:
    """The figures of a run, finished or not.

    Args:
        run: the run.
        structure: its network, where it is known.
        flops: floating-point operations of the training so far, where they are known.
    """
    cards = _unfinished(run) if run.result is None else _finished(run.result, run)
    target, reached = run.recipe.target_accuracy, run.target_epoch
    if target is not None:
        when = f"reached in epoch {reached.epoch}" if reached else "not reached"
        cards.append(doc.Metric("Target", f"{target:g} %", f"{when} ({run.selection_split} set)"))
    if run.records:
        evaluation = f"and {duration(run.evaluation_seconds)} of evaluation"
        device = run.environment.device or "device unknown"
        cards += [
            doc.Metric("Training time", duration(run.train_seconds), evaluation),
            doc.Metric("Speed", f"{count(run.images_per_second)} images/s", device),
        ]
    if structure is not None:
        summary = structure.summary
        adds = f"{scaled(summary.multiply_adds)} multiply-adds an image"
        cards.append(doc.Metric("Parameters", scaled(summary.parameters), adds))
    if flops:
        cards.append(doc.Metric("Arithmetic", f"{scaled(flops)}FLOP", "forward and backward"))
    return cards


def _finished(result: Result, run: RunData) -> list[doc.Metric]:
    last, best = result.last, result.best
    if last == best:
        epoch = "the only one evaluated" if len(run.evaluated) == 1 else "the last and the best"
        return [
            doc.Metric(
                "Test accuracy", percent(last.test_accuracy), f"epoch {last.epoch}, {epoch}"
            ),
            doc.Metric("Top-5", percent(last.test_top5), f"epoch {last.epoch}"),
        ]
    selected = f"epoch {best.epoch}, selected on {result.selection_split}"
    return [
        doc.Metric("Test accuracy, last epoch", percent(last.test_accuracy), f"epoch {last.epoch}"),
        doc.Metric("Test accuracy, best epoch", percent(best.test_accuracy), selected),
        doc.Metric(
            "Top-5, last epoch", percent(last.test_top5), f"best epoch {percent(best.test_top5)}"
        ),
    ]


def _unfinished(run: RunData) -> list[doc.Metric]:
    progress = f"{run.finished_epochs} of {run.recipe.epochs}"
    cards = [doc.Metric("Finished epochs", progress, "unfinished")]
    if run.best is not None:
        latest, split = run.evaluated[-1], run.selection_split.capitalize()
        when = f"epoch {latest.epoch}"
        best = percent(run.best.accuracy)
        cards += [
            doc.Metric(f"{split} accuracy, latest", percent(latest.accuracy), when),
            doc.Metric(f"{split} accuracy, best so far", best, f"epoch {run.best.epoch}"),
            doc.Metric("Top-5, latest", percent(latest.metrics.top5), when),
        ]
    return cards


def notes(run: RunData) -> list[str]:
    """Sentences on how the figures were obtained."""
    recipe, result = run.recipe, run.result
    texts = []
    if result is None:
        texts.append(
            f"This run is unfinished: {run.finished_epochs} of {recipe.epochs} epochs are logged. "
            "The figures are those so far."
        )
    elif len(run.evaluated) == 1:
        texts.append(f"The {run.selection_split} set was evaluated once, after the last epoch.")
    else:
        texts.append(SELECTION_NOTES[result.selection_split])
    if result and result.epochs < result.epochs_planned:
        texts.append(
            f"The training stopped early, after {result.epochs} of {result.epochs_planned} "
            "planned epochs."
        )
    if result and result.lost_best_epoch:
        texts.append(
            f"The checkpoint of the best epoch, {result.lost_best_epoch}, was damaged; the last "
            "epoch's network is used instead."
        )
    rollbacks = run.records[-1].rollbacks if run.records else 0
    if rollbacks and recipe.on_divergence.kind == "roll_back":
        texts.append(
            f"The training diverged and was rolled back to a checkpoint {rollbacks} times, each "
            f"time with learning rates multiplied by {recipe.on_divergence.factor:g}."
        )
    texts += [
        f"The training was continued in another environment, which can change its bits: {change}."
        for change in run.environment.changes
    ]
    if recipe.tta != "none":
        texts.append(f"Evaluations average the logits of {TTA_DESCRIPTIONS[recipe.tta]}.")
    if recipe.weight_average is not None:
        texts.append("Evaluations use the averaged weights, not those of the last step.")
    return texts
