"""One shape for every message about a user's mistake.

Rules and programs of steps raise the same error, so that what failed, where, with which value and
what to do next always stand in the same order, and tests can ask for each of them.
"""

from __future__ import annotations

import contextlib
from typing import Iterable, Iterator, List, Tuple

from slipway.core.printable import printable


class SlipwayError(Exception):
    """A user's mistake or a refused input; its text is all that the user sees.

    `what` is one line without capital and full stop, its subject in quotes. `where` names target,
    field, file and line; `found` the value; `next` a command or a line to change, ready to copy.
    """

    def __init__(self, what: str, *, where: str = "", found: str = "", next: str = "") -> None:
        self.what = what
        self.where = where
        self.found = found
        self.next = next
        super().__init__(self.render())

    def render(self) -> str:
        lines = [self.what]
        for label, text in (("in", self.where), ("found", self.found), ("next", self.next)):
            if text:
                lines.extend(_labelled(label, text))
        return printable("\n".join(lines))


class SlipwayErrors(SlipwayError):
    """Several faults of one input, all told at once: a count, then a numbered list."""

    def __init__(
        self, what: str, faults: Iterable[str], *, where: str = "", next: str = ""
    ) -> None:
        self.faults: Tuple[str, ...] = tuple(faults)
        listed = "\n".join(f"{i}. {fault}" for i, fault in enumerate(self.faults, 1))
        super().__init__(what, where=where, found=listed, next=next)


@contextlib.contextmanager
def suggesting(next: str, where: str = "") -> Iterator[None]:
    """Gives an error from within, which knows what is wrong but no way out, this `next`.

    `where` is for an error that doesn't say that either.
    """
    try:
        yield
    except SlipwayError as error:
        if error.next and (error.where or not where):
            raise
        raise SlipwayError(
            error.what,
            where=error.where or where,
            found=error.found,
            next=error.next or next,
        ) from None


def _labelled(label: str, text: str) -> List[str]:
    head = f"  {label + ':':<6} "
    first, *rest = text.split("\n")
    return [head + first] + [" " * len(head) + line for line in rest]


def nearest(name: str, known: Iterable[str], count: int = 3) -> List[str]:
    """The known names most like `name`, best first, for 'did you mean' lines."""
    import difflib  # noqa: PLC0415  (only when something is wrong already)

    return difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.4)
