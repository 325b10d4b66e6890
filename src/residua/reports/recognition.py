"""What a finished run knows of its classes, and where it errs."""

from dataclasses import dataclass

from residua.reports import images
from residua.reports.classes import ClassScore, adjacent, confusion, most_confused, scores
from residua.reports.picture import Picture
from residua.reports.table import Table
from residua.reports.templates import matrix_drawing
from residua.reports.words import count, percent
from residua.runs.artifacts import Predictions

FEW_CLASSES = 30
"""Up to so many, the confusion matrix is written out."""
PAIRS = 15
EXTREMES = 10


@dataclass(frozen=True)
class Mistake:
    """A test image that the best network took for something else."""

    image: str
    """A data address."""
    true: str
    predicted: str
    confidence: str


@dataclass(frozen=True)
class Recognition:
    """What a finished run says of its classes and its mistakes."""

    matrix: Picture
    written: bool
    """Whether the matrix names its classes."""
    pairs: Table
    best: list[ClassScore]
    worst: list[ClassScore]
    mistakes: list[Mistake]
    sheet: Picture | None
    """The mistakes as one picture."""


def recognition(predictions: Predictions) -> Recognition:
    """What the best epoch's network made of the test set, which has at least one image."""
    names = predictions.classes
    matrix = confusion(predictions.labels, predictions.best, len(names))
    order = adjacent(matrix)
    ordered, sorted_names = matrix[order][:, order], [names[place] for place in order.tolist()]
    few = len(names) <= FEW_CLASSES
    alt = f"Confusion matrix of {len(names)} classes, true by predicted"
    if few:
        drawn = matrix_drawing(ordered, sorted_names, alt)
        picture = Picture("confusion.svg", alt, drawn.encode())
    else:
        picture = Picture("confusion.png", alt, images.matrix_picture(ordered))
    pairs = most_confused(matrix, names, PAIRS)
    ranked = scores(matrix, names)
    shown = min(EXTREMES, max(1, len(ranked) // 2))
    return Recognition(
        matrix=picture,
        written=few,
        pairs=Table(
            ("True", "Predicted", "Images", "Of the class"),
            [(p.true, p.predicted, count(p.count), percent(p.share)) for p in pairs],
            text=2,
        ),
        best=ranked[:shown],
        worst=ranked[::-1][:shown],
        mistakes=_mistakes(predictions),
        sheet=_mistakes_sheet(predictions),
    )


def _mistakes(predictions: Predictions) -> list[Mistake]:
    labels = predictions.labels[predictions.mistakes].tolist()
    guesses = predictions.best[predictions.mistakes].tolist()
    return [
        Mistake(
            images.address(image),
            predictions.classes[label],
            predictions.classes[guess],
            percent(100 * sure),
        )
        for image, label, guess, sure in zip(
            predictions.images, labels, guesses, predictions.confidence.tolist(), strict=True
        )
    ]


def _mistakes_sheet(predictions: Predictions) -> Picture | None:
    if not len(predictions.images):
        return None
    alt = "The most confident mistakes, the most confident first"
    return Picture("mistakes.png", alt, images.sheet([predictions.images]))
