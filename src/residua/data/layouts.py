"""Which image files a data set has: a folder of classes, split folders, or a table of files."""

import csv
import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from residua import files
from residua.data.dataset import check_classes
from residua.data.decoding import SUFFIXES, UNSUPPORTED_SUFFIXES
from residua.errors import UserError

FileSplit = Literal["train", "val", "test"]
LAYOUT = (
    "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png (also val), PATH/CLASS/*.png, or a .csv or "
    ".tsv file of path,label[,split]"
)
SPLIT_NAMES: dict[str, FileSplit] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "holdout"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What people call a split, in lower case."""
TABLE_SUFFIXES = (".csv", ".tsv")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name")
SPLIT_COLUMNS = ("split", "set", "subset")
MAX_FILES = 5_000_000


@dataclass(frozen=True)
class FileList:
    """Image files and the class of each."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int]) -> "FileList":
        """The files with these indices."""
        return FileList(
            tuple(self.paths[index] for index in indices),
            tuple(self.labels[index] for index in indices),
        )


@dataclass(frozen=True)
class Listing:
    """All image files of a data set, before any is opened."""

    root: Path
    """The folder that paths are shown relative to."""
    layout: str
    """The layout in words."""
    splits: dict[FileSplit, FileList]
    """A data set without a split has `train` only."""
    is_split: bool
    ignored: dict[str, int] = field(default_factory=dict)
    """How many files were left out, by what they are: `.txt`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted classes of the training files."""
        return tuple(sorted(set(self.splits["train"].labels)))

    @property
    def ignored_note(self) -> str | None:
        """A sentence on files that were left out; None where there are none."""
        if not self.ignored:
            return None
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.ignored.items()))
        return f"Not read, because they are no pictures in a class folder: {counts}."


def list_files(path: Path) -> Listing:
    """Find the image files of a data set.

    Args:
        path: a folder, or a table of files.

    Raises:
        UserError: there is no such path, it cannot be read, or its layout is not a known one.
    """
    with _system_errors(path):
        listing = _read_table(path) if _is_table(path) else _list_folder(path)
    if "train" not in listing.splits or (listing.is_split and len(listing.splits) == 1):
        raise UserError(
            f"{path}: the column split needs train, and test or val; without that column a part "
            "of each class is held out as the test set"
        )
    _check_classes(listing)
    return listing


def list_test_files(path: Path, classes: Sequence[str]) -> Listing:
    """Find the image files of another test set for a trained network.

    Args:
        path: a folder with a folder for each class, perhaps in a folder `test`; or a table, of
            whose rows those of `test` are taken where it has a split. Classes may be missing.
        classes: that the network knows.

    Returns:
        The files, as the split `test`.

    Raises:
        UserError: as `list_files`, or the network does not know a class.
    """
    with _system_errors(path):
        if _is_table(path):
            listing = _read_table(path)
            files_of_test = listing.splits.get("test" if listing.is_split else "train")
            if files_of_test is None:
                raise UserError(f"{path}: no row has the split test")
            root, ignored = listing.root, Counter[str]()
        else:
            if not path.is_dir():
                raise UserError(f"no folder {path}: expected PATH/CLASS/*.png")
            root, ignored = _split_folders(path).get("test", path), Counter[str]()
            files_of_test = _class_files(root, ignored)
    check_classes(sorted(set(files_of_test.labels)))
    if unknown := sorted(set(files_of_test.labels) - set(classes)):
        raise UserError(f"{root} has classes that the network does not know: {_first(unknown)}")
    return Listing(root, "a test set", {"test": files_of_test}, True, dict(ignored))


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from None


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UserError(f"{path} is neither a folder nor a .csv or .tsv file: expected {LAYOUT}")
    return True


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _check_classes(listing: Listing) -> None:
    classes = listing.classes
    check_classes(sorted({*classes, *(each for s in listing.splits.values() for each in s.labels)}))
    for name, listed in listing.splits.items():
        if unknown := sorted(set(listed.labels) - set(classes)):
            raise UserError(
                f"{listing.root}: {name} has classes that train does not have: {_first(unknown)}"
            )
    if len(classes) < 2:
        inner = listing.root / classes[0]
        nested = not listing.is_split and inner.is_dir() and len(_subfolders(inner)) > 1
        hint = f"; did you mean --data.path {shlex.quote(str(inner))}?" if nested else ""
        raise UserError(
            f"{listing.root} has a single class, {classes[0]!r}: a classifier needs two{hint}"
        )


def _list_folder(root: Path) -> Listing:
    if not root.is_dir():
        raise UserError(f"no folder {root}: expected {LAYOUT}")
    folders = _split_folders(root)
    ignored: Counter[str] = Counter()
    if "train" not in folders:
        if folders and not set(_subfolders(root)) - set(folders.values()):
            names = " and ".join(sorted(path.name for path in folders.values()))
            raise UserError(f"{root} has {names}, but no train folder: expected {LAYOUT}")
        files_of_root = _class_files(root, ignored)
        return Listing(root, "one folder for each class, without a split",
                       {"train": files_of_root}, False, dict(ignored))  # fmt: skip
    if len(folders) == 1:
        train = folders["train"]
        raise UserError(
            f"{root} has a {train.name} folder, but no test and no val folder: use --data.path "
            f"{shlex.quote(str(train))} to hold out a part of each class as the test set "
            f"(--data.test-fraction), or add {root / 'test'}"
        )
    for other in _subfolders(root):
        if other not in folders.values():
            ignored[f"folder {other.name}"] += 1
    splits = {name: _class_files(folder, ignored) for name, folder in folders.items()}
    layout = "the folders " + ", ".join(folder.name for folder in folders.values())
    return Listing(root, layout, splits, True, dict(ignored))


def _split_folders(root: Path) -> dict[FileSplit, Path]:
    """The folders of the splits, in the order train, val, test."""
    folders: dict[FileSplit, Path] = {}
    for folder in _subfolders(root):
        name = SPLIT_NAMES.get(folder.name.lower())
        if name is None:
            continue
        if name in folders:
            raise UserError(
                f"{root} has {folders[name].name} and {folder.name}, which mean the same: keep one"
            )
        folders[name] = folder
    return {name: folders[name] for name in ("train", "val", "test") if name in folders}


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        Path(entry.path)
        for entry in os.scandir(root)
        if not entry.name.startswith(".") and entry.is_dir()
    )


def _class_files(root: Path, ignored: "Counter[str]") -> FileList:
    """The image files of a folder with one subfolder for each class, sorted."""
    folders = _subfolders(root)
    if not folders:
        raise UserError(f"{root} has no classes: expected {LAYOUT}")
    for entry in os.scandir(root):
        if entry.is_file() and not entry.name.startswith("."):
            ignored[_kind(Path(entry.name), "beside the class folders")] += 1
    paths, labels = [], []
    for folder in folders:
        found = list(_image_files(folder, ignored))
        if not found:
            raise UserError(f"{folder} has no images: expected {LAYOUT}")
        paths += found
        labels += [class_name(folder.name)] * len(found)
    if len(paths) > MAX_FILES:
        raise UserError(f"{root} has more than {MAX_FILES:,} image files")
    order = sorted(range(len(paths)), key=lambda index: (labels[index], str(paths[index])))
    return FileList(tuple(paths), tuple(labels)).select(order)


def _image_files(folder: Path, ignored: "Counter[str]") -> Iterator[Path]:
    """The image files of a class folder and of all folders below it.

    Links are followed, those that lead to a folder above itself are not.
    """
    seen = {_identity(folder)}
    stack = [folder]
    while stack:
        for entry in sorted(os.scandir(stack.pop()), key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if (identity := _identity(path)) not in seen:
                    seen.add(identity)
                    stack.append(path)
            elif path.suffix.lower() in SUFFIXES | UNSUPPORTED_SUFFIXES:
                yield path
            else:
                ignored[_kind(path)] += 1


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _kind(path: Path, where: str = "") -> str:
    kind = path.suffix.lower() or "without suffix"
    return f"{kind} {where}" if where else kind


def class_name(text: str) -> str:
    """A class as it is compared: the same letters may be encoded in several ways (NFC, NFD)."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class _Row:
    line: int
    path: Path
    label: str
    split: FileSplit | None


def _read_table(table: Path) -> Listing:
    """Read a table of path, label and perhaps split; paths are relative to the table."""
    try:
        text = files.read_bytes(table).decode("utf-8-sig")
    except ValueError as error:
        raise UserError(f"{table} cannot be read as a table in UTF-8: {error}") from None
    first, _, _ = text.partition("\n")
    delimiter = max("\t;,", key=first.count) if table.suffix.lower() == ".csv" else "\t"
    try:
        reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
        cells = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{table} cannot be read as a table: {error}") from None
    rows = list(_rows(table, cells))
    _check_rows(table, rows)
    is_split = rows[0].split is not None
    splits: dict[FileSplit, FileList] = {}
    for name in ("train", "val", "test"):
        chosen = [row for row in rows if (row.split or "train") == name]
        if chosen:
            splits[name] = FileList(
                tuple(row.path for row in chosen), tuple(row.label for row in chosen)
            )
    layout = f"a table of {len(rows):,} files, " + ("with" if is_split else "without") + " a split"
    return Listing(table.parent, layout, splits, is_split)


def _rows(table: Path, cells: list[tuple[int, list[str]]]) -> Iterator[_Row]:
    if not cells:
        raise UserError(f"{table} has no rows: expected path,label[,split]")
    header = [cell.strip().lower() for cell in cells[0][1]]
    columns: list[int | None]
    if set(header) & set(PATH_COLUMNS):
        columns = [
            next((index for index, name in enumerate(header) if name in names), None)
            for names in (PATH_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
        ]
        cells = cells[1:]
    else:
        third = len(header) > 2 and header[2] in SPLIT_NAMES
        columns = [0, 1 if len(header) > 1 else None, 2 if third else None]
    path_column, label_column, split_column = columns
    if path_column is None or label_column is None:
        raise UserError(f"{table} has no column of labels: expected path,label[,split]")
    for line, row in cells:
        if len(row) <= max(column for column in columns if column is not None):
            raise UserError(f"{table}, line {line}: expected {len(header)} columns, got {len(row)}")
        path, label = row[path_column].strip(), class_name(row[label_column].strip())
        if not path or not label:
            raise UserError(f"{table}, line {line}: the {'label' if path else 'path'} is empty")
        split = None if split_column is None else _split(table, line, row[split_column])
        yield _Row(line, _resolve(table.parent, path), label, split)


def _resolve(folder: Path, text: str) -> Path:
    """The path of a table's row; tables of Windows have backslashes."""
    path = folder / Path(text).expanduser()
    if "\\" in text and not path.exists():
        path = folder / text.replace("\\", "/")
    return path


def _split(table: Path, line: int, text: str) -> FileSplit:
    name = SPLIT_NAMES.get(text.strip().lower())
    if name is None:
        raise UserError(
            f"{table}, line {line}: {text.strip()!r} is no split; choose from train, val, test"
        )
    return name


def _check_rows(table: Path, rows: list[_Row]) -> None:
    """Check that no file is in two classes or in two splits."""
    if not rows:
        raise UserError(f"{table} has a header, but no rows")
    seen: dict[Path, _Row] = {}
    for row in rows:
        earlier = seen.setdefault(row.path, row)
        if (earlier.label, earlier.split) != (row.label, row.split):
            raise UserError(
                f"{table}, line {row.line}: {row.path.name} has another class or split than in "
                f"line {earlier.line}"
            )
