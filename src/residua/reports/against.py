"""A run held against what was published: the same epochs side by side, and who is ahead."""

from collections.abc import Sequence
from dataclasses import dataclass

from residua.errors import UserError
from residua.recipes.loading import suggestions
from residua.reports import published
from residua.reports.cautions import cautions, same_images
from residua.reports.history import History
from residua.reports.judgement import Judgement, judge
from residua.reports.overlay import Series, overlay
from residua.reports.picture import Picture
from residua.reports.published import Point, Reference
from residua.reports.table import Table
from residua.reports.words import ABSENT, count, loss, percent, points, scaled
from residua.runs.run import Run
from residua.training.state import Record

FEW = 30
"""Up to so many published epochs are shown at once; more are folded away."""
AHEAD = 3
"""Published curves are drawn to so many times the epochs of the run, and at least to NEAR."""
NEAR = 10


@dataclass(frozen=True)
class Against:
    """What a report says of a run beside a published one."""

    reference: Reference
    summary: Table
    """Published and own figures: accuracies, epochs, parameters, time."""
    judgements: list[Judgement]
    table: Table
    """Every published epoch that the run has evaluated."""
    folded: bool
    """Whether the table is too long to be shown at once."""
    charts: list[Picture]
    horizon: int
    """The last published epoch that the charts show: a young run would be lost beside all."""
    notes: list[str]
    comparable: bool
    """Whether both are of the same images; nothing is judged otherwise."""

    @property
    def parameters(self) -> str:
        """The published number, as the document rounds it."""
        number = self.reference.system.parameters
        return f"about {scaled(number)}" if number % 100_000 == 0 else count(number)

    @property
    def silence(self) -> str:
        """Why nothing is judged, where nothing is."""
        if not self.comparable:
            return "Nothing is judged: the two did not see the same images."
        if self.reference.last is None:
            return "The document gives no result that a run could be held against, but a target."
        return "The run has not ended, and has evaluated no epoch that the published log shows."


def chosen(run: Run, name: str | None) -> Reference | None:
    """What a run is held against: what was asked for, else what its recipe is named after.

    Raises:
        UserError: nothing is published under the name that was asked for.
    """
    if name is None:
        named = run.recipe.name
        return published.reference(named) if named in published.names() else None
    if name not in published.names():
        known = suggestions(name, published.names())
        raise UserError(f"nothing is published under the name {name!r}{known}")
    return published.reference(name)


def against(run: Run, history: History, reference: Reference, siblings: Sequence[Run]) -> Against:
    """Hold a run, finished or not, against a reference.

    Args:
        run: the run.
        history: its history.
        reference: what it is held against.
        siblings: runs of the same recipe with other seeds: they tell the spread between seeds.
    """
    pairs = shared(history, reference)
    comparable = same_images(run.recipe)
    horizon = max(NEAR, AHEAD * (history.last["epoch"] if history.last else 0))
    return Against(
        reference=reference,
        summary=_summary(run, history, reference),
        judgements=judge(run, history, reference, siblings) if comparable else [],
        table=_table(pairs, history),
        folded=len(pairs) > FEW,
        charts=_charts(history, reference, horizon),
        horizon=horizon,
        notes=[*reference.system.notes, *cautions(run.recipe, history, reference)],
        comparable=comparable,
    )


def shared(history: History, reference: Reference) -> list[tuple[Record, Point]]:
    """The published epochs that the run has evaluated: its record and the published point."""
    own = {record["epoch"]: record for record in history.evaluated}
    found = reference.curve.points if reference.curve else ()
    return [(own[point.epoch], point) for point in found if point.epoch in own]


def _table(pairs: Sequence[tuple[Record, Point]], history: History) -> Table:
    split = history.monitored.capitalize()
    rows = []
    for record, point in pairs:
        accuracy = history.accuracy(record) or 0.0
        rows.append(
            (
                str(point.epoch),
                percent(accuracy),
                percent(point.test_accuracy),
                points(accuracy - point.test_accuracy),
                percent(record["train_accuracy"]),
                percent(point.train_accuracy),
                points(record["train_accuracy"] - point.train_accuracy),
                loss(record["train_loss"]),
                loss(point.train_loss),
            )
        )
    accuracies = (f"{split}, ours", "Test, theirs", "Difference")
    train = ("Train, ours", "Train, theirs", "Difference")
    columns = ("Epoch", *accuracies, *train, "Train loss, ours", "Train loss, theirs")
    losses = any(point.train_loss is not None for _, point in pairs)
    kept = len(columns) if losses else len(columns) - 2
    return Table(columns[:kept], [row[:kept] for row in rows], text=0)


def _summary(run: Run, history: History, reference: Reference) -> Table:
    system, result = reference.system, run.result
    last, best = history.last, history.best
    seconds = sum(record["seconds"] for record in history.records)
    waited = sum(record.get("evaluation_seconds", 0.0) for record in history.records)
    epoch = reference.curve.best.epoch if reference.curve else system.best_epoch
    target = ABSENT if system.target is None else f"{system.target:g} %"
    minutes = ABSENT if system.minutes is None else f"{system.minutes:.0f} min"
    rows = [
        (
            "Test accuracy, last epoch",
            percent(result["last"]["test_accuracy"] if result else None),
            f"about {reference.last:g} %" if system.rounding else percent(reference.last),
        ),
        (
            "Test accuracy, best epoch",
            percent(result["best"]["test_accuracy"] if result else None),
            percent(reference.best),
        ),
        ("Best epoch", str(best["epoch"]) if best else ABSENT, str(epoch or ABSENT)),
        (
            "Epochs",
            f"{last['epoch'] if last else 0} of {run.recipe.epochs}",
            str(system.epochs),
        ),
        ("Target", f"{history.target:g} %" if history.target else ABSENT, target),
        ("Time, training and evaluation", f"{(seconds + waited) / 60:.0f} min", minutes),
    ]
    return Table(("", "This run", "Published"), rows)


def _charts(history: History, reference: Reference, horizon: int) -> list[Picture]:
    if reference.curve is None:
        return []
    split, name = history.monitored, reference.curve.name
    theirs = [point for point in reference.curve.points if point.epoch <= horizon]
    found = [
        overlay(
            "against-accuracy.svg",
            "Accuracy in %",
            [
                *(
                    Series(
                        f"{other.name}, test",
                        "test",
                        [
                            (point.epoch, point.test_accuracy)
                            for point in other.points
                            if point.epoch <= horizon
                        ],
                        stroke="dotted",
                        faint=True,
                    )
                    for other in reference.others
                ),
                _published(f"{name}, train", "train", "train_accuracy", theirs),
                _published(f"{name}, test", "test", "test_accuracy", theirs),
                _own("this run, train", "train", "train_accuracy", history),
                _own(f"this run, {split}", "test", f"{split}_accuracy", history),
            ],
        ),
        overlay(
            "against-loss.svg",
            "Loss",
            [
                _published(f"{name}, train", "train", "train_loss", theirs),
                _published(f"{name}, test", "test", "test_loss", theirs),
                _own("this run, train", "train", "train_loss", history),
                _own(f"this run, {split}", "test", f"{split}_loss", history),
            ],
        ),
    ]
    return [picture for picture in found if picture is not None]


def _own(label: str, colour: str, key: str, history: History) -> Series:
    found = [(record["epoch"], record[key]) for record in history.records if key in record]
    return Series(label, colour, found)


def _published(label: str, colour: str, key: str, found: Sequence[Point]) -> Series:
    values = [(point.epoch, getattr(point, key)) for point in found]
    known = [(epoch, value) for epoch, value in values if value is not None]
    return Series(label, colour, known, stroke="dashed")
