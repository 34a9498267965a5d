"""The release lines of Node.js: long-term support, end of life, and known security releases."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from slipway.core import semver
from slipway.core.errors import nearest
from slipway.core.toml_text import read_toml
from slipway.data import bundled

NODE_PROJECT = "the Node.js project"
_FILE = "node_lines.toml"
_NUMBERS = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True)
class Line:
    """A release line, such as 22. Dates are texts such as 2027-04-30.

    `npm` is the major version of npm in its releases. `security` are its security releases; those
    after `Lines.as_of` are unknown.
    """

    number: int
    end_of_life: str
    npm: int
    lts: str = ""
    lts_from: str = ""
    security: Tuple[str, ...] = ()

    def is_lts(self, today: str) -> bool:
        """Whether the line is in long-term support on this day."""
        return bool(self.lts_from) and self.lts_from <= today < self.end_of_life

    def security_after(self, version: str) -> Tuple[str, ...]:
        """The security releases of the line that are newer than `version`."""
        return tuple(one for one in self.security if order(one) > order(version))


@dataclass(frozen=True)
class Lines:
    """All lines by number; `as_of` is the day of the data."""

    as_of: str
    by_number: Mapping[int, Line]

    def of(self, version: str) -> Optional[Line]:
        """The line of a version; None for versions of other runtimes and of unknown lines."""
        numbers = _NUMBERS.fullmatch(version)
        return self.by_number.get(int(numbers[1])) if numbers else None


@functools.lru_cache(maxsize=None)
def bundled_lines() -> Lines:
    """The lines in Slipway's data."""
    document = read_toml(bundled.read(_FILE) or b"", f"slipway:{_FILE}", "table of release lines")
    lines = {}
    for number, table in document["lines"].items():
        values = {**table, "security": tuple(table.get("security", ()))}
        lines[int(number)] = Line(int(number), **values)
    return Lines(document["as_of"], lines)


def order(version: str) -> Tuple[Tuple[int, int, int], str]:
    """Sorts versions of Node.js by their numbers, and all other texts before them."""
    numbers = _NUMBERS.fullmatch(version)
    if not numbers:
        return (-1, 0, 0), version
    return (int(numbers[1]), int(numbers[2]), int(numbers[3])), ""


def newest_in_use(released: Iterable[str], used: Iterable[str]) -> List[str]:
    """The newest release of each line that `used` names, as a version or as a range."""
    newest: Dict[int, str] = {}
    for version in sorted(released, key=order):
        newest[order(version)[0][0]] = version
    return [
        version
        for number, version in sorted(newest.items())
        if any(order(one)[0][0] == number or semver.satisfies(version, one) for one in used)
    ]


def nearest_versions(version: str, known: Iterable[str]) -> List[str]:
    """The newest known versions of the same line, or else those with the most similar names."""
    names = list(known)
    line = [one for one in names if one.partition(".")[0] == version.partition(".")[0]]
    return sorted(line, key=order, reverse=True)[:3] or nearest(version, names)


def problems(
    version: str, end_of_life: str, built_by: str, today: str, other: Optional[str] = None
) -> str:
    """What a user of this runtime should know on this day; empty if nothing.

    `end_of_life` is the date in the definition, which wins over the table; empty without one. `other` is
    the name of a runtime that is not Node.js, and of which the table knows nothing.
    """
    lines = bundled_lines()
    line = None if other else lines.of(version)
    end = end_of_life or (line.end_of_life if line else "")
    told = []
    if built_by and built_by != NODE_PROJECT:
        told.append(f"is built by {built_by}")
    if end and end <= today:
        told.append(f"reached its end of life on {end} and gets no security releases")
    missing = line.security_after(version) if line else ()
    if missing:
        count = f"{len(missing)} security release{'s' if len(missing) > 1 else ''}"
        told.append(f"lacks {count} of its line ({', '.join(missing)}; as of {lines.as_of})")
    return f"{other or f'Node.js {version}'} {', and '.join(told)}" if told else ""
