"""Tables and cards: what both forms of the report are made of."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of texts under columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    """How many columns from the left hold words; the others hold numbers."""


@dataclass(frozen=True)
class Card:
    """One figure that matters."""

    label: str
    value: str
    note: str = ""
