"""A run's training log in the form of the published documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from residua import log_lines
from residua.recipe import Recipe
from residua.report.content import Content
from residua.report.history import History, images_of, key_epochs
from residua.report.structure import Structure
from residua.report.table import Table
from residua.report.words import ABSENT, count, duration, percent, points, setting
from residua.run import Run


@dataclass(frozen=True)
class Entry:
    """One epoch of the training progress."""

    epoch: int
    bar: str
    test: str | None
    """None where the epoch was not evaluated."""
    marks: tuple[str, ...]


@dataclass(frozen=True)
class TrainingLog:
    """What the training log says beyond the report."""

    facts: list[tuple[str, str]]
    statistics: Table | None
    tree: list[str]
    splits: list[tuple[str, str]]
    progress: list[Entry]
    summary: Table
    milestones: list[tuple[int, str, str]]
    """Epoch, accuracy, and what it stands for."""


def training_log(run: Run, said: Content) -> TrainingLog:
    """The log of a run, finished or not.

    Args:
        run: the run.
        said: its report.
    """
    recipe, history = run.recipe, said.history
    return TrainingLog(
        facts=_facts(run, said),
        statistics=None if said.structure is None else statistics(said.structure),
        tree=tree(recipe, said.structure),
        splits=_splits(run),
        progress=progress(history, images_of(run, history.monitored)),
        summary=_summary(run, history),
        milestones=[
            (record["epoch"], percent(history.accuracy(record)), reason)
            for record, reason in key_epochs(history)
            if history.accuracy(record) is not None
        ],
    )


def progress(history: History, images: int | None) -> list[Entry]:
    """Every epoch as the documents print it, with marks for the target and the best epoch.

    Args:
        history: the finished epochs.
        images: evaluated in each epoch, where the log does not say; None for not known.
    """
    reached, best = history.reached, history.best
    return [
        Entry(
            record["epoch"],
            log_lines.bar_line(record),
            log_lines.test_line(record, images),
            log_lines.marks(record is reached, record is best),
        )
        for record in history.records
    ]


def _facts(run: Run, said: Content) -> list[tuple[str, str]]:
    recipe, history = run.recipe, said.history
    best = history.best
    optimizer = recipe.optimizer.model_dump(mode="json")
    schedule = optimizer.pop("lr", None)
    parameters = said.structure.summary.parameters if said.structure else None
    accuracy = None if best is None else history.accuracy(best)
    return [
        ("Model", f"{recipe.name} ({count(parameters)} parameters)"),
        ("Dataset", recipe.data.kind),
        ("Target accuracy", ABSENT if history.target is None else f"{history.target:g} %"),
        (f"Best {history.monitored} accuracy", percent(accuracy)),
        ("Training", f"{len(history.records)} of {recipe.epochs} epochs"),
        ("Batch size", str(recipe.batch_size)),
        ("Optimizer", setting(optimizer)),
        ("Learning rate", setting(schedule)),
        ("Regularisation", _regularisation(recipe)),
    ]


def _regularisation(recipe: Recipe) -> str:
    names = [each.kind for each in recipe.augmentation]
    dropout = recipe.architecture.model_dump(mode="json")["dropout"]
    smoothing = recipe.loss.label_smoothing
    found = [*names, *([f"label smoothing {smoothing:g}"] if smoothing else [])]
    return ", ".join([*found, *([f"dropout {setting(dropout)}"] if dropout else [])]) or "none"


def statistics(anatomy: Structure) -> Table:
    """The documents' table of model statistics; sizes in MiB, which they call MB."""
    summary = anatomy.summary
    total = summary.input_mib + summary.parameters_mib + summary.activations_mib
    rows = [
        ("Total parameters", count(summary.parameters)),
        ("Trainable parameters", count(summary.trainable)),
        ("Non-trainable parameters", f"{summary.parameters - summary.trainable:,}"),
        ("Model size", f"{summary.parameters_mib:.2f} MB"),
        ("Input size", f"{summary.input_mib:.2f} MB"),
        ("Forward/backward pass", f"{summary.activations_mib:.2f} MB"),
        ("Estimated total size", f"{total:.2f} MB"),
        ("Weighted layers", str(summary.weighted_layers)),
    ]
    return Table(("Specification", "Value"), rows)


def tree(recipe: Recipe, anatomy: Structure | None) -> list[str]:
    """The network from top to bottom, a line each; with shapes where they are known."""
    architecture = recipe.architecture
    parts = architecture.model_dump(mode="json")
    shapes = {part.name: part.shape for part in anatomy.parts} if anatomy else {}

    def shape(name: str) -> str:
        return f"   # {'×'.join(map(str, shapes[name]))}" if name in shapes else ""

    lines = ["Input (3 channels)", f"Stem ({setting(parts['stem'])}){shape('stem')}"]
    stages = zip(architecture.depths, architecture.widths, architecture.all_strides, strict=True)
    block = parts["block"]["kind"]
    lines += [
        f"Stage {place + 1}: {depth}× {block} block ({width} channels, stride {stride})"
        f"{shape(f'stages.{place}')}"
        for place, (depth, width, stride) in enumerate(stages)
    ]
    dropout = f"Dropout({setting(parts['dropout'])}) → " if parts["dropout"] else ""
    pooling = parts["pooling"]["kind"].capitalize()
    return [*lines, f"{pooling} pooling → {dropout}Linear{shape('head')}"]


def _splits(run: Run) -> list[tuple[str, str]]:
    found = run.provenance
    rows = [
        (f"{name.capitalize()} images", count(split["images"]))
        for name, split in found.get("splits", {}).items()
    ]
    if "classes" in found:
        rows.append(("Classes", str(len(found["classes"]))))
    for name, values in found.get("normalisation", {}).items():
        rows.append((f"Normalisation, {name}", ", ".join(f"{value:.4f}" for value in values)))
    return rows


def _summary(run: Run, history: History) -> Table:
    best, target = history.best, history.target
    accuracy = None if best is None else history.accuracy(best)
    seconds: Sequence[float] = [record["seconds"] for record in history.records]
    margin = None if accuracy is None or target is None else accuracy - target
    mean = sum(seconds) / len(seconds) if seconds else None
    waited = sum(record.get("evaluation_seconds", 0.0) for record in history.records)
    rows = [
        ("Target accuracy", percent(target)),
        (f"Best {history.monitored} accuracy", percent(accuracy)),
        ("Accuracy margin", ABSENT if margin is None else points(margin)),
        ("Epoch of best model", ABSENT if best is None else str(best["epoch"])),
        ("Total training time", duration(sum(seconds))),
        ("Total evaluation time", duration(waited)),
        ("Average time per epoch", ABSENT if mean is None else duration(mean)),
    ]
    result = run.result
    if result is not None:
        rows.insert(2, ("Test accuracy, last epoch", percent(result["last"]["test_accuracy"])))
        rows.insert(3, ("Test accuracy, best epoch", percent(result["best"]["test_accuracy"])))
    return Table(("Metric", "Value"), rows)
