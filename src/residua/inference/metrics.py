"""Figures of an evaluation, as pure functions of logits and labels.

Percentages are in percent. Macro figures are means over the classes that have images.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from residua.inference.calibration import apply_temperature, expected_calibration_error, reliability
from residua.inference.uncertainty import bootstrap_intervals, wilson_interval
from residua.runs.evaluations import ClassFigures, ConfusedPair, Figures, Intervals

LOSS_CHUNK = 500
"""Losses are summed in chunks, as an evaluation in batches does."""
MAX_CONFUSED = 15
MAX_MATRIX_CLASSES = 100
"""The confusion matrix of more classes is not kept: it grows with the square of their number."""


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats.

    Args:
        logits: (N, K) float32.
        labels: (N,) int64.
    """
    losses = [
        F.cross_entropy(
            logits[start : start + LOSS_CHUNK], labels[start : start + LOSS_CHUNK], reduction="sum"
        )
        for start in range(0, len(labels), LOSS_CHUNK)
    ]
    return float(torch.stack(losses).double().sum()) / len(labels)


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """How often the label is among the k largest logits, in percent.

    Args:
        logits: (N, K).
        labels: (N,) int64.
        k: at most K.
    """
    best = logits.topk(k, dim=1).indices
    return 100 * int((best == labels[:, None]).any(1).sum()) / len(labels)


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count predictions.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        classes: K.

    Returns:
        (K, K) int64, true by predicted.
    """
    cells = labels * classes + predicted
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_figures(
    labels: Tensor, predicted: Tensor, names: Sequence[str]
) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of each class; 0 where nothing is divided by nothing.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        names: of the classes; there may be very many.
    """
    images, guesses, correct = (
        torch.bincount(indices, minlength=len(names))
        for indices in (labels, predicted, labels[labels == predicted])
    )
    columns = (
        images,
        guesses,
        correct,
        _share(correct, guesses),
        _share(correct, images),
        _share(2 * correct, images + guesses),
    )
    fields = ("images", "predicted", "correct", "precision", "recall", "f1")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(
        ClassFigures(name=name, **dict(zip(fields, row, strict=True)))
        for name, row in zip(names, rows, strict=True)
    )


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return 100 * part.double() / whole.clamp(min=1)


def most_confused(
    labels: Tensor, predicted: Tensor, names: Sequence[str], limit: int = MAX_CONFUSED
) -> tuple[ConfusedPair, ...]:
    """The pairs of classes that are confused most often, at most `limit`.

    Args:
        labels: (N,) int64.
        predicted: (N,) int64.
        names: of the classes; there may be very many.
        limit: the number of pairs.
    """
    images = torch.bincount(labels, minlength=len(names))
    wrong = predicted != labels
    confused = (labels * len(names) + predicted)[wrong]
    cells, counts = torch.unique(confused, return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:limit]
    pairs = []
    for cell, times in zip(cells[order].tolist(), counts[order].tolist(), strict=True):
        true, guess = divmod(cell, len(names))
        share = 100 * times / int(images[true])
        pairs.append(
            ConfusedPair(true=names[true], predicted=names[guess], count=times, share=share)
        )
    return tuple(pairs)


def figures(
    logits: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    superclass_of: Sequence[int] = (),
    superclasses: Sequence[str] = (),
    temperature: float | None = None,
    seed: int = 0,
) -> Figures:
    """All figures of an evaluation.

    Args:
        logits: (N, K) float32, on the CPU.
        labels: (N,) int64.
        classes: the names of the K classes.
        superclass_of: the superclass of each class; empty where there are none.
        superclasses: their names.
        temperature: fitted on other images; None for none.
        seed: of the bootstrap.
    """
    predicted, probabilities = logits.argmax(1), logits.softmax(1)
    confidence = probabilities.gather(1, predicted[:, None]).flatten()
    by_class = class_figures(labels, predicted, classes)
    present = [row for row in by_class if row.images]
    correct = int((predicted == labels).sum())
    coarse: tuple[ClassFigures, ...] = ()
    if superclass_of:
        members = torch.tensor(superclass_of)
        coarse = class_figures(members[labels], members[predicted], superclasses)
    confusion: list[tuple[int, ...]] = []
    if len(classes) <= MAX_MATRIX_CLASSES:
        confusion = confusion_matrix(labels, predicted, len(classes)).tolist()
    accuracy, macro_f1, ece = bootstrap_intervals(
        labels, predicted, confidence, len(classes), seed=seed
    )
    return Figures(
        images=len(labels),
        loss=mean_loss(logits, labels),
        accuracy=100 * correct / len(labels),
        top5=top_k_accuracy(logits, labels, 5) if len(classes) > 5 else None,
        balanced_accuracy=_mean([row.recall for row in present]),
        macro_precision=_mean([row.precision for row in present]),
        macro_f1=_mean([row.f1 for row in present]),
        ece=expected_calibration_error(confidence, predicted == labels),
        intervals=Intervals(
            accuracy_wilson=wilson_interval(correct, len(labels)),
            accuracy=accuracy,
            macro_f1=macro_f1,
            ece=ece,
        ),
        reliability=reliability(confidence, predicted == labels),
        calibrated=(
            None if temperature is None else apply_temperature(logits, labels, temperature)
        ),
        classes=by_class,
        superclass_accuracy=(
            100 * sum(row.correct for row in coarse) / len(labels) if coarse else None
        ),
        superclasses=coarse,
        confused=most_confused(labels, predicted, classes),
        confusion=tuple(map(tuple, confusion)),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
