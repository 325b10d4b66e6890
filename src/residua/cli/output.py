"""Standard output and error: text they cannot show, and readers that have gone away."""

import codecs
import io
import os
import sys
from pathlib import Path
from typing import Any

from residua.errors import escaped

ASCII_GLYPHS = {"█": "#", "━": "-", "╸": "-", "╺": "-", "✓": "*"}
"""What stands for a character that standard output cannot encode; for others, a question mark."""


def printable(text: str) -> str:
    """One line of a text, without control characters, which a file or its name may contain.

    Bytes of a name that are not UTF-8 are escaped.
    """
    text = "".join(char if char.isprintable() else " " for char in escaped(text))
    return " ".join(text.split())


def replace_unencodable() -> None:
    """Make standard output replace characters that its encoding does not have."""
    codecs.register_error("residua", _replace)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="residua")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(ASCII_GLYPHS.get(char, "?") for char in text), error.end


def discard_output() -> None:
    """Send further output nowhere: nobody reads standard output any more."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Output:
    """The current standard output as a file that does not fail when its reader has gone away.

    The reader of a pipe may end, as in `| head -1`, and a terminal may be closed.
    """

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return sys.stdout.write(text)
        except OSError:
            discard_output()
            return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            sys.stdout.flush()
        except OSError:
            discard_output()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)
