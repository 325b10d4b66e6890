"""A run's training log in the form of the published documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from residua.augment import Mixing
from residua.recipes.recipe import Recipe
from residua.reports.configuration import flat
from residua.reports.content import Content
from residua.reports.history import History, images_of, key_epochs
from residua.reports.structure import statistics, tree
from residua.reports.table import Table
from residua.reports.words import ABSENT, count, duration, percent, points, setting
from residua.runs import log_lines
from residua.runs.run import Run


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
    checkpoints: list[tuple[str, str, str]]
    """What it is, its file in the run, and its accuracy."""
    environment: list[tuple[str, str]]


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
        tree=tree(recipe.architecture, said.structure),
        splits=_splits(run),
        progress=progress(history, images_of(run, history.monitored)),
        summary=_summary(run, history),
        milestones=[
            (record["epoch"], percent(history.accuracy(record)), reason)
            for record, reason in key_epochs(history)
            if history.accuracy(record) is not None
        ],
        checkpoints=_checkpoints(run, history),
        environment=_environment(run),
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
    limit = f", limited to {count(recipe.data.limit)} images a split" if recipe.data.limit else ""
    return [
        ("Model", f"{recipe.name} ({count(parameters)} parameters)"),
        ("Dataset", f"{recipe.data.kind}{limit}"),
        ("Target accuracy", ABSENT if history.target is None else f"{history.target:g} %"),
        (f"Best {history.monitored} accuracy", percent(accuracy)),
        ("Training", f"{len(history.records)} of {recipe.epochs} epochs"),
        ("Batch size", str(recipe.batch_size)),
        ("Optimizer", setting(optimizer)),
        ("Learning rate", setting(schedule)),
        ("Augmentation", ", ".join(each.kind for each in recipe.augmentation) or "none"),
        ("Regularisation", regularisation(recipe)),
    ]


def regularisation(recipe: Recipe) -> str:
    """What keeps the network from learning by heart, each with its strength."""
    tree = recipe.model_dump(mode="json")
    network = tree["architecture"]
    whole = [
        each.model_dump(mode="json") for each in recipe.augmentation if isinstance(each, Mixing)
    ]
    numbers = {
        "label smoothing": tree["loss"]["label_smoothing"],
        "dropout": network["dropout"],
        "dropout in blocks": network["block"]["dropout"],
        "channel dropout in the stem": network["stem"].get("dropout"),
        "stochastic depth": network["stochastic_depth"],
    }
    found = [setting(each) for each in (*whole, tree["sharpness"]) if each]
    found += [f"{name} {setting(value)}" for name, value in numbers.items() if value]
    return "; ".join(found) or "none"


def _splits(run: Run) -> list[tuple[str, str]]:
    found = run.data_fingerprint
    rows = [
        (f"{name.capitalize()} images", count(split["images"]))
        for name, split in found.get("splits", {}).items()
    ]
    if "classes" in found:
        rows.append(("Classes", str(len(found["classes"]))))
    for name, values in found.get("normalization", {}).items():
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
    if result is not None and history.monitored != "test":
        rows.insert(3, ("Test accuracy, best epoch", percent(result["best"]["test_accuracy"])))
    return Table(("Metric", "Value"), rows)


def _checkpoints(run: Run, history: History) -> list[tuple[str, str, str]]:
    """The best and the last, where they are there."""
    steps = {record.get("step"): record for record in history.records}
    found = [("best", run.best, history.best)] if run.best.is_file() else []
    if run.saved:
        found.append(("last", run.saved[-1], steps.get(run.step)))
    return [
        (
            "the middle of an epoch" if record is None else f"{which} epoch ({record['epoch']})",
            str(path.relative_to(run.path)),
            percent(None if record is None else history.accuracy(record)),
        )
        for which, path, record in found
    ]


def _environment(run: Run) -> list[tuple[str, str]]:
    """What the run started on, as far as the documents tell it."""
    known = dict(flat(run.environment))
    rows = {
        "Device": "device",
        "Processor": "processor",
        "System": "system",
        "Python": "python",
        "PyTorch": "packages.torch",
        "residua": "packages.residua",
        "Started": "started",
    }
    return [(label, known[key]) for label, key in rows.items() if key in known]
