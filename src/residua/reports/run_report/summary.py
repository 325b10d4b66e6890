"""The most important figures of a run, and notes on how they were obtained."""

from residua.augment.tta import TTA_DESCRIPTIONS
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, duration, percent, scaled
from residua.reports.run_data import RunData
from residua.reports.run_report.network import Structure
from residua.runs.records import InitRecord, Result, SelectionSplit

SELECTION_NOTES = {
    "test": "The best epoch was selected on the test set, so its accuracy is optimistic. "
    "Quote the last epoch's accuracy, which was not selected.",
    "holdout": "The best epoch was selected on the holdout set; the test set was not used for it.",
}
SPLITS: tuple[SelectionSplit, ...] = ("test", "holdout")
TEST_IS_OPEN = (
    "The test set was not evaluated: `residua evaluate RUN` does that on purpose, once everything "
    "is chosen, and the report then has its figures."
)


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
        sustained = f"{scaled(flops / max(run.train_seconds, 1e-9))}FLOP/s sustained"
        cards.append(doc.Metric("Arithmetic", f"{scaled(flops)}FLOP", sustained))
    return cards


def init_note(init: InitRecord) -> str:
    """What a training started from, in a sentence."""
    head = (
        f"the final linear layer, for other classes than its {init.classes}, was new"
        if init.new_head
        else "its final linear layer was taken over"
    )
    whose = "that network's channel statistics" if init.source_normalization else "their own"
    return (
        f"The training started from the weights of {init.recipe or 'a trained network'} after "
        f"epoch {init.epoch} (SHA-256 {init.sha256[:16]}): {head}, and images are normalized with "
        f"{whose}."
    )


def _finished(result: Result, run: RunData) -> list[doc.Metric]:
    last, best, split = result.last, result.best, result.selection_split
    once = len(run.evaluated) == 1
    selected = f"epoch {best.epoch}" if once else f"epoch {best.epoch}, selected on {split}"
    cards = []
    for name in SPLITS:
        title, of_last, of_best = name.capitalize(), last.metrics(name), best.metrics(name)
        if name != split and of_last is None and of_best is None:
            continue
        top5 = "Top-5" if name == "test" else f"{title} top-5"
        accuracy_last = percent(of_last.accuracy if of_last else None)
        top5_last = percent(of_last.top5 if of_last else None)
        if last == best:
            epoch = "the only one evaluated" if once else "the last and the best"
            note = f"epoch {last.epoch}, {epoch}"
            cards.append(doc.Metric(f"{title} accuracy", accuracy_last, note))
            if run.fingerprint.has_top5:
                cards.append(doc.Metric(top5, top5_last, f"epoch {last.epoch}"))
            continue
        accuracy_best = percent(of_best.accuracy if of_best else None)
        top5_best = f"best epoch {percent(of_best.top5 if of_best else None)}"
        cards += [
            doc.Metric(f"{title} accuracy, last epoch", accuracy_last, f"epoch {last.epoch}"),
            doc.Metric(f"{title} accuracy, best epoch", accuracy_best, selected),
        ]
        if run.fingerprint.has_top5:
            cards.append(doc.Metric(f"{top5}, last epoch", top5_last, top5_best))
    return cards


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
        ]
        if run.fingerprint.has_top5:
            cards.append(doc.Metric("Top-5, latest", percent(latest.metrics.top5), when))
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
    if run.test_is_open:
        texts.append(TEST_IS_OPEN)
    if run.init is not None:
        texts.append(init_note(run.init))
    texts += [
        f"The training was planned for {extension.epochs} epochs, and extended after step "
        f"{extension.step:,}: until then its schedules were those of the shorter training."
        for extension in recipe.extensions
    ]
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
    texts += run.fingerprint.cautions
    texts += run.fingerprint.notes
    if skipped := run.fingerprint.skipped:
        texts.append(
            f"{len(skipped):,} files cannot be read and were left out; data.json lists them. The "
            f"first: {skipped[0]}."
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
