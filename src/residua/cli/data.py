"""`residua data get`, `residua data verify` and `residua data inspect`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from residua.cli.app import app
from residua.cli.output import printable
from residua.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from residua.data.archive import Archive
    from residua.data.inspection import Advice, DuplicateGroup, Inspection

data = App(name="data", help="Download data sets, check them, and look at your own.")
app.command(data)
DataSet = Literal["cifar100", "cifar10"]


def _archive(name: DataSet) -> "Archive":
    from residua.data import archive

    return {"cifar100": archive.CIFAR100, "cifar10": archive.CIFAR10}[name]


@data.command
def get(name: DataSet, /, *, root: Path | None = None) -> None:
    """Download a data set; an interrupted download is continued.

    The official source comes first. Where it is slow or gone, a second one with the same file is
    used; its pixels and labels are checked against the official ones.

    Parameters
    ----------
    name
        The data set.
    root
        The directory to put it in; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.cli.console import console, download_progress
    from residua.data import archive
    from residua.data.download import fetch

    target = archive.data_root(root)
    with download_progress(name) as progress:
        fetched = fetch(
            _archive(name), target, progress, notify=lambda text: console.print(text, markup=False)
        )
    state = "there already" if fetched.cached else f"complete, from {fetched.url}"
    print(f"{fetched.folder}: {state}; checksums match")


@data.command
def verify(name: DataSet = "cifar100", /, *, root: Path | None = None) -> None:
    """Check a data set's files against their checksums; exits with 2 if one is wrong.

    Parameters
    ----------
    name
        The data set.
    root
        The directory that it is in; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.data import archive

    target = archive.data_root(root)
    results = archive.verify(_archive(name), target)
    for result in results:
        state = "ok" if result.ok else f"wrong: {result.actual}" if result.actual else "missing"
        print(f"{result.path}  {result.expected}  {state}")
    if not all(result.ok for result in results):
        raise UserError(f"{name} is incomplete in {target}: run `residua data get {name}`")


@data.command
def inspect(
    path: Path,
    /,
    *,
    output: Path | None = None,
    test_fraction: float | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Look at your own pictures: classes, sizes, duplicates, unreadable files, a fitting recipe.

    Parameters
    ----------
    path
        A folder of pictures or a .csv or .tsv table of them, as `--data.path` takes it.
    output
        A directory for inspection.html, with a contact sheet, and contact-sheet.png.
    test_fraction
        The part of each class that is held out where there is no test set; left out: 0.2.
    json
        Print everything as JSON instead.
    """
    from residua.cli.console import console, reading_progress
    from residua.data import inspection
    from residua.reports.inspection import write_inspection

    if test_fraction is not None and not 0 < test_fraction < 1:
        raise UserError(f"--test-fraction must be between 0 and 1 (got {test_fraction:g})")
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"{output} is not a directory")
    with reading_progress():
        found = inspection.inspect(path, test_fraction)
    advice = inspection.suggest(found)
    command = _command(found, advice)
    page = write_inspection(found, command, output) if output is not None else None
    if json:
        from json import dumps

        print(dumps(_tree(found, command), indent=2))
        return
    _show(found, advice, command)
    if page is not None:
        console.print(str(page), markup=False)


def _command(found: "Inspection", advice: "Advice") -> str:
    """The suggested training as typed."""
    words = ["residua", "train", advice.recipe, "--data.kind", "folder"]
    words += ["--data.path", str(found.path), "--epochs", str(advice.epochs), *advice.options]
    return shlex.join(words)


def _show(found: "Inspection", advice: "Advice", command: str) -> None:
    from rich.markup import escape

    from residua.cli.console import console
    from residua.reports.inspection import classes_table, kinds_table, sizes_table
    from residua.reports.kit.tables import terminal_table

    console.print(
        f"{len(found.pictures):,} pictures of {len(found.classes):,} classes in "
        f"{printable(str(found.path))}: {printable(found.layout)}",
        markup=False,
    )
    for note in found.notes:
        console.print(f"[yellow]{escape(printable(note))}[/]")
    for table in (classes_table(found), sizes_table(found), kinds_table(found)):
        console.print()
        console.print(terminal_table(table))
    console.print()
    for title, groups in (
        ("Equal files", found.exact),
        ("Pictures that look the same", found.near),
    ):
        crossing = [group for group in groups if group.crosses_splits]
        labels = [group for group in groups if group.crosses_labels]
        console.print(
            f"{title}: {len(groups):,} groups; {len(crossing):,} in two splits, {len(labels):,} in "
            "two classes"
        )
        for group in (*crossing, *labels)[:3]:
            paths = ", ".join(printable(str(path)) for path in group.paths[:3])
            console.print(f"  {paths}", markup=False)
    console.print(f"Unreadable: {len(found.unreadable):,}")
    for error in found.unreadable[:5]:
        console.print(f"  {printable(f'{error.path}: {error.reason}')}", markup=False)
    console.print()
    for reason in advice.reasons:
        console.print(reason, markup=False)
    console.print(f"To train: {command}", markup=False)


def _tree(found: "Inspection", command: str) -> dict[str, Any]:
    """Everything that was found, as JSON."""

    def groups(listed: "Sequence[DuplicateGroup]") -> list[dict[str, Any]]:
        return [
            {
                "paths": [str(path) for path in group.paths],
                "labels": list(group.labels),
                "splits": list(group.splits),
            }
            for group in listed
        ]

    return {
        "path": str(found.path),
        "layout": found.layout,
        "notes": list(found.notes),
        "classes": found.counts,
        "pictures": [
            {
                "path": str(picture.path),
                "label": picture.label,
                "split": picture.split,
                "width": picture.width,
                "height": picture.height,
                "mode": picture.mode,
                "sha256": picture.sha256,
            }
            for picture in found.pictures
        ],
        "duplicates": groups(found.exact),
        "near_duplicates": groups(found.near),
        "unreadable": [
            {"path": str(error.path), "reason": error.reason} for error in found.unreadable
        ],
        "command": command,
    }
