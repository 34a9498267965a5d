"""The messages of the runner: lines of progress, and errors.

The layout is the same as in `slipway.core.errors`. That module cannot be imported, because the
runner must work on CPython 3.6, and `slipway.core` needs 3.7.
"""

import sys


class RunnerError(Exception):
    """An error: what failed, where, what was found, and what to do next."""

    def __init__(self, what: str, where: str = "", found: str = "", next: str = "") -> None:
        lines = ["pants: " + what]
        for label, text in (("in:", where), ("found:", found), ("next:", next)):
            if text:
                first, *rest = text.rstrip("\n").split("\n")
                lines.append(f"  {label:<6} {first}")
                lines.extend(" " * 9 + line for line in rest)
        super().__init__(printable("\n".join(lines)))


def printable(text: str) -> str:
    """Untrusted text with control characters as escapes, so that a terminal ignores them."""
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else _escaped(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def say(text: str) -> None:
    # To stderr, because stdout is for Pants: `./pants --version > file` must write only the
    # version.
    sys.stderr.write("pants: " + text + "\n")
    sys.stderr.flush()
