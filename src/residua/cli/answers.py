"""The answers of `residua predict` as a table, CSV or JSON."""

import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from residua.cli.console import console
from residua.cli.output import Output, printable
from residua.errors import UserError

Answer = Sequence[tuple[str, float]]
"""The most probable classes, with their probabilities."""
MAX_NAME_WIDTH = 48


class AnswerWriter(ABC):
    """Where answers go, one picture at a time."""

    @abstractmethod
    def write(self, path: str, answer: Answer) -> None:
        """Write the answer for a picture."""

    def write_error(self, path: str, reason: str) -> None:  # noqa: B027
        """Write that a picture has no answer; a table has no place for it."""


class SingleTable(AnswerWriter):
    """One class a line, for a single picture."""

    def write(self, path: str, answer: Answer) -> None:
        """Print the picture, then its classes."""
        print(_shown(path), file=Output())
        for name, probability in answer:
            print(f"  {100 * probability:6.2f} %  {_shown(name)}", file=Output())


class Table(AnswerWriter):
    """One picture a line; a terminal shows as many classes as fit.

    Args:
        paths: of all pictures.
        classes: of the network.
        top: the classes of an answer.
    """

    def __init__(self, paths: Sequence[str], classes: Sequence[str], top: int) -> None:
        self._name_width = min(MAX_NAME_WIDTH, max(len(_shown(path)) for path in paths))
        self._class_width = max(len(_shown(name)) for name in classes)
        cell = self._class_width + len("  100.00 %  ")
        self.shown = top
        if console.is_terminal:
            self.shown = max(1, min(top, (console.width - self._name_width - 2) // cell))
        cells = [f"{place:{cell - 2}}" for place in ("class", "second", "third")[: self.shown]]
        print("  ".join((f"{'picture':{self._name_width}}", *cells)).rstrip(), file=Output())

    def write(self, path: str, answer: Answer) -> None:
        """Print a line."""
        cells = (
            f"{_shown(name):{self._class_width}}  {100 * probability:6.2f} %"
            for name, probability in answer[: self.shown]
        )
        print("  ".join((f"{_shown(path):{self._name_width}}", *cells)), file=Output())


class CSVFile(AnswerWriter):
    """A line for each picture: path, class, probability, class_2, probability_2 ..., error.

    Args:
        file: to write to; file names that are not UTF-8 keep their bytes.
        top: the classes of an answer.
    """

    def __init__(self, file: Any, top: int) -> None:
        self._writer, self._top = csv.writer(file, lineterminator="\n"), top
        numbers = ["", *(f"_{place}" for place in range(2, top + 1))]
        names = [f"{name}{number}" for number in numbers for name in ("class", "probability")]
        self._writer.writerow(["path", *names, "error"])

    def write(self, path: str, answer: Answer) -> None:
        """Write a line."""
        cells = [cell for name, p in answer for cell in (name, f"{p:.6f}")]
        self._writer.writerow([path, *cells, ""])

    def write_error(self, path: str, reason: str) -> None:
        """Write a line without an answer."""
        self._writer.writerow([path, *[""] * (2 * self._top), reason])


class JSONLines(AnswerWriter):
    """A JSON object a line: `path` with `classes`, or with `error`."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, path: str, answer: Answer) -> None:
        """Write a line."""
        classes = [{"class": name, "probability": p} for name, p in answer]
        self._write({"path": path, "classes": classes})

    def write_error(self, path: str, reason: str) -> None:
        """Write a line without an answer."""
        self._write({"path": path, "error": reason})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


@contextmanager
def open_writer(
    paths: Sequence[str], classes: Sequence[str], top: int, csv_path: Path | None, as_json: bool
) -> Iterator[AnswerWriter]:
    """Where the answers for some pictures go: a CSV file, JSON, or a table.

    Raises:
        UserError: the CSV file cannot be written.
    """
    if csv_path is not None:
        with csv_destination(csv_path) as file:
            yield CSVFile(file, top)
    elif as_json:
        yield JSONLines(byte_output())
    else:
        yield SingleTable() if len(paths) == 1 else Table(paths, classes, top)


@contextmanager
def csv_destination(path: Path) -> Iterator[Any]:
    """A file that is in place when it is complete; `-` is standard output.

    Raises:
        UserError: it cannot be written.
    """
    if str(path) == "-":
        yield byte_output()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UserError(f"--csv {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def byte_output() -> Output:
    """Standard output in UTF-8, where file names that are not UTF-8 keep their bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    return Output()


def _shown(text: str) -> str:
    """A name for a terminal: one line."""
    return printable(text.encode(errors="surrogateescape").decode(errors="replace"))
