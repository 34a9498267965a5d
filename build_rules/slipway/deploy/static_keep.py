"""Which static files of old releases may be removed.

Open pages of an older release still refer to its files, and a rollback brings the pages back. So each
publication leaves a list of its files beside them. A file may be removed if all lists that contain it
belong to releases that no host keeps and that were replaced long enough ago. Slipway never removes
files that it did not publish.
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
    """`at` is the time, such as 20261121T090000Z; `names` are relative to the static folder."""

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
    """The names in one string, each followed by a NUL byte."""
    return os.fsencode("".join(f"{name}\0" for name in names))


def read_lists(folder: str) -> List[Published]:
    """Reads the lists that were copied from a host; skips names that leave the static folder."""
    lists = []
    for file in sorted(os.listdir(folder)):
        at, _, digest = file.partition("-")
        if digest and _is_stamp(at):
            with open(os.path.join(folder, file), "rb") as content:
                names = os.fsdecode(content.read()).split("\0")
            lists.append(Published(at, digest, frozenset(filter(_is_below, names))))
    return lists


def outdated(
    published: Sequence[Published], now: str, days: int, kept: Collection[str]
) -> Tuple[List[Published], List[str]]:
    """The lists and files to remove; `kept` has the digests of the releases on the hosts."""
    ordered = sorted(published, key=lambda listed: listed.at)
    gone = [
        listed
        for listed, later in zip(ordered, ordered[1:])
        if listed.digest not in kept and _days(later.at, now) > days
    ]
    needed = {name for listed in ordered if listed not in gone for name in listed.names}
    return gone, sorted({name for listed in gone for name in listed.names} - needed)


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
