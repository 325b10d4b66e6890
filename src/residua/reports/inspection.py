"""The page of `residua data inspect`: what is in a data set of files."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from residua.data.inspection import DuplicateGroup, Inspection
from residua.files import write_atomic
from residua.reports.kit import document as doc
from residua.reports.kit.formatting import count, percent
from residua.reports.kit.html import write_html
from residua.reports.kit.images import ImageFile, contact_sheet, picture
from residua.reports.kit.tables import Table

MAX_ROWS = 50
"""The longest list of files on the page; `--json` has all."""


def write_inspection(inspection: Inspection, command: str, directory: Path) -> Path:
    """Write inspection.html and contact-sheet.png.

    Args:
        inspection: of the data set.
        command: the suggested one.
        directory: where to write; created.

    Returns:
        The path of the page.

    Raises:
        OSError: a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / "inspection.html"
    sheet = contact_sheet(_rows(inspection), columns=len(inspection.samples))
    write_atomic(directory / "contact-sheet.png", sheet)
    write_html(_document(inspection, command, sheet), page)
    return page


def classes_table(inspection: Inspection) -> Table:
    """How many pictures each class has in each split."""
    counts = inspection.counts
    splits = list(inspection.splits)
    rows = [(label, *(count(of_class.get(name, 0)) for name in splits))
            for label, of_class in counts.items()]  # fmt: skip
    total = ("all classes", *(count(number) for number in inspection.splits.values()))
    return Table(("Class", *splits), [*rows, total], total=True)


def sizes_table(inspection: Inspection) -> Table:
    """A histogram of the pictures' sizes, by powers of two of the short side."""
    sides = Counter(
        int(math.log2(max(1, min(picture.width, picture.height))))
        for picture in inspection.pictures
    )
    total = sum(sides.values())
    rows = [
        (f"{2**power} to {2 ** (power + 1) - 1}", "█" * max(1, round(20 * number / total)),
         count(number), percent(100 * number / total))
        for power, number in sorted(sides.items())
    ]  # fmt: skip
    return Table(("Short side, pixels", "", "Pictures", "Share"), rows, text_columns=2)


def kinds_table(inspection: Inspection) -> Table:
    """How many pictures have which colour mode and file type."""
    kinds = Counter((picture.path.suffix.lower(), picture.mode) for picture in inspection.pictures)
    rows = [(suffix, mode, count(number)) for (suffix, mode), number in kinds.most_common()]
    return Table(("File type", "Colour mode", "Pictures"), rows, text_columns=2)


def _document(inspection: Inspection, command: str, sheet: bytes) -> doc.Document:
    pictures = len(inspection.pictures)
    crossing = sum(group.crosses_splits for group in (*inspection.exact, *inspection.near))
    metrics = [
        doc.Metric("Pictures", count(pictures), inspection.layout),
        doc.Metric("Classes", count(len(inspection.classes))),
        doc.Metric("Unreadable", count(len(inspection.unreadable))),
        doc.Metric(
            "Duplicates",
            count(len(inspection.exact) + len(inspection.near)),
            f"{crossing:,} in two splits",
        ),
    ]
    sections = [
        doc.Section("Train on it", [doc.Code(command)]),
        doc.Section("Classes", [classes_table(inspection)]),
        doc.Section("Sizes", [sizes_table(inspection), kinds_table(inspection)]),
        doc.Section("Duplicates", _duplicates(inspection)),
        doc.Section("Unreadable files", _unreadable(inspection)),
        doc.Section("Contact sheet", [_gallery(inspection, sheet)]),
    ]
    return doc.Document(
        title=inspection.path.absolute().name,
        subtitle="What is in the data set",
        intro=[doc.Metrics(metrics), *inspection.notes],
        sections=sections,
        footer="Written by residua data inspect.",
    )


def _duplicates(inspection: Inspection) -> list[doc.Block]:
    blocks: list[doc.Block] = []
    for title, groups in (
        ("Equal files", inspection.exact),
        ("Pictures that look the same", inspection.near),
    ):
        blocks.append(doc.Heading(title))
        blocks.append(_groups_table(groups, inspection.path) if groups else "There are none.")
    return blocks


def _groups_table(groups: Sequence[DuplicateGroup], root: Path) -> doc.Block:
    # What spoils a training first.
    ordered = sorted(groups, key=lambda group: (not group.crosses_splits, not group.crosses_labels))
    rows = [
        (
            "; ".join(_relative(path, root) for path in group.paths[:4])
            + ("; ..." if len(group.paths) > 4 else ""),
            ", ".join(sorted(set(group.splits))),
            ", ".join(sorted(set(group.labels))),
        )
        for group in ordered[:MAX_ROWS]
    ]
    return Table(("Files", "Splits", "Classes"), rows, text_columns=3)


def _unreadable(inspection: Inspection) -> list[doc.Block]:
    if not inspection.unreadable:
        return ["There are none."]
    rows = [
        (_relative(error.path, inspection.path), error.reason)
        for error in inspection.unreadable[:MAX_ROWS]
    ]
    return [Table(("File", "Reason"), rows, text_columns=2)]


def _relative(path: Path, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _gallery(inspection: Inspection, sheet: bytes) -> doc.Block:
    if not inspection.samples:
        return "No picture can be read."
    tiles = [
        doc.Tile([picture(image, label) for image in _tensor(inspection, label)], [label])
        for label in inspection.samples
    ]
    alt = "The first pictures of each class, stretched to squares"
    return doc.Gallery(["Class"], tiles, ImageFile("contact-sheet.png", alt, sheet))


def _tensor(inspection: Inspection, label: str) -> Tensor:
    """(M, 3, H, W) uint8."""
    return torch.from_numpy(inspection.samples[label]).permute(0, 3, 1, 2)


def _rows(inspection: Inspection) -> list[Tensor]:
    """The contact sheet, a column for each class: (classes, 3, H, W) uint8 for each row."""
    columns = [_tensor(inspection, label) for label in inspection.samples]
    blank = torch.full_like(columns[0][0], 255)
    return [
        torch.stack([column[row] if row < len(column) else blank for column in columns])
        for row in range(max(map(len, columns)))
    ]
