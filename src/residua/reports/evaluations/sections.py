"""The sections of a run's report on its stored evaluations."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from residua.reports.evaluations.charts import corruption_charts, reliability_diagram
from residua.reports.evaluations.tables import (
    VIEW_NAMES,
    class_table,
    confused_table,
    corruption_table,
    evaluation_title,
    figures_table,
    named_views,
    reliability_table,
)
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import percent
from residua.reports.run_report.class_results import confusion_image
from residua.runs.evaluations import CorruptionRecord, EvaluationRecord

MAX_CONFUSED = 8
INTERVALS = (
    "Intervals in brackets are 95 % over images: Wilson's for the accuracy, 1,000 bootstrap "
    "resamples for macro F1 and calibration error. They say nothing about other seeds of the "
    "training."
)
TRAINING_MODE = (
    "Figures of the training mode use the statistics of each batch, and dropout is active. They "
    "are not those of the saved network, and only compare with figures that were measured so."
)


def evaluation_sections(
    evaluations: Sequence[EvaluationRecord], corruptions: CorruptionRecord | None
) -> list[doc.Section]:
    """What `residua evaluate` stored in the run: the test set first, other evaluations folded."""
    sections = []
    if evaluations:
        first, *others = sorted(evaluations, key=lambda record: record.name != "test")
        blocks = [
            doc.Heading(evaluation_title(first)),
            *_blocks(first),
            *(doc.Details(evaluation_title(record), _blocks(record)) for record in others),
            doc.Caption(INTERVALS),
        ]
        sections.append(doc.Section("Evaluation", blocks))
    if corruptions is not None:
        sections.append(_corruption_section(corruptions))
    return sections


def _blocks(record: EvaluationRecord) -> list[doc.Block]:
    blocks: list[doc.Block] = [figures_table(named_views(record))]
    if record.mode == "train":
        blocks.append(doc.Caption(TRAINING_MODE))
    # Where there is test-time augmentation, the network is used with it.
    tta, figures = list(record.views.items())[-1]
    series = {"as trained": figures.reliability}
    if figures.calibrated is not None:
        series["at the holdout's temperature"] = figures.calibrated.reliability
    confused = confused_table(figures.confused[:MAX_CONFUSED])
    most: list[doc.Block] = [doc.Heading("Most confused"), confused]
    if not confused.rows:
        most = ["No image was misclassified."]
    name = f"reliability-{record.name}.svg"
    blocks.append(doc.Columns([[doc.Figures(reliability_diagram(name, series))], most]))
    if figures.superclasses:
        blocks.append(
            doc.Details("All superclasses", [class_table(figures.superclasses, "Superclass")])
        )
    if figures.confusion:
        names = [row.name for row in figures.classes]
        matrix = confusion_image(torch.tensor(figures.confusion), names)
        suffix = matrix.name.rpartition(".")[2]
        image = replace(matrix, name=f"confusion-{record.name}.{suffix}")
        blocks.append(doc.Details("Confusion matrix", [doc.Figures([image], wide=True)]))
    blocks += [
        doc.Details("All classes", [class_table(figures.classes, "Class")]),
        doc.Details("The reliability diagram as a table", [reliability_table(figures.reliability)]),
    ]
    if len(record.views) > 1:
        blocks.append(
            doc.Caption(
                f"Diagram, pairs and classes are those of {VIEW_NAMES[tta]}, not of single views."
            )
        )
    return blocks


def _corruption_section(record: CorruptionRecord) -> doc.Section:
    text = (
        f"The mean corruption error is {percent(record.mean_error)} on {record.images:,} images; "
        f"on the clean images the error is {percent(100 - record.clean)}. It is not normalised by "
        "another network."
    )
    caption = (
        "The 15 corruptions of CIFAR-C (Hendrycks and Dietterich, arXiv:1903.12261), generated "
        "with its constants. Frost is a procedural texture instead of photographs: that row "
        "cannot be compared with published ones."
    )
    if "frost" not in record.accuracies:
        caption = caption.partition(" Frost")[0]
    return doc.Section(
        "Corrupted images",
        [
            text,
            doc.Figures(corruption_charts(record)),
            doc.Details("Accuracy by kind and severity", [corruption_table(record)]),
            doc.Caption(caption),
        ],
        "Corruptions",
    )
