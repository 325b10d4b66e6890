"""What `residua evaluate` prints."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residua.cli.console import console
from residua.data import Split
from residua.inference.ensemble import Contribution, contributions, ensemble_logits
from residua.inference.full_evaluation import FullEvaluation
from residua.inference.metrics import figures
from residua.reports.evaluations import tables
from residua.reports.kit.formatting import percent
from residua.reports.kit.tables import Table, terminal_table
from residua.runs.evaluations import CorruptionRecord, Figures
from residua.runs.run import Run

SHOWN = 5
"""Confused pairs, and classes with the lowest F1, that are shown."""


@dataclass(frozen=True)
class Evaluated:
    """A network that was evaluated."""

    path: Path
    run: Run | None
    """None where the model is in no run."""
    evaluation: FullEvaluation


def print_evaluation(evaluated: Evaluated, per_class: bool) -> None:
    """Print the figures of a network.

    Args:
        evaluated: the network.
        per_class: whether to print every class and superclass.
    """
    record = evaluated.evaluation.record
    _print_line(f"{evaluated.path}: {tables.evaluation_title(record)}")
    console.print(terminal_table(tables.figures_table(tables.named_views(record))))
    _print_line("In brackets: 95 % intervals over images.\n")
    tta, shown = list(record.views.items())[-1]
    classes = tables.class_table(shown.classes, "Class")
    if per_class:
        if shown.superclasses:
            _print(tables.class_table(shown.superclasses, "Superclass"))
        _print(classes)
    else:
        _print(Table(("Lowest F1", *classes.columns[1:]), classes.rows[:SHOWN]))
    if shown.confused:
        confused = tables.confused_table(shown.confused[: None if per_class else SHOWN])
        _print(Table(("Most confused", *confused.columns[1:]), confused.rows, text_columns=2))
    if len(record.views) > 1:
        _print_line(f"Classes and pairs are those of {tables.VIEW_NAMES[tta]}.")


def print_ensemble(members: Sequence[Evaluated], split: Split, seed: int) -> None:
    """Print the figures of the mean of the networks' probabilities, and what each network adds."""
    ensemble, added = _ensemble(members, split, seed)
    _print_line(f"Ensemble: the mean probabilities of {len(members)} networks, single views")
    _print(tables.figures_table({"Ensemble": ensemble}))
    names = [str(member.path) for member in members]
    _print(tables.ensemble_table(names, added))
    _print_line("Single views. A network adds what the ensemble of all others lacks, in points.")


def print_corruptions(
    record: CorruptionRecord, relative: float | None, reference: Path | None
) -> None:
    """Print the accuracies on corrupted images."""
    _print(tables.corruption_table(record))
    _print_line(
        f"Mean corruption error {percent(record.mean_error)}, not normalised; "
        f"clean error {percent(100 - record.clean)}."
    )
    if relative is not None:
        _print_line(f"Relative to {reference}, the mean corruption error is {percent(relative)}.")


def corruption_progress(kinds: int) -> Callable[[str, int, float], None]:
    """Report each corruption on standard error, which is not what a program reads."""
    total, done = kinds * 5, 0

    def show(kind: str, severity: int, accuracy: float) -> None:
        nonlocal done
        done += 1
        text = f"{done}/{total}  {kind} {severity}: {accuracy:.2f} %"
        print(text, file=sys.stderr)

    return show


def print_json(
    members: Sequence[Evaluated],
    split: Split,
    corrupted: CorruptionRecord | None,
    relative: float | None,
    seed: int,
) -> None:
    """Print everything as one JSON document."""
    tree: dict[str, Any] = {
        "evaluations": [
            {"model": str(member.path), **member.evaluation.record.model_dump(mode="json")}
            for member in members
        ]
    }
    if len(members) > 1:
        ensemble, added = _ensemble(members, split, seed)
        tree["ensemble"] = ensemble.model_dump(mode="json")
        tree["contributions"] = [
            {
                "model": str(member.path),
                "alone": each.alone,
                "cumulative": each.cumulative,
                "without": each.without,
                "added": each.added,
                "p": each.test.p if each.test else None,
            }
            for member, each in zip(members, added, strict=True)
        ]
    if corrupted is not None:
        tree["corruptions"] = corrupted.model_dump(mode="json") | {
            "mean_corruption_error": corrupted.mean_error,
            "mean_corruption_error_relative_to_reference": relative,
        }
    print(json.dumps(tree, indent=2))


def _ensemble(
    members: Sequence[Evaluated], split: Split, seed: int
) -> tuple[Figures, list[Contribution]]:
    logits = [member.evaluation.outputs.logits for member in members]
    whole = figures(
        ensemble_logits(logits),
        members[0].evaluation.outputs.labels,
        split.classes,
        split.superclass_of,
        split.superclasses,
        seed=seed,
    )
    return whole, contributions(logits, members[0].evaluation.outputs.labels)


def _print(table: Table) -> None:
    console.print(terminal_table(table))
    console.print()


def _print_line(text: str) -> None:
    console.print(text, markup=False)
