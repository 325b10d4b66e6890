"""Print the README's table of recipes and its list of remaining trainings, from records/ alone.

    make records

A record is a folder records/DATE-NAME/ that contains a run, or several in subfolders; they may be
unfinished. Runs on a part of the training images (`limit`, `holdout`) only count for speed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup
from speed.results import machine

from residua.recipes import built_in
from residua.recipes.recipe import Recipe
from residua.reports import published
from residua.reports.comparison.groups import Group
from residua.reports.comparison.tables import accuracy_measures
from residua.reports.kit.formatting import MISSING, mean_std
from residua.reports.kit.tables import Table, markdown_table
from residua.reports.run_data import RunData
from residua.runs.records import EpochRecord
from residua.runs.run import Run

RECORDS = Path(__file__).parent.parent / "records"
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000
"""Of CIFAR-100."""
COLUMNS = [
    "recipe", "published, %", "measured last, %", "measured best, %", "runs", "epochs",
    "training, s", "images/s", "hardware", "record",
]  # fmt: skip


class RecordedRun:
    """A run in a record. Its figures are those of its report and of `residua compare`."""

    def __init__(self, path: Path) -> None:
        self.data = RunData.read(Run.open(path))
        self.record = path.relative_to(RECORDS).parts[0]
        """The record's folder."""

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.data.recipe

    @property
    def finished(self) -> bool:
        """Whether all epochs were trained."""
        return self.data.result is not None

    @property
    def all_images(self) -> bool:
        """Whether all training images were used."""
        data = self.recipe.data
        return not data.holdout and data.limit is None

    @property
    def evaluated(self) -> list[EpochRecord]:
        """The epochs that were evaluated on the test set."""
        return [record for record in self.data.records if record.test_accuracy is not None]

    @property
    def top_speed(self) -> float:
        """Training images per second in the fastest epoch, the least disturbed by other work."""
        return max(record.images_per_second for record in self.data.records)

    @property
    def hardware(self) -> str:
        """The machine."""
        return machine(self.data.environment)

    def estimated_hours(self, epochs: int) -> float:
        """Estimate the time of a training with evaluation after each epoch, at top speed."""
        per_test_image = min(
            record.evaluation_seconds / record.test_images
            for record in self.evaluated
            if record.test_images
        )
        seconds = TRAIN_IMAGES / self.top_speed + TEST_IMAGES * per_test_image
        return epochs * seconds / 3600


def recorded_runs() -> list[RecordedRun]:
    """All runs in records/ with at least one finished epoch."""
    paths = sorted(recipe.parent for recipe in RECORDS.glob("*/**/recipe.json"))
    return [run for run in map(RecordedRun, paths) if run.data.records]


def published_accuracy(name: str) -> str:
    """The published test accuracies in percent; a dash for a recipe without publication."""
    return published.reference(name).headline if name in published.names() else MISSING


def current_accuracy(run: RecordedRun) -> str:
    """The accuracy of an unfinished run, and the published one of the same epoch."""
    name, latest = run.recipe.name, run.evaluated[-1]
    curve = published.reference(name).curve if name in published.names() else None
    points = [point for point in curve.points if point.epoch == latest.epoch] if curve else []
    reference = f"; published: {points[0].test_accuracy:.2f}" if points else ""
    return f"{latest.test_accuracy:.2f} (epoch {latest.epoch}{reference})"


def table_row(runs: Sequence[RecordedRun]) -> list[str]:
    """The row of runs of the same recipe in the same record; all are finished, or none is."""
    run, group = runs[0], Group("", tuple(each.data for each in runs))
    last, best = current_accuracy(run), MISSING
    if run.finished:
        tta = "" if run.recipe.tta == "none" else f" (tta: {run.recipe.tta})"
        accuracies = [
            mean_std(measure.values(group), measure.digits) + tta
            for measure in accuracy_measures([group])
        ]
        last, best = accuracies[0], accuracies[-1]
    usual = built_in.built_in(run.recipe.name).precision
    precision = "" if run.recipe.precision == usual else f" in {run.recipe.precision}"
    return [
        Markup(f"`{run.recipe.name}`{precision}"),
        published_accuracy(run.recipe.name),
        last,
        best,
        str(len(runs)),
        f"{run.data.finished_epochs} of {run.recipe.epochs}",
        mean_std([each.data.train_seconds for each in runs], 0),
        mean_std([each.data.images_per_second or 0.0 for each in runs], 0),
        run.hardware,
        Markup(f"[{run.record}](records/{run.record}/)"),
    ]


def table_rows(runs: Sequence[RecordedRun]) -> Iterator[list[str]]:
    """One row for each record of each built-in recipe; dashes for a recipe without record."""
    for name in built_in.names():
        groups: dict[tuple[str, bool], list[RecordedRun]] = {}
        for run in runs:
            if run.recipe.name == name and run.all_images and run.evaluated:
                groups.setdefault((run.record, run.finished), []).append(run)
        if not groups:
            yield [Markup(f"`{name}`"), published_accuracy(name), *[MISSING] * (len(COLUMNS) - 2)]
        yield from map(table_row, groups.values())


def recipe_table() -> str:
    """The built-in recipes with published and measured figures, in Markdown."""
    return markdown_table(
        Table(COLUMNS, list(table_rows(recorded_runs())), text_columns=len(COLUMNS))
    )


def remaining() -> str:
    """The published systems without a finished training, with command and estimated time."""
    lines, recorded = [], recorded_runs()
    for name in sorted(set(published.names()) & set(built_in.names())):
        runs = [run for run in recorded if run.recipe.name == name]
        recipe = built_in.built_in(name)
        if any(
            run.all_images and run.finished and run.recipe.epochs >= recipe.epochs for run in runs
        ):
            continue
        cost = f"{recipe.epochs} epochs; its speed was not measured"
        timed = [
            run
            for run in runs
            if (run.recipe.batch_size, run.recipe.precision)
            == (recipe.batch_size, recipe.precision)
        ]
        if timed:
            run = max(timed, key=lambda each: each.top_speed)
            cost = (
                f"{recipe.epochs} epochs, about {run.estimated_hours(recipe.epochs):.0f} hours on "
                f"{run.hardware}, at {run.top_speed:.0f} images/s"
            )
        lines.append(f"- `python benchmarks/reproduce.py {name}`: {cost}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(recipe_table(), remaining(), sep="\n\n")
