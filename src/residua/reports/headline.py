"""The figures that come first, and what has to be said of them."""

from typing import Any

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.reports.history import History
from residua.reports.structure import Structure
from residua.reports.table import Card
from residua.reports.words import count, duration, epoch, percent, scaled
from residua.runs.run import Run

CHOSEN = {
    "test": "The best epoch was chosen by its accuracy on the test set itself, so its figure "
    "flatters. The last epoch's figure is not chosen: quote that one.",
    "holdout": "The best epoch was chosen on the holdout set; the test set had no part in it.",
}


def cards(
    run: Run, history: History, structure: Structure | None, computed: int | None
) -> list[Card]:
    """The figures of a run, finished or not; fewer where there are fewer.

    Args:
        run: the run.
        history: its epochs.
        structure: its network, where images say how large.
        computed: floating-point operations of the training so far.
    """
    result = run.result
    found = _unfinished(run, history) if result is None else _finished(result, history)
    if history.target is not None:
        reached = history.reached
        place = f"reached in epoch {reached['epoch']}" if reached else "not reached"
        found.append(Card("Target", f"{history.target:g} %", f"{place} ({history.monitored} set)"))
    if history.records:
        seconds = sum(record["seconds"] for record in history.records)
        images = sum(r["seconds"] * r["images_per_second"] for r in history.records)
        waited = sum(record.get("evaluation_seconds", 0.0) for record in history.records)
        device = str(run.environment.get("device", "device unknown"))
        found += [
            Card("Training time", duration(seconds), f"and {duration(waited)} of evaluation"),
            Card("Speed", f"{count(images / max(seconds, 1e-9))} images/s", device),
        ]
    if structure is not None:
        summary = structure.summary
        adds = f"{scaled(summary.multiply_adds)} multiply-adds an image"
        found.append(Card("Parameters", scaled(summary.parameters), adds))
    if computed:
        note = "of training, forward and backward"
        found.append(Card("Arithmetic", f"{scaled(computed)}FLOP", note))
    return found


def _finished(result: dict[str, Any], history: History) -> list[Card]:
    last, best = result["last"], result["best"]
    chosen = epoch(best["epoch"])
    if len(history.evaluated) > 1:
        chosen += f", chosen on {result['selected_on']}"
    top5 = f"best epoch {percent(best['test_top5'])}"
    return [
        Card("Test accuracy, last epoch", percent(last["test_accuracy"]), epoch(last["epoch"])),
        Card("Test accuracy, best epoch", percent(best["test_accuracy"]), chosen),
        Card("Top-5, last epoch", percent(last["test_top5"]), top5),
    ]


def _unfinished(run: Run, history: History) -> list[Card]:
    done = history.last["epoch"] if history.last else 0
    split, best = history.monitored.capitalize(), history.best
    found = [Card("Epochs so far", f"{done} of {run.recipe.epochs}", "unfinished")]
    if best is not None:
        latest = history.evaluated[-1]
        top5 = percent(latest[f"{history.monitored}_top5"])
        latest_accuracy, best_accuracy = history.accuracy(latest), history.accuracy(best)
        place = epoch(latest["epoch"])
        found += [
            Card(f"{split} accuracy, latest", percent(latest_accuracy), place),
            Card(f"{split} accuracy, best so far", percent(best_accuracy), epoch(best["epoch"])),
            Card("Top-5, latest", top5, place),
        ]
    return found


def notes(run: Run, history: History) -> list[str]:
    """Sentences on how the figures came about."""
    recipe, result = run.recipe, run.result
    found = []
    if result is None:
        done = history.last["epoch"] if history.last else 0
        found.append(
            f"This run is unfinished: {done} of {recipe.epochs} epochs are logged. "
            "The figures are those so far."
        )
    else:
        once = len(history.evaluated) == 1
        found.append(
            f"The {history.monitored} set was evaluated once, at the end."
            if once
            else CHOSEN[result["selected_on"]]
        )
        if result["epochs"] < result["epochs_planned"]:
            found.append(
                f"The training stopped early, after {result['epochs']} of "
                f"{result['epochs_planned']} planned epochs."
            )
        if result.get("best_lost"):
            found.append(
                f"The checkpoint of the best epoch, {result['best_lost']}, was damaged: the last "
                "epoch's network stands in for it."
            )
    if history.last and history.last.get("rollbacks"):
        found.append(
            f"The training diverged, and went back to a checkpoint {history.last['rollbacks']} "
            f"times, each time with learning rates multiplied by {recipe.on_divergence.factor:g}."
        )
    if recipe.tta != "none":
        found.append(f"Every evaluation averages the logits of {TTA_DESCRIPTIONS[recipe.tta]}.")
    if recipe.weight_average is not None:
        found.append("What is evaluated is the average of the weights, not the last weights.")
    return found
