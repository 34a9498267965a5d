"""Static files of releases that nobody needs any more.

Pages of older releases refer to their files for as long as somebody has them open, and a rollback
brings them back.  So each publication leaves a list of its files beside them, and a file may go when
it is in lists alone of releases that no host keeps and that others replaced long enough ago.  What
Slipway did not publish is never removed.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Collection, FrozenSet, Iterable, List, Sequence, Tuple

FOLDER = ".slipway-releases"
STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Published:
    """`at` is when, such as 20261121T090000Z; `names` are relative to the folder of all."""

    at: str
    digest: str
    names: FrozenSet[str]

    @property
    def file(self) -> str:
        return f"{self.at}-{self.digest}"

    @property
    def content(self) -> bytes:
        return as_bytes(sorted(self.names))


def as_bytes(names: Iterable[str]) -> bytes:
    """Each behind the other, with a NUL at its end."""
    return os.fsencode("".join(f"{name}\0" for name in names))


def read_lists(folder: str) -> List[Published]:
    """The lists of a host, copied to a folder; names that lead elsewhere are none."""
    found = []
    for file in sorted(os.listdir(folder)):
        at, _, digest = file.partition("-")
        if digest and _is_stamp(at):
            with open(os.path.join(folder, file), "rb") as content:
                names = os.fsdecode(content.read()).split("\0")
            found.append(Published(at, digest, frozenset(filter(_is_below, names))))
    return found


def outdated(
    published: Sequence[Published], now: str, days: int, kept: Collection[str]
) -> Tuple[List[Published], List[str]]:
    """Lists and files that may go; `kept` are digests of releases that hosts have."""
    ordered = sorted(published, key=lambda one: one.at)
    gone = [
        one
        for one, later in zip(ordered, ordered[1:])
        if one.digest not in kept and _days(later.at, now) > days
    ]
    needed = {name for one in ordered if one not in gone for name in one.names}
    return gone, sorted({name for one in gone for name in one.names} - needed)


def _days(earlier: str, later: str) -> float:
    apart = _time(later) - _time(earlier)
    return apart.total_seconds() / 86_400


def _time(stamp: str) -> datetime.datetime:
    return datetime.datetime.strptime(stamp, STAMP)


def _is_stamp(text: str) -> bool:
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _is_below(name: str) -> bool:
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")
