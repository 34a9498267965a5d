"""One shape for every message about a user's mistake.

Rules and build steps raise the same error class. Every message therefore has the same order (what
failed, where, what was found, what to do next), and a test can assert each part.
"""

from __future__ import annotations

import contextlib
from typing import Iterable, Iterator, List, Tuple

from slipway.core.printable import printable


class SlipwayError(Exception):
    """A user's mistake or a rejected input; users see its text and nothing else.

    `what` is a single line that starts in lower case, has no full stop and quotes its subject.
    `where` names the target, the field, the file and the line. `found` is the value. `next` is a
    command to copy, or the line to change.
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
    """All faults of an input in a single error, as a numbered list; `what` has their count."""

    def __init__(
        self, what: str, faults: Iterable[str], *, where: str = "", next: str = ""
    ) -> None:
        self.faults: Tuple[str, ...] = tuple(faults)
        listed = "\n".join(f"{i}. {fault}" for i, fault in enumerate(self.faults, 1))
        super().__init__(what, where=where, found=listed, next=next)


@contextlib.contextmanager
def suggesting(next: str, where: str = "") -> Iterator[None]:
    """Adds `next`, and `where`, to errors from this context that lack them.

    For code that knows what is wrong but not what its caller can do about it.
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
    """The known names most like `name`, best match first, for "did you mean" lines."""
    import difflib  # noqa: PLC0415  (slow to import, and needed for an error only)

    return difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.4)
