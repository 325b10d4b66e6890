"""The section on where two networks differ: classes, images, pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from residua.data import Split
from residua.reports.comparison.predictions import ImageComparison, TestPredictions
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, format_p, points, signed
from residua.reports.kit.images import ImageFile, contact_sheet, picture
from residua.reports.kit.statistics import ALPHA
from residua.reports.kit.tables import Table

MAX_PICTURES = 24
MAX_CLASSES = 10
"""Classes that are shown before the table is unfolded."""


def difference_sections(
    comparisons: Sequence[ImageComparison], test: Split | None, remarks: Sequence[str]
) -> list[doc.Section]:
    """Where pairs of networks differ.

    Args:
        comparisons: of the pairs.
        test: the images of the test set, for the pictures; None where it is not at hand.
        remarks: sentences on what could not be compared.
    """
    sections = []
    for number, comparison in enumerate(comparisons, 1):
        first, second = comparison.first.label, comparison.second.label
        pictures = _pictures(comparison, test, number)
        significant = sum(row.p_holm < ALPHA for row in comparison.classes)
        by_class = class_table(comparison)
        shown = Table(by_class.columns, by_class.rows[:MAX_CLASSES])
        blocks: list[doc.Block] = [
            image_verdict(comparison),
            doc.Caption(
                f"This compares two networks ({comparison.first.network}, "
                f"{comparison.second.network}) on these images; it says nothing about other seeds "
                "of the trainings."
            ),
            doc.Heading("Classes"),
            f"{significant} of {len(comparison.classes)} classes differ significantly (exact "
            f"McNemar tests, Holm's correction for {len(comparison.classes)} classes).",
            shown,
            doc.Details("All classes", [by_class]),
            *pictures,
        ]
        title = f"Where they differ: {first} and {second}"
        label = "Where they differ" if len(comparisons) == 1 else f"Difference {number}"
        sections.append(doc.Section(title, blocks, label))
    if remarks:
        text = doc.Bullets(remarks, remarks=True)
        if sections:
            last = sections[-1]
            sections[-1] = doc.Section(last.title, [*last.blocks, text], last.label)
        else:
            sections.append(doc.Section("Where they differ", [text]))
    return sections


def image_verdict(comparison: ImageComparison) -> str:
    """What McNemar's test of two networks says."""
    test = comparison.test
    first, second = comparison.first.label, comparison.second.label
    p = f"p {format_p(test.p)}" if test.p < 0.001 else f"p = {format_p(test.p)}"
    interval = f"{signed(test.interval.low, 2)} to {points(test.interval.high)}"
    verdict = "they differ significantly" if test.p < ALPHA else "no significant difference"
    return (
        f"Of {count(test.images)} test images, {count(test.only_first)} are classified correctly "
        f"by {first} alone and {count(test.only_second)} by {second} alone: {verdict} "
        f"({points(test.difference)}, 95 % interval {interval}, exact McNemar test, {p})."
    )


def class_table(comparison: ImageComparison) -> Table:
    """Every class, the smallest p first."""
    rows = [
        (
            row.name,
            count(row.images),
            count(row.first),
            count(row.second),
            points(row.points),
            format_p(row.p),
            format_p(row.p_holm),
        )
        for row in comparison.classes
    ]
    first, second = comparison.first.label, comparison.second.label
    columns = ("Class", "Images", f"{first}: correct", f"{second}: correct", "Difference", "p")
    return Table((*columns, "p, Holm"), rows)


def _pictures(comparison: ImageComparison, test: Split | None, number: int) -> list[doc.Block]:
    if test is None or not torch.equal(test.labels.cpu(), comparison.first.labels):
        return [doc.Caption("Pictures need the test set, which is not at hand.")]
    blocks: list[doc.Block] = []
    sides = (
        ("first", comparison.only_first, comparison.first, comparison.second),
        ("second", comparison.only_second, comparison.second, comparison.first),
    )
    for side, indices, right, wrong in sides:
        blocks.append(doc.Heading(f"Only {right.label} is right"))
        if not len(indices):
            blocks.append("There is no such image.")
            continue
        chosen = _spread(indices, MAX_PICTURES)
        blocks.append(_gallery(f"differ-{number}-{side}.png", chosen, right, wrong, test))
        blocks.append(
            doc.Caption(
                f"{len(chosen)} of {count(len(indices))} images, evenly spaced. Below each: the "
                f"true class, then what {wrong.label} takes it for."
            )
        )
    return blocks


def _spread(indices: Tensor, limit: int) -> Tensor:
    """At most `limit` of the indices, evenly spaced."""
    if len(indices) <= limit:
        return indices
    return indices[torch.linspace(0, len(indices) - 1, limit).round().long()]


def _gallery(
    name: str, indices: Tensor, right: TestPredictions, wrong: TestPredictions, test: Split
) -> doc.Gallery:
    images = test.images[indices].cpu()
    tiles = []
    for image, index in zip(images, indices.tolist(), strict=True):
        true = right.classes[right.labels[index]]
        guess = right.classes[wrong.predicted[index]]
        tiles.append(doc.Tile([picture(image, f"{true}, taken for {guess}")], (true, guess)))
    alt = f"Test images that {right.label} classifies correctly and {wrong.label} does not"
    columns = ("True", f"Predicted by {wrong.label}")
    return doc.Gallery(columns, tiles, ImageFile(name, alt, contact_sheet([images])))
