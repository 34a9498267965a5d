"""The format of a step's log: a line with `+ ` announces each command."""

from __future__ import annotations

MARK = "+ "
_LONGEST = 60


def where(path: str) -> str:
    """The command that is running, and the number of lines that it has printed."""
    command, lines = "", 0
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            if line.startswith(MARK):
                command, lines = line[len(MARK) :].strip(), 0
            else:
                lines += 1
    shown = command if len(command) <= _LONGEST else command[: _LONGEST - 1] + "…"
    return f"{shown or 'not started'}, {lines:,} lines"
