"""All that a report says, gathered from a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from residua.augment import Mixing
from residua.reports import headline, images
from residua.reports.against import Against, against
from residua.reports.analysis import Analysis, analysis
from residua.reports.arithmetic import arithmetic
from residua.reports.charts import charts
from residua.reports.configuration import command, flat, sections
from residua.reports.film import film
from residua.reports.gradient_chart import gradient_chart
from residua.reports.history import History, key_epochs, verdict
from residua.reports.picture import Film, Picture
from residua.reports.published import Reference
from residua.reports.recognition import Recognition, recognition
from residua.reports.structure import Structure, structure
from residua.reports.table import Card, Table
from residua.reports.words import count, loss, number, percent
from residua.runs import artifacts as artifacts
from residua.runs.run import Run


@dataclass(frozen=True)
class Example:
    """A training image before and after augmentation."""

    before: str
    """A data address, as is `after`."""
    after: str
    label: str


@dataclass(frozen=True)
class Content:
    """All that a report says."""

    name: str
    started: str
    notes: list[str]
    cards: list[Card]
    sections: dict[str, list[tuple[str, str]]]
    recipe_json: str
    command: str
    environment: list[tuple[str, str]]
    structure: Structure | None
    stages: Table | None
    layers: Table | None
    history: History
    charts: list[Picture]
    film: Film | None
    """The training as an animation, once it is over."""
    mixes: bool
    """Whether training images are mixed, so that training accuracy means less."""
    key_epochs: Table
    gaps: list[tuple[str, str, str]]
    """Epoch, gap, and what it says."""
    recognition: Recognition | None
    examples: list[Example]
    sheet: Picture | None
    """The examples as one picture."""
    against: Against | None
    """The run beside a published one."""
    analysis: Analysis | None

    @property
    def pictures(self) -> list[Picture]:
        """The files that the Markdown links to."""
        found = self.recognition
        others = [self.film, self.sheet, *((found.matrix, found.sheet) if found else ())]
        held = self.against.charts if self.against else []
        return [*self.charts, *held, *(picture for picture in others if picture is not None)]


def content(run: Run, reference: Reference | None = None, siblings: Sequence[Run] = ()) -> Content:
    """Read a run, finished or not, and nothing else.

    Args:
        run: the run.
        reference: the published system that it is held against.
        siblings: runs of the same recipe with other seeds.
    """
    recipe, history = run.recipe, History.of(run)
    samples, predictions = artifacts.samples(run), artifacts.predictions(run)
    anatomy, computed = None, None
    if (shown := samples or predictions) is not None:
        pictures = shown.originals if isinstance(shown, artifacts.Samples) else shown.images
        classes, size = len(shown.classes), pictures.shape[-1]
        anatomy = structure(recipe.architecture, classes, size)
        computed = arithmetic(recipe, history, classes, size)
    examples: list[Example] = []
    sheet = None
    if samples is not None and len(samples.labels):
        examples = [
            Example(images.address(before), images.address(after), samples.classes[label])
            for before, after, label in zip(
                samples.originals, samples.augmented, samples.labels.tolist(), strict=True
            )
        ]
        alt = "Training images, and below each what augmentation made of it"
        drawn = images.sheet([samples.originals, samples.augmented])
        sheet = Picture("augmentation.png", alt, drawn)
    return Content(
        name=recipe.name,
        started=str(run.environment.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        notes=headline.notes(run, history),
        cards=headline.cards(run, history, anatomy, computed),
        sections=sections(recipe),
        recipe_json=json.dumps(recipe.model_dump(mode="json"), indent=2),
        command=command(recipe),
        environment=list(flat(run.environment)),
        structure=anatomy,
        stages=None if anatomy is None else _stages(anatomy),
        layers=None if anatomy is None else _layers(anatomy),
        history=history,
        charts=[*charts(history), *gradient_chart(history)],
        film=film(history, artifacts.filters(run)) if run.result else None,
        mixes=any(isinstance(each, Mixing) for each in recipe.augmentation),
        key_epochs=_key_epochs(history),
        gaps=_gaps(history),
        recognition=recognition(predictions) if predictions and len(predictions.labels) else None,
        examples=examples,
        sheet=sheet,
        against=against(run, history, reference, siblings) if reference else None,
        analysis=analysis(run, history),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in shape)


def _stages(anatomy: Structure) -> Table:
    rows = [
        (_part(part.name), _shape(part.shape), count(part.parameters), count(part.multiply_adds))
        for part in anatomy.parts
    ]
    summary = anatomy.summary
    total = ("Total", "", count(summary.parameters), count(summary.multiply_adds))
    return Table(("Part", "Output", "Parameters", "Multiply-adds"), [*rows, total], text=2)


def _part(name: str) -> str:
    stem, _, place = name.partition(".")
    return f"Stage {int(place) + 1}" if place else stem.capitalize()


def _layers(anatomy: Structure) -> Table:
    rows = [
        (row.name, row.kind, _shape(row.shape), count(row.parameters), count(row.multiply_adds))
        for row in anatomy.summary.layers
    ]
    return Table(("Layer", "Kind", "Output", "Parameters", "Multiply-adds"), rows, text=3)


def _key_epochs(history: History) -> Table:
    split = history.monitored
    rows = [
        (
            str(record["epoch"]),
            reason,
            loss(record["train_loss"]),
            percent(record["train_accuracy"]),
            loss(record.get(f"{split}_loss")),
            percent(record.get(f"{split}_accuracy")),
            number(record["lr"]),
            number(record["grad_norm"]),
        )
        for record, reason in key_epochs(history)
    ]
    measured = ("Train loss", "Train accuracy", f"{split} loss", f"{split} accuracy")
    columns = ("Epoch", "Which", *measured, "Learning rate", "Gradient norm")
    return Table([f"{column[0].upper()}{column[1:]}" for column in columns], rows, text=2)


def _gaps(history: History) -> list[tuple[str, str, str]]:
    named = [(history.best, "best")]
    if history.last is not history.best:
        named.append((history.last, "last"))
    found = []
    for record, which in named:
        gap = None if record is None else history.gap(record)
        if record is not None and gap is not None:
            text = percent(gap, signed=True).replace("%", "points")
            found.append((f"{which} epoch ({record['epoch']})", text, verdict(gap)))
    return found
