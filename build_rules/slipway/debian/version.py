"""The order of Debian version numbers, as deb-version(7) lays it down.

A resolver must know whether `1:2.0~rc1-3` satisfies `>= 1:2.0`, on machines that have no dpkg.
"""

from __future__ import annotations

import operator
import re
from typing import Callable, Dict, List, Tuple

from slipway.core.errors import SlipwayError

VersionKey = Tuple[int, Tuple[object, ...], Tuple[object, ...]]

# Far longer than any that Debian has: a number of very many digits takes Python very long.
_VERSION = re.compile(r"(?:(?P<epoch>[0-9]{1,10}):)?(?P<upstream>[0-9A-Za-z.+~-]{1,256})", re.ASCII)
_END: Tuple[object, ...] = ((0,),)
"""Stands where a part is over: after a tilde, before everything else."""


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def version_key(version: str) -> VersionKey:
    """Sorts versions from old to new; equal keys mean versions that Debian holds equal."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise SlipwayError(f'"{version[:80]}" is not a Debian version')
    upstream, _, revision = match.group("upstream").rpartition("-")
    if "-" not in match.group("upstream"):
        upstream, revision = revision, ""
    return int(match.group("epoch") or 0), _part_key(upstream), _part_key(revision)


def _part_key(part: str) -> Tuple[object, ...]:
    """Text and number in turn: text by Debian's own alphabet, numbers by value."""
    pairs: List[Tuple[Tuple[int, ...], int]] = [
        (tuple(_rank(letter) for letter in text) + (0,), int(digits or 0))
        for text, digits in re.findall(r"([^0-9]*)([0-9]*)", part)
    ]
    # "1.0", "1." and "1.0" followed by nothing are equal: drop what only says "nothing, zero".
    while len(pairs) > 1 and pairs[-1] == ((0,), 0):
        pairs.pop()
    return (*pairs, _END)


def _rank(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


_RELATIONS: Dict[str, Callable[[VersionKey, VersionKey], bool]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
}


def satisfies(version: str, relation: str, other: str) -> bool:
    """Whether `version` stands in `relation` (<<, <=, =, >=, >>) to `other`."""
    if relation not in _RELATIONS:
        raise SlipwayError(f'"{relation}" is not a relation between Debian versions')
    return _RELATIONS[relation](version_key(version), version_key(other))
