"""How the runner speaks: one line of progress, or one error that ends it.

The layout is that of `slipway.core.errors`, which cannot be imported here: these files may have
to run on whatever Python a machine has, from 3.6 on.
"""

import sys


class RunnerError(Exception):
    """What failed, where, the value found, and the command or line that helps."""

    def __init__(self, what: str, where: str = "", found: str = "", next: str = "") -> None:
        lines = ["pants: " + what]
        for label, text in (("in:", where), ("found:", found), ("next:", next)):
            if text:
                first, *rest = text.rstrip("\n").split("\n")
                lines.append(f"  {label:<6} {first}")
                lines.extend(" " * 9 + line for line in rest)
        super().__init__(printable("\n".join(lines)))


def printable(text: str) -> str:
    """Text of others, with control characters as escapes: a terminal would obey them."""
    return "".join(
        letter if letter in "\n\t" or letter.isprintable() else _escaped(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def say(text: str) -> None:
    # Standard output belongs to Pants: `./pants --version > file` must hold only the version.
    sys.stderr.write("pants: " + text + "\n")
    sys.stderr.flush()
