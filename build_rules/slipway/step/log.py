"""The log of a step with several commands: each is announced by a line with `+ ` before it."""

from __future__ import annotations

MARK = "+ "
_LONGEST = 60


def where(path: str) -> str:
    """The command that runs now, and how many lines it has printed."""
    command, lines = "", 0
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            if line.startswith(MARK):
                command, lines = line[len(MARK) :].strip(), 0
            else:
                lines += 1
    shown = command if len(command) <= _LONGEST else command[: _LONGEST - 1] + "…"
    return f"{shown or 'not begun'}, {lines:,} lines"
