"""A comparison in the terminal."""

from rich.markup import escape
from rich.table import Table

from residua.reports.comparison.content import Comparison


def figures(said: Comparison) -> Table:
    """A row for each group: n, and mean ± deviation of each measure."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, column in enumerate(said.figures.columns):
        table.add_column(column, justify="right" if place else "left")
    for row in said.figures.rows:
        table.add_row(*map(escape, row))
    return table
