"""Print what was published and what was measured, and what is still to be run, from records/ alone.

    make records            prints the two passages that the README holds

A record is a folder records/DATE-NAME/ with one run, finished or not, or several below it. Runs on
a part of the training set (a limit, a holdout) tell how fast a recipe is, not how accurate.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from residua.recipes import built_in as recipes
from residua.reports.published import names, reference

RECORDS = Path(__file__).parent.parent / "records"
HEADER = [
    "recipe", "published, %", "measured last, %", "measured best, %", "runs", "epochs",
    "training, s", "images/s", "hardware", "record",
]  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A run in a record."""

    path: Path

    def _json(self, name: str) -> Any:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The finished epochs."""
        text = (self.path / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe, as JSON."""
        found: dict[str, Any] = self._json("recipe.json")
        return found

    @property
    def record(self) -> str:
        """The folder of the record."""
        return self.path.relative_to(RECORDS).parts[0]

    @property
    def whole(self) -> bool:
        """Whether it trains on all training images."""
        data = self.recipe["data"]
        return not data.get("holdout") and data.get("limit") is None

    @property
    def finished(self) -> bool:
        """Whether it took all its epochs."""
        return (self.path / "result.json").is_file()

    @property
    def evaluated(self) -> list[dict[str, Any]]:
        """The epochs with a test accuracy."""
        return [epoch for epoch in self.log if "test_accuracy" in epoch]

    @property
    def last(self) -> float:
        """Test accuracy of the last evaluated epoch, in percent."""
        found: float = self.evaluated[-1]["test_accuracy"]
        return found

    @property
    def best(self) -> float:
        """The highest test accuracy, in percent."""
        return max(epoch["test_accuracy"] for epoch in self.evaluated)

    @property
    def rate(self) -> float:
        """Training images a second, of the median epoch."""
        return statistics.median(epoch["images_per_second"] for epoch in self.log)

    @property
    def undisturbed(self) -> float:
        """Training images a second, of the fastest epoch: least hindered by other work."""
        return max(epoch["images_per_second"] for epoch in self.log)

    @property
    def hardware(self) -> str:
        """What it ran on."""
        where = self._json("environment.json")
        device: str = where["device"]
        cpu = f"{where['processor']}, {where['threads']} threads"
        return cpu if device.startswith("cpu") else device

    def hours(self, epochs: int, images: int, tested: int) -> float:
        """What a training of so many epochs, images and tests takes at its fastest."""
        checks = [epoch for epoch in self.evaluated if "test_images" in epoch]
        check = min(epoch["evaluation_seconds"] / epoch["test_images"] for epoch in checks)
        return epochs * (images / self.undisturbed + tested * check) / 3600


def kept() -> list[Kept]:
    """All runs in the records that have finished an epoch."""
    logs = sorted(RECORDS.glob("*/**/log.jsonl"))
    runs = (Kept(log.parent) for log in logs if (log.parent / "recipe.json").is_file())
    return [run for run in runs if run.log]


def published(name: str) -> str:
    """The published test accuracies in percent; a dash for a recipe of our own."""
    return reference(name).headline if name in names() else "–"


def so_far(run: Kept, name: str) -> str:
    """Where an unfinished run stands, and what was published of that epoch."""
    epoch = run.evaluated[-1]["epoch"]
    curve = reference(name).curve if name in names() else None
    there = [point.test_accuracy for point in curve.points if point.epoch == epoch] if curve else []
    beside = f"; published then: {there[0]:.2f}" if there else ""
    return f"{run.last:.2f} (epoch {epoch}{beside})"


def spread(runs: Sequence[Kept], value: Callable[[Kept], float], digits: int) -> str:
    """Mean +- sample deviation, or the one value."""
    values = [value(run) for run in runs]
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def cells(name: str, runs: list[Kept]) -> list[str]:
    """One row of the table: the runs of one recipe in one record, all of them finished or none."""
    run = runs[0]
    views = "" if run.recipe["views"] == "single" else f" ({run.recipe['views']} views)"
    last, best = so_far(run, name), "–"
    if run.finished:
        last = spread(runs, lambda each: each.last, 2) + views
        best = spread(runs, lambda each: each.best, 2) + views
    return [
        f"`{name}`",
        published(name),
        last,
        best,
        str(len(runs)),
        f"{len(run.log)} of {run.recipe['epochs']}",
        spread(runs, lambda each: sum(epoch["seconds"] for epoch in each.log), 0),
        spread(runs, lambda each: each.rate, 0),
        run.hardware,
        f"[{run.record}](records/{run.record}/)",
    ]


def rows(runs: Sequence[Kept]) -> Iterable[list[str]]:
    """One row for each record of a recipe; one of dashes for a recipe without."""
    for name in recipes.names():
        found: dict[tuple[str, bool], list[Kept]] = {}
        for run in runs:
            if run.recipe["name"] == name and run.whole and run.evaluated:
                found.setdefault((run.record, run.finished), []).append(run)
        if not found:
            yield [f"`{name}`", published(name), *["–"] * (len(HEADER) - 2)]
        for group in found.values():
            yield cells(name, group)


def table() -> str:
    """The recipes with published and measured figures, in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *rows(kept())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def remaining() -> str:
    """The published systems that were not run to their end, each with its command, in Markdown."""
    lines = []
    for name in recipes.names():
        runs = [run for run in kept() if run.recipe["name"] == name]
        recipe = recipes.built_in(name)
        done = any(
            run.whole and run.finished and run.recipe["epochs"] >= recipe.epochs for run in runs
        )
        if name not in names() or done:
            continue
        timed = [run for run in runs if run.recipe["batch_size"] == recipe.batch_size]
        cost = f"{recipe.epochs} epochs; its speed was not measured"
        if timed:
            run = max(timed, key=lambda each: each.undisturbed)
            hours = run.hours(recipe.epochs, 50_000, 10_000)
            cost = (
                f"{recipe.epochs} epochs, about {hours:.0f} hours on {run.hardware}, "
                f"at {run.undisturbed:.0f} images/s"
            )
        lines.append(f"- `python benchmarks/reproduce.py {name}`: {cost}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), remaining(), sep="\n\n")
