"""Tables, and how they are written as Markdown and in the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from rich.markup import escape
from rich.table import Table as TerminalTable

SPECIAL = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>\\`*[]|$"} | {"\n": " "})
"""Characters that are markup in Markdown, as HTML entities."""


@dataclass(frozen=True)
class Table:
    """Rows of text under columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    """How many columns from the left hold text; the others hold numbers and are right-aligned."""
    total: bool = False
    """Whether the last row is the sum of the others."""


def escape_markdown(text: str) -> str:
    """Text in which Markdown finds no markup; `Markup` is taken to be Markdown and left alone."""
    return text if isinstance(text, Markup) else text.translate(SPECIAL)


def markdown_table(table: Table) -> str:
    """A table in Markdown; cells are escaped."""
    alignment = [
        "---" if index < table.text_columns else "---:" for index in range(len(table.columns))
    ]
    rows = [table.columns, alignment, *table.rows]
    return "\n".join(f"| {' | '.join(map(escape_markdown, row))} |" for row in rows)


def terminal_table(table: Table) -> TerminalTable:
    """A table for rich's console."""
    terminal = TerminalTable(box=None, pad_edge=False, header_style="dim")
    for index, column in enumerate(table.columns):
        terminal.add_column(column, justify="left" if index < table.text_columns else "right")
    for row in table.rows:
        terminal.add_row(*map(escape, row))
    return terminal
