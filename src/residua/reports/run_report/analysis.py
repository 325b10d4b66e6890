"""What a run's epochs say about its training: key epochs, overfitting, plateau, phases."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from residua.reports.kit import document as doc
from residua.reports.kit.formatting import MISSING, loss, number, percent, points
from residua.reports.kit.statistics import binomial_stderr, noise_std
from residua.reports.kit.tables import Table
from residua.reports.run_data import EvaluatedEpoch, RunData
from residua.reports.run_report.advice import AdviceInputs, advice_blocks, advise
from residua.reports.run_report.configuration import train_command
from residua.runs.records import EpochRecord

SHARES = (0.10, 0.25, 0.50, 0.75)
"""Of the finished epochs: which ones the table of key epochs shows."""
THIRDS = ("Early", "Middle", "Late")


def key_epochs(run: RunData) -> list[tuple[EpochRecord, str]]:
    """First, best and last epoch, the one that reached the target, and shares of all epochs.

    A share is represented by the evaluated epoch closest to it, and is not mentioned where that
    epoch is a key epoch for another reason.

    Returns:
        Each epoch's record and what it is, oldest first.
    """
    if not run.records:
        return []
    first, last = run.records[0], run.records[-1]
    named: list[tuple[str, EpochRecord | None]] = [
        ("first", first),
        ("target reached", run.target_epoch.record if run.target_epoch else None),
        ("best", run.best.record if run.best else None),
        ("last", last),
    ]
    reasons: dict[int, list[str]] = {}
    for reason, record in named:
        if record is not None:
            reasons.setdefault(record.epoch, []).append(reason)
    candidates = [epoch.epoch for epoch in run.evaluated] or [r.epoch for r in run.records]
    shares: dict[int, list[str]] = {}
    for share in SHARES:
        closest = min(candidates, key=lambda epoch: abs(epoch - share * last.epoch))
        shares.setdefault(closest, []).append(f"{100 * share:.0f} %")
    texts = {epoch: f"{' and '.join(names)} of the epochs" for epoch, names in shares.items()}
    texts |= {epoch: ", ".join(names) for epoch, names in reasons.items()}
    return [(record, texts[record.epoch]) for record in run.records if record.epoch in texts]


def key_epochs_section(run: RunData) -> doc.Section:
    """The table of key epochs."""
    split = run.selection_split.capitalize()
    rows = []
    for record, reason in key_epochs(run):
        metrics = record.evaluation
        rows.append(
            (
                str(record.epoch),
                reason,
                loss(record.train_loss),
                percent(record.train_accuracy),
                loss(metrics.loss if metrics else None),
                percent(metrics.accuracy if metrics else None),
                number(record.lr),
                number(record.grad_norm),
            )
        )
    measured = ("Train loss", "Train accuracy", f"{split} loss", f"{split} accuracy")
    columns = ("Epoch", "Which", *measured, "Learning rate", "Gradient norm")
    table = Table(columns, rows, text_columns=2)
    return doc.Section("Key epochs", [table if rows else "No epoch is finished yet."])


def gap_section(run: RunData) -> doc.Section:
    """Overfitting, plateau, phases, and advice."""
    title = f"Gap between training and {run.selection_split} accuracy"
    findings = analyse(run)
    if findings is None:
        return doc.Section(title, ["No epoch has been evaluated yet."], "Gap")
    thirds = doc.Details("By thirds of the training", [findings.thirds])
    blocks = [*gap_blocks(run), findings.plateau_text, thirds]
    if findings.warnings:
        blocks.append(doc.Bullets(findings.warnings))
    return doc.Section(title, [*blocks, doc.Heading("What to try next"), *findings.advice], "Gap")


def gap_blocks(run: RunData) -> list[doc.Block]:
    """The gap in the best and in the last epoch; what it means."""
    epochs = {"best": run.best, "last": run.last_evaluated}
    if epochs["best"] is epochs["last"]:
        del epochs["last"]
    items = [
        doc.Text(doc.Strong(points(epoch.gap)), f" in the {name} epoch ({epoch.epoch}): {verdict}.")
        for name, epoch in epochs.items()
        if epoch is not None
        for verdict in [gap_verdict(epoch.gap)]
    ]
    definition = f"The gap is training accuracy minus {run.selection_split} accuracy."
    return [doc.Bullets(items), doc.Caption(definition)]


def gap_verdict(gap: float) -> str:
    """What a gap in percentage points means, by a fixed rule."""
    if gap > 15:
        return "the network overfits (more than 15 points)"
    if gap > 5:
        return "a moderate gap (5 to 15 points)"
    if gap >= 0:
        return "a small gap (at most 5 points)"
    return (
        "training accuracy is lower: augmentation and regularisation make training the harder "
        "task, or the network underfits (below 0)"
    )


@dataclass(frozen=True)
class Plateau:
    """The epochs since which accuracy has not improved beyond the noise of its measurement."""

    since: int
    """The first evaluated epoch within the noise of the best one."""
    last: int
    noise: float
    """The binomial standard error of the best accuracy, in points."""

    @property
    def share(self) -> float:
        """Of the finished epochs."""
        return (self.last - self.since) / self.last


@dataclass(frozen=True)
class Findings:
    """The analysis of a run."""

    plateau_text: str
    thirds: Table
    warnings: list[str]
    advice: list[doc.Block]


def analyse(run: RunData) -> Findings | None:
    """Analyse a run; None before an epoch is evaluated."""
    plateau = find_plateau(run)
    if plateau is None:
        return None
    advice = advise(run.recipe, advice_inputs(run, plateau))
    return Findings(
        _plateau_text(plateau),
        thirds_table(run),
        gradient_warnings(run),
        advice_blocks(advice, train_command(run.recipe)),
    )


def find_plateau(run: RunData) -> Plateau | None:
    """The plateau of a run; None before an epoch is evaluated."""
    best = run.best
    if best is None or not run.evaluated_images:
        return None
    noise = binomial_stderr(best.accuracy, run.evaluated_images)
    near_best = (epoch for epoch in run.evaluated if epoch.accuracy + noise > best.accuracy)
    return Plateau(next(near_best, best).epoch, run.finished_epochs, noise)


def _plateau_text(plateau: Plateau) -> str:
    noise = f"one standard error of the accuracy, {plateau.noise:.2f} points"
    if plateau.since == plateau.last:
        return f"The last epoch improved on all earlier ones by more than the noise ({noise})."
    return (
        f"No improvement beyond the noise ({noise}) since epoch {plateau.since}: "
        f"{plateau.last - plateau.since} of {plateau.last} epochs, {percent(100 * plateau.share)}."
    )


def thirds_table(run: RunData) -> Table:
    """How accuracies and learning rate changed in each third of the epochs."""
    bounds = [round(len(run.records) * part / 3) for part in range(4)]
    by_epoch = {epoch.epoch: epoch for epoch in run.evaluated}
    rows = []
    for name, start, end in zip(THIRDS, bounds, bounds[1:], strict=False):
        records = run.records[start:end]
        if not records:
            continue
        evaluated = [by_epoch[record.epoch] for record in records if record.epoch in by_epoch]
        rows.append(
            (
                name,
                _first_to_last([str(record.epoch) for record in records], "–"),
                _first_to_last([percent(record.train_accuracy) for record in records]),
                _first_to_last([percent(epoch.accuracy) for epoch in evaluated]),
                points(evaluated[-1].gap if evaluated else None),
                _first_to_last([number(record.lr) for record in records]),
            )
        )
    accuracy = f"{run.selection_split.capitalize()} accuracy"
    columns = ("Third", "Epochs", "Train accuracy", accuracy, "Gap at its end", "Learning rate")
    return Table(columns, rows)


def _first_to_last(values: Sequence[str], separator: str = " → ") -> str:
    return separator.join(dict.fromkeys((values[0], values[-1]))) if values else MISSING


def gradient_warnings(run: RunData) -> list[str]:
    """Warnings of vanishing and exploding gradients, each once with its first epoch."""
    first: dict[str, int] = {}
    for record in run.records:
        if record.gradient_warning:
            first.setdefault(record.gradient_warning, record.epoch)
    return [f"Epoch {epoch}: {text}." for text, epoch in first.items()]


def advice_inputs(run: RunData, plateau: Plateau) -> AdviceInputs:
    """The figures that advice follows from, of a run with an evaluated epoch."""
    rates = [record.lr for record in run.records]
    norms = [record.grad_norm for record in run.records]
    losses = [epoch.metrics.loss for epoch in run.evaluated]
    norm = statistics.median(norms)
    return AdviceInputs(
        epochs=plateau.last,
        evaluated=len(run.evaluated),
        gap=run.evaluated[-1].gap,
        train_accuracy=run.records[-1].train_accuracy,
        plateau_share=plateau.share,
        max_lr=max(rates),
        lr_share=rates[-1] / max(rates) if max(rates) else 0.0,
        loss_rise=losses[-1] / min(losses) if min(losses) else 1.0,
        eval_jitter=_eval_jitter(run.evaluated),
        grad_norm=norm,
        grad_norm_peak=max(norms) / norm if norm else 1.0,
    )


def _eval_jitter(evaluated: Sequence[EvaluatedEpoch]) -> float:
    """The noise of the accuracies in the last third of the evaluations, in points."""
    late = [epoch.accuracy for epoch in evaluated[len(evaluated) * 2 // 3 :]]
    return noise_std(zip(late, late[1:], late[2:], strict=False))
