"""A run's training log in the form of the published documents."""

from collections.abc import Sequence
from pathlib import Path

from residua.augment import Mixing
from residua.recipes.recipe import Recipe
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import MISSING, count, duration, percent, points, setting
from residua.reports.kit.tables import Table
from residua.reports.run_data import RunData
from residua.reports.run_report.analysis import analyse, gap_blocks, key_epochs
from residua.reports.run_report.configuration import settings, train_command
from residua.reports.run_report.contents import Contents
from residua.reports.run_report.curves import NO_EPOCH
from residua.reports.run_report.network import architecture_lines, model_statistics, parts_table
from residua.reports.run_report.report import environment_block
from residua.reports.run_report.summary import notes
from residua.runs import log_lines
from residua.runs.records import FinalFigures
from residua.runs.run import Run, checkpoint_step


def training_log_document(contents: Contents) -> doc.Document:
    """The training log of a run, finished or not, with the sections of the documents."""
    run = contents.run
    configuration: list[doc.Block] = [doc.Code(train_command(run.recipe)), settings(run.recipe)]
    return doc.Document(
        title=f"{run.title}: training log",
        subtitle="",
        intro=[_facts(contents), *notes(run)],
        sections=[
            _model_section(contents),
            doc.Section("Dataset", [_dataset(run)]),
            doc.Section("Training configuration", configuration),
            doc.Section("Training progress", progress_blocks(run)),
            _summary_section(contents),
            *_analysis_sections(run),
            doc.Section("Checkpoints", [_checkpoints(run)]),
            doc.Section("Hardware and environment", [environment_block(run.environment)]),
        ],
    )


def progress_blocks(run: RunData) -> list[doc.Block]:
    """Each epoch as the documents print it, with badges for the target and the best epoch."""
    if not run.records:
        return ["No epoch is finished yet."]
    blocks: list[doc.Block] = [
        "Epochs are counted from 1. The loss of a bar is that of the epoch's last batch where the "
        "log has it, otherwise the epoch's mean."
    ]
    best = run.best.record if run.best else None
    for record in run.records:
        blocks += [doc.Heading(f"EPOCH: {record.epoch}"), doc.Code(log_lines.bar_line(record))]
        line = log_lines.evaluation_line(record)
        parts: list[str | doc.Strong] = [line or "Not evaluated."]
        for badge in log_lines.badges(record, record is best):
            parts += [" ✓ ", doc.Strong(badge)]
        blocks.append(doc.Text(*parts))
    return blocks


def _facts(contents: Contents) -> doc.Bullets:
    run, structure = contents.run, contents.structure
    recipe = run.recipe
    optimizer = recipe.optimizer.model_dump(mode="json")
    schedule = optimizer.pop("lr", None)
    parameters = count(structure.summary.parameters if structure else None)
    limit = f", limited to {count(recipe.data.limit)} images a split" if recipe.data.limit else ""
    return _bullets(
        ("Model", f"{recipe.name} ({parameters} parameters)"),
        ("Dataset", f"{recipe.data.kind}{limit}"),
        ("Target accuracy", _target(recipe)),
        (f"Best {run.selection_split} accuracy", percent(run.best.accuracy if run.best else None)),
        ("Training", f"{len(run.records)} of {recipe.epochs} epochs"),
        ("Batch size", str(recipe.batch_size)),
        ("Optimizer", setting(optimizer)),
        ("Learning rate", setting(schedule)),
        ("Augmentation", ", ".join(item.kind for item in recipe.augmentation) or "none"),
        ("Regularisation", regularisation(recipe)),
    )


def _bullets(*rows: tuple[str, str]) -> doc.Bullets:
    return doc.Bullets([doc.Text(doc.Strong(label), f": {value}") for label, value in rows])


def _target(recipe: Recipe) -> str:
    return MISSING if recipe.target_accuracy is None else f"{recipe.target_accuracy:g} %"


def regularisation(recipe: Recipe) -> str:
    """What regularises the network besides weight decay, with its strength."""
    fields = recipe.model_dump(mode="json")
    network = fields["architecture"]
    mixing = [
        item.model_dump(mode="json") for item in recipe.augmentation if isinstance(item, Mixing)
    ]
    strengths = {
        "label smoothing": fields["loss"]["label_smoothing"],
        "dropout": network["dropout"],
        "dropout in blocks": network["block"]["dropout"],
        "channel dropout in the stem": network["stem"].get("dropout"),
        "stochastic depth": network["stochastic_depth"],
    }
    texts = [setting(value) for value in (*mixing, fields["sam"]) if value]
    texts += [f"{name} {setting(value)}" for name, value in strengths.items() if value]
    return "; ".join(texts) or "none"


def _model_section(contents: Contents) -> doc.Section:
    structure = contents.structure
    lines = architecture_lines(contents.run.recipe.architecture, structure)
    blocks: list[doc.Block] = [doc.Heading("Architecture"), doc.Code("\n    ↓\n".join(lines))]
    if structure is not None:
        statistics: list[doc.Block] = [doc.Heading("Model statistics"), model_statistics(structure)]
        blocks = [*statistics, *blocks, parts_table(structure)]
    return doc.Section("Model", blocks)


def _dataset(run: RunData) -> doc.Block:
    data = run.fingerprint
    rows = [(f"{name.capitalize()} images", count(s.images)) for name, s in data.splits.items()]
    if data.classes:
        rows.append(("Classes", str(len(data.classes))))
    for name, values in (data.normalization.model_dump() if data.normalization else {}).items():
        rows.append((f"Normalization, {name}", ", ".join(f"{value:.4f}" for value in values)))
    return Table(("", ""), rows, 2) if rows else "The run did not record its data."


def _summary_section(contents: Contents) -> doc.Section:
    run = contents.run
    milestones = [
        doc.Text(doc.Strong(f"Epoch {record.epoch}"), f": {percent(metrics.accuracy)} ({reason})")
        for record, reason in key_epochs(run)
        if (metrics := record.evaluation)
    ]
    blocks: list[doc.Block] = [
        _summary_table(run),
        doc.Heading("Key milestones"),
        doc.Bullets(milestones) if milestones else "No epoch has been evaluated yet.",
        doc.Heading("Training curves"),
        doc.Figures(contents.charts) if contents.charts else NO_EPOCH,
    ]
    if contents.animation is not None:
        blocks += [
            doc.Heading("Training as an animation"),
            doc.Figures([contents.animation], wide=True),
        ]
    return doc.Section("Summary", blocks)


def _summary_table(run: RunData) -> Table:
    best, target, result = run.best, run.recipe.target_accuracy, run.result
    margin = None if best is None or target is None else best.accuracy - target
    mean_seconds = run.train_seconds / len(run.records) if run.records else None
    rows = [
        ("Target accuracy", percent(target)),
        (f"Best {run.selection_split} accuracy", percent(best.accuracy if best else None)),
    ]
    if result is not None:
        rows.append(("Test accuracy, last epoch", _test_accuracy(result.last)))
        if run.selection_split != "test":
            rows.append(("Test accuracy, best epoch", _test_accuracy(result.best)))
    rows += [
        ("Accuracy margin", points(margin)),
        ("Epoch of best model", str(best.epoch) if best else MISSING),
        ("Total training time", duration(run.train_seconds)),
        ("Total evaluation time", duration(run.evaluation_seconds)),
        ("Average time per epoch", duration(mean_seconds)),
    ]
    return Table(("Metric", "Value"), rows)


def _test_accuracy(figures: FinalFigures) -> str:
    accuracy = figures.test_accuracy
    return "not evaluated" if accuracy is None else percent(accuracy)


def _analysis_sections(run: RunData) -> Sequence[doc.Section]:
    findings = analyse(run)
    if findings is None:
        return []
    blocks: list[doc.Block] = [
        doc.Heading("Overfitting gap"),
        *gap_blocks(run),
        doc.Heading("Plateau"),
        findings.plateau_text,
        doc.Heading("Dynamics"),
        findings.thirds,
        doc.Bullets(findings.warnings),
    ]
    return [doc.Section("Analysis", blocks), doc.Section("Recommendations", findings.advice)]


def _checkpoints(run: RunData) -> doc.Block:
    """The checkpoints of the best and of the last epoch, where they exist."""
    files = Run(run.path)
    rows: list[tuple[str, Path, float | None]] = []
    if files.best_checkpoint.is_file() and run.best:
        rows.append((f"best epoch ({run.best.epoch})", files.best_checkpoint, run.best.accuracy))
    if files.checkpoints:
        latest = files.checkpoints[-1]
        step = checkpoint_step(latest)
        record = next((record for record in run.records if record.step == step), None)
        name = f"last epoch ({record.epoch})" if record else "the middle of an epoch"
        metrics = record.evaluation if record else None
        rows.append((name, latest, metrics.accuracy if metrics else None))
    items = [
        (name, f"{path.relative_to(run.path)}, {percent(value)}") for name, path, value in rows
    ]
    return _bullets(*items) if rows else "No checkpoint is saved yet."
