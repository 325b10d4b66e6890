"""Which classes a finished run's network knows, which it confuses, and where it is mistaken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from residua.inference.metrics import confusion_matrix, most_confused
from residua.reports.evaluations.tables import confused_table
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import percent, without_controls
from residua.reports.kit.html import TEMPLATES
from residua.reports.kit.images import COLORS, ImageFile, contact_sheet, picture, png
from residua.reports.kit.tables import Table
from residua.runs.artifacts import Predictions

MAX_NAMED_CLASSES = 30
"""The confusion matrix of more classes is drawn without names and counts."""
MAX_DRAWN_CLASSES = 500
"""The confusion matrix of more classes is not drawn: its memory grows with the square of their
number, the time to order them with the cube."""
MAX_EXTREMES = 10
"""Best and worst classes shown."""
MAX_NAME_LENGTH = 18
NO_PREDICTIONS = (
    "The predictions of the last and the best epoch are saved when the run finishes: there are "
    "none yet."
)


@dataclass(frozen=True)
class ClassAccuracy:
    """How many images of a class were classified correctly."""

    name: str
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.correct / self.images


def class_section(predictions: Predictions | None) -> doc.Section:
    """Confusion matrix, confused pairs, best and worst classes."""
    if predictions is None:
        return doc.Section("Classes", [NO_PREDICTIONS])
    names = predictions.classes
    confused = confused_table(most_confused(predictions.labels, predictions.best, names))
    table = confused if confused.rows else "No image was misclassified."
    most: list[doc.Block] = [doc.Heading("Most confused"), table]
    ranked = class_accuracies(predictions.labels, predictions.best, names)
    shown = min(MAX_EXTREMES, max(1, len(ranked) // 2))
    best = _accuracy_table("Best classes", ranked[:shown])
    worst = _accuracy_table("Worst classes", ranked[::-1][:shown])
    drawing = _confusion_drawing(predictions)
    side_by_side = MAX_NAMED_CLASSES < len(names) <= MAX_DRAWN_CLASSES
    confusion = [doc.Columns([drawing, most])] if side_by_side else [*drawing, *most]
    return doc.Section("Classes", [*confusion, doc.Columns([[best], [worst]])])


def _confusion_drawing(predictions: Predictions) -> list[doc.Block]:
    """The confusion matrix and its caption; of very many classes a sentence."""
    names = predictions.classes
    if len(names) > MAX_DRAWN_CLASSES:
        return [
            f"The confusion matrix of {len(names):,} classes is not drawn: up to "
            f"{MAX_DRAWN_CLASSES} are."
        ]
    caption = (
        f"The best epoch's network on the {predictions.split} set. Rows are true classes, columns "
        "predicted ones; "
        "correct predictions are blue, mistakes orange. Classes that are often confused are "
        "neighbours."
    )
    if len(names) > MAX_NAMED_CLASSES:
        caption += " Stronger colours are larger shares of the class; the table has the names."
    matrix = confusion_matrix(predictions.labels, predictions.best, len(names))
    return [doc.Figures([confusion_image(matrix, names)], wide=True), doc.Caption(caption)]


def _accuracy_table(title: str, classes: Sequence[ClassAccuracy]) -> Table:
    rows = [
        (c.name, "█" * round(c.accuracy / 5), percent(c.accuracy), f"{c.correct} of {c.images}")
        for c in classes
    ]
    return Table((title, "", "Accuracy", "Correct"), rows, text_columns=2)


def mistakes_section(predictions: Predictions | None) -> doc.Section:
    """The mistakes that the network was most confident of."""
    title, label = "Most confident mistakes", "Mistakes"
    if predictions is None:
        return doc.Section(title, [NO_PREDICTIONS], label)
    if not len(predictions.images):
        return doc.Section(title, ["There are none."], label)
    labels, predicted = (
        [predictions.classes[index] for index in indices[predictions.mistakes].tolist()]
        for indices in (predictions.labels, predictions.best)
    )
    tiles = [
        doc.Tile([picture(image, f"{true}, taken for {guess}")], (guess, true, percent(100 * p)))
        for image, true, guess, p in zip(
            predictions.images, labels, predicted, predictions.confidence.tolist(), strict=True
        )
    ]
    alt = "The most confident mistakes, the most confident first"
    sheet = ImageFile("mistakes.png", alt, contact_sheet([predictions.images]))
    caption = doc.Caption("Below each image: prediction of the best epoch, true class, confidence.")
    gallery = doc.Gallery(("Predicted", "True", "Confidence"), tiles, sheet)
    return doc.Section(title, [gallery, caption], label)


def class_accuracies(
    labels: Tensor, predicted: Tensor, names: Sequence[str]
) -> list[ClassAccuracy]:
    """The accuracy of each class that has images, the highest first.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        names: of the classes.
    """
    images = torch.bincount(labels, minlength=len(names)).tolist()
    correct = torch.bincount(labels[predicted == labels], minlength=len(names)).tolist()
    counts = zip(names, correct, images, strict=True)
    accuracies = [ClassAccuracy(*values) for values in counts if values[2]]
    return sorted(accuracies, key=lambda result: (-result.accuracy, result.name))


def confusion_order(matrix: Tensor) -> Tensor:
    """An order (K,) int64 of the classes in which confused ones are near one another.

    Chains of classes, at first of one class each, are joined pair by pair: always those with the
    highest mean confusion between them, by the ends that are confused most.
    """
    mutual = (matrix + matrix.T).double()
    chains = [[index] for index in range(len(mutual))]
    between, sizes = mutual.clone(), torch.ones(len(mutual), dtype=torch.float64)
    while len(chains) > 1:
        mean = (between / (sizes[:, None] * sizes)).fill_diagonal_(-1)
        first, second = sorted(divmod(int(mean.argmax()), len(chains)))
        chains[first] = _join(chains[first], chains.pop(second), mutual)
        between[first] += between[second]
        between[:, first] += between[:, second]
        sizes[first] += sizes[second]
        remaining = torch.arange(len(sizes)) != second
        between, sizes = between[remaining][:, remaining], sizes[remaining]
    return torch.tensor(chains[0])


def _join(left: list[int], right: list[int], mutual: Tensor) -> list[int]:
    orientations = [(a, b) for a in (left, left[::-1]) for b in (right, right[::-1])]
    first, second = max(orientations, key=lambda pair: float(mutual[pair[0][-1], pair[1][0]]))
    return first + second


def confusion_image(matrix: Tensor, names: Sequence[str]) -> ImageFile:
    """The confusion matrix with its classes ordered: an SVG of few classes, a PNG of many."""
    order = confusion_order(matrix)
    ordered = matrix[order][:, order]
    shares = ordered / ordered.sum(1, keepdim=True).clamp(min=1)
    alt = f"Confusion matrix of {len(names)} classes, true by predicted"
    if len(names) > MAX_NAMED_CLASSES:
        return ImageFile("confusion.png", alt, _confusion_pixels(shares))
    labels = [names[index] for index in order.tolist()]
    short = [
        name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"
        for name in labels
    ]
    template = TEMPLATES.get_template("confusion.svg.jinja")
    svg = template.render(counts=ordered.tolist(), shares=shares.tolist(), names=short, alt=alt)
    return ImageFile("confusion.svg", alt, without_controls(svg).encode())


def _confusion_pixels(shares: Tensor, scale: int = 8) -> bytes:
    """Shares (K, K) as a PNG: correct ones blue, wrong ones orange, zero transparent."""
    correct = torch.eye(len(shares), dtype=torch.bool)
    # The square root makes a few mistakes visible beside many correct predictions.
    relative = shares / shares[~correct].max().clamp(min=1e-9)
    opacity = torch.where(correct, shares, relative).sqrt()
    colors = [tuple(bytes.fromhex(COLORS[name][1:])) for name in ("test", "train")]
    pixels = np.empty((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(correct[..., None], *colors)
    pixels[..., 3] = (255 * opacity).round().to(torch.uint8).numpy()
    size = (len(shares) * scale,) * 2
    return png(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))
