"""Plain-text tables, each column as wide as its widest cell."""

from __future__ import annotations

from typing import Sequence


def render(rows: Sequence[Sequence[str]]) -> str:
    """The table as text; the first row is the header, and all rows have equally many cells."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )
