"""The page of a network's mistakes: confident errors, and likely wrong labels."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from residua.files import write_atomic
from residua.inference.mistakes import Mistakes
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, percent
from residua.reports.kit.html import write_html
from residua.reports.kit.images import picture
from residua.reports.kit.tables import Table
from residua.reports.run_data import data_title
from residua.runs.model_file import ModelInfo

PAGE = "mistakes.html"
FILE = "label-errors.csv"
MAX_IMAGES = 48
"""Pictures of each kind."""
MAX_PAIRS = 15
METHOD = (
    "Confident learning (Northcutt et al., arXiv:1911.00068), pruned by class: for each label, the "
    "probabilities tell how many images likely belong to another class, and those with the least "
    "probability of their label are listed, unless the network agrees with the label. The least "
    "probable label comes first."
)
CAVEAT = (
    "A network that confuses classes is mistaken about labels too, so the estimated share is too "
    "high where accuracy is low, and further down the list more labels are right. Look at each "
    "image before you change its label."
)
IN_SAMPLE = (
    "The network was trained on these images, so it has learnt wrong labels too and gives them too "
    "high probabilities: many wrong labels are missing here. Probabilities out of sample need a "
    "network that was trained without these images, such as one with data.holdout."
)
OUT_OF_SAMPLE = "The network was not trained on these images: the probabilities are out of sample."


def write_mistakes(info: ModelInfo, mistakes: Mistakes, directory: Path) -> Path:
    """Write mistakes.html, which needs no other file, and label-errors.csv.

    Args:
        info: the description of the network.
        mistakes: what it gets wrong on a split.
        directory: where to write; it must exist.

    Returns:
        The path of the page.

    Raises:
        OSError: a file cannot be written.
    """
    write_atomic(directory / FILE, _csv(mistakes))
    path = directory / PAGE
    write_html(_document(info, mistakes), path)
    return path


def label_error_rows(mistakes: Mistakes) -> Iterator[tuple[int, str, str, float, float]]:
    """Index, label, prediction, and the probabilities of the two, of each likely wrong label."""
    classes, labels, errors = mistakes.split.classes, mistakes.split.labels, mistakes.label_errors
    columns = (errors.indices, errors.suggested, errors.self_confidence, errors.confidence)
    for index, suggested, own, confidence in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        yield index, classes[int(labels[index])], classes[suggested], own, confidence


def _csv(mistakes: Mistakes) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("index", "label", "predicted", "label_probability", "predicted_probability"))
    writer.writerows(label_error_rows(mistakes))
    return text.getvalue()


def _document(info: ModelInfo, mistakes: Mistakes) -> doc.Document:
    errors, listed, images = mistakes.confident_errors, mistakes.label_errors, len(mistakes.split)
    name = mistakes.split_name
    metrics = [
        doc.Metric("Misclassified", count(len(errors)), f"of {count(images)} images"),
        doc.Metric("Likely wrong labels", count(len(listed)), f"all of them in {FILE}"),
        doc.Metric("Estimated share", percent(100 * mistakes.noise_rate), "of wrong labels"),
    ]
    notes = [IN_SAMPLE if mistakes.in_sample else OUT_OF_SAMPLE]
    if info.selection_split == name and not info.is_last:
        notes.append(
            "The best epoch was selected on this split, which makes it a little optimistic."
        )
    return doc.Document(
        title=f"{info.recipe.name}: mistakes",
        subtitle=f"{data_title(info.recipe.data)}, {name} split · epoch {info.epoch}",
        intro=[doc.Metrics(metrics), *notes],
        sections=[
            doc.Section("Most confident errors", _error_blocks(mistakes), "Errors"),
            doc.Section("Likely wrong labels", _label_blocks(mistakes), "Labels"),
        ],
        footer="Written by residua.",
    )


def _error_blocks(mistakes: Mistakes) -> list[doc.Block]:
    split, name = mistakes.split, mistakes.split_name
    rows = []
    for index in mistakes.confident_errors[:MAX_IMAGES].tolist():
        confidence, predicted = mistakes.probabilities[index].max(0)
        label = split.classes[int(split.labels[index])]
        rows.append((index, label, split.classes[int(predicted)], float(confidence)))
    if not rows:
        return ["There are none."]
    tiles = [
        doc.Tile(
            [picture(split.images[index], f"Image labelled {label}, taken for {predicted}")],
            (predicted, f"label {label}", percent(100 * confidence)),
        )
        for index, label, predicted, confidence in rows
    ]
    table = [(f"{name}:{index}", label, guess, percent(100 * p)) for index, label, guess, p in rows]
    columns = ("Image", "Label", "Prediction", "Confidence")
    return [
        doc.Gallery(columns[1:], tiles),
        doc.Caption("Below each image: prediction, label, probability of the prediction."),
        doc.Details("As a table", [Table(columns, table, text_columns=3)]),
    ]


def _label_blocks(mistakes: Mistakes) -> list[doc.Block]:
    split, name = mistakes.split, mistakes.split_name
    rows = list(label_error_rows(mistakes))
    blocks: list[doc.Block] = [METHOD, CAVEAT]
    if not rows:
        return [*blocks, "There are none."]
    tiles = [
        doc.Tile(
            [picture(split.images[index], f"Image labelled {label}; {predicted} suggested")],
            (label, f"rather {predicted}", percent(100 * own), percent(100 * confidence)),
        )
        for index, label, predicted, own, confidence in rows[:MAX_IMAGES]
    ]
    table = [
        (f"{name}:{index}", label, predicted, percent(100 * own), percent(100 * confidence))
        for index, label, predicted, own, confidence in rows[:MAX_IMAGES]
    ]
    columns = ("Image", "Label", "Prediction", "Probability of the label", "of the prediction")
    return [
        *blocks,
        doc.Gallery(columns[1:], tiles),
        doc.Caption("Below each image: label, prediction, the probabilities of the two."),
        doc.Details("As a table", [Table(columns, table, text_columns=3)]),
        doc.Heading("Labels and predictions that are listed most often"),
        _pairs(rows),
    ]


def _pairs(rows: Sequence[tuple[int, str, str, float, float]]) -> Table:
    pairs = Counter((label, predicted) for _, label, predicted, *_ in rows)
    lines = [(*pair, count(number)) for pair, number in pairs.most_common(MAX_PAIRS)]
    return Table(("Label", "Prediction", "Images"), lines, text_columns=2)
