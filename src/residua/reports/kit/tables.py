"""Tables, and how they are written as Markdown and in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from residua.errors import escaped

MIN_FIRST_COLUMN = 12
"""Columns of the terminal that the first column of a table needs; longer cells are broken."""
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


def terminal_table(table: Table) -> "TerminalTable":
    """A table for rich's console."""
    return TerminalTable(table)


class TerminalTable:
    """A table in the terminal, or a list with an entry for each row where it is too narrow."""

    def __init__(self, table: Table) -> None:
        self.columns = [*map(_cell, table.columns)]
        self.rows = [[*map(_cell, row)] for row in table.rows]
        self.text_columns = table.text_columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gaps = 2 * (len(self.columns) - 1)  # of rich's padding
        width = gaps + sum(
            max(map(cell_len, column)) for column in zip(self.columns, *self.rows, strict=True)
        )
        min_widths = self._min_widths()
        # A file or a pipe has no width that the table would have to keep to.
        if console.is_terminal and width > options.max_width:
            width = options.max_width
            if sum(min_widths) + gaps > width:
                yield from self._list()
                return
        table = RichTable(box=None, pad_edge=False, header_style="dim")
        for index, (column, min_width) in enumerate(zip(self.columns, min_widths, strict=True)):
            justify: JustifyMethod = "left" if index < self.text_columns else "right"
            table.add_column(Text(column), justify=justify, min_width=min_width, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        yield from console.render(table, options.update(width=width))

    def _min_widths(self) -> list[int]:
        """Widths that break no cell but those of the first column, and headers between words."""
        headers = [max(map(cell_len, column.split()), default=0) for column in self.columns]
        cells = [max(map(cell_len, column), default=0) for column in zip(*self.rows, strict=True)]
        widths = [*map(max, headers, cells or headers)]
        return [min(widths[0], MIN_FIRST_COLUMN), *widths[1:]]

    def _list(self) -> Iterator[Text]:
        for first, *others in self.rows:
            yield Text(first, style="bold")
            for column, cell in zip(self.columns[1:], others, strict=True):
                if cell:
                    yield Text(f"  {column}: {cell}" if column else f"  {cell}")


def _cell(text: str) -> str:
    """The text of a cell without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in escaped(text))
