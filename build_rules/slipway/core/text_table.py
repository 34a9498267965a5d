"""Tables for people: columns as wide as their widest cell."""

from __future__ import annotations

from typing import Sequence


def render(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head; all rows have the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )
