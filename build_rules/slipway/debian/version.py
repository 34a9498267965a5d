"""Compares Debian version numbers as deb-version(7) specifies.

The resolver needs to know whether `1:2.0~rc1-3` satisfies `>= 1:2.0`, on machines without dpkg.
"""

from __future__ import annotations

import operator
import re
from typing import Callable, Dict, List, Tuple

from slipway.core.errors import SlipwayError

VersionKey = Tuple[int, Tuple[object, ...], Tuple[object, ...]]

# Much longer than any version in Debian. The limit is needed because Python parses a number in time
# that grows with the square of its length.
_VERSION = re.compile(r"(?:(?P<epoch>[0-9]{1,10}):)?(?P<upstream>[0-9A-Za-z.+~-]{1,256})", re.ASCII)
_END: Tuple[object, ...] = ((0,),)
"""The end of a part; it sorts after a tilde and before everything else."""


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def version_key(version: str) -> VersionKey:
    """A sort key, from old to new; versions that are equal for Debian have equal keys."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise SlipwayError(f'"{version[:80]}" is not a Debian version')
    upstream, _, revision = match.group("upstream").rpartition("-")
    if "-" not in match.group("upstream"):
        upstream, revision = revision, ""
    return int(match.group("epoch") or 0), _part_key(upstream), _part_key(revision)


def _part_key(part: str) -> Tuple[object, ...]:
    """Alternating texts and numbers: texts compare in Debian's order, numbers by value."""
    pairs: List[Tuple[Tuple[int, ...], int]] = [
        (tuple(_rank(letter) for letter in text) + (0,), int(digits or 0))
        for text, digits in re.findall(r"([^0-9]*)([0-9]*)", part)
    ]
    # "1.0" and "1." are equal for Debian: a missing number is zero. So drop empty pairs at the end.
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
    """Whether the comparison `version relation other` holds; `relation` is <<, <=, =, >= or >>."""
    if relation not in _RELATIONS:
        raise SlipwayError(f'"{relation}" is not a relation between Debian versions')
    return _RELATIONS[relation](version_key(version), version_key(other))
