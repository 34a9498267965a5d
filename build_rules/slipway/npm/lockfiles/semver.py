"""Does a version satisfy a range, by npm's rules.

Only used to say early, and with a reason, that a lock is out of step with its package.json; npm
itself decides again during the install. Whatever is not understood here gives None: no claim.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple, Union

_Identifier = Union[int, str]
_PRE = r"(?:-?((?:[0-9A-Za-z-]+)(?:\.[0-9A-Za-z-]+)*))?"
_BUILD = r"(?:\+[0-9A-Za-z.-]+)?"
_VERSION = re.compile(rf"^[v=\s]*([0-9]+)\.([0-9]+)\.([0-9]+){_PRE}{_BUILD}\Z")
_PARTIAL = re.compile(
    rf"^[v=\s]*([0-9]+|[xX*])?(?:\.([0-9]+|[xX*]))?(?:\.([0-9]+|[xX*]){_PRE}{_BUILD})?\Z"
)
_COMPARATOR = re.compile(r"^(\^|~>?|>=|<=|>|<|=)?\s*(.*)\Z")
_JOIN_OPERATOR = re.compile(r"(\^|~>?|>=|<=|>|<|=)\s+")
_HYPHEN = re.compile(r"^\s*(\S+)\s+-\s+(\S+)\s*\Z")


class Version:
    """major.minor.patch and the prerelease identifiers; build metadata does not count."""

    def __init__(self, numbers: Tuple[int, int, int], pre: Tuple[_Identifier, ...] = ()) -> None:
        self.numbers = numbers
        self.pre = pre

    @property
    def order(self) -> Tuple[object, ...]:
        # A release stands above all its prereleases; numbers stand below words.
        rank = tuple((0, one, "") if isinstance(one, int) else (1, 0, one) for one in self.pre)
        return (self.numbers, 0 if self.pre else 1, rank)


_Test = Tuple[str, Version]


def parse_version(text: str) -> Optional[Version]:
    matched = _VERSION.match(text.strip())
    if not matched:
        return None
    major, minor, patch = (int(matched.group(i)) for i in (1, 2, 3))
    return Version((major, minor, patch), _identifiers(matched.group(4)))


def satisfies(version: str, spec: str) -> Optional[bool]:
    """Whether `version` lies in the range `spec`; None if either is not understood."""
    parsed = parse_version(version)
    if parsed is None:
        return None
    alternatives = [_tests(alternative) for alternative in spec.split("||")]
    if None in alternatives:
        return None
    if [] in alternatives:
        # Beside a wildcard npm forgets the other alternatives, and their prereleases with them.
        return _within(parsed, [])
    return any(_within(parsed, tests) for tests in alternatives if tests)


def _identifiers(text: Optional[str]) -> Tuple[_Identifier, ...]:
    if not text:
        return ()
    return tuple(int(one) if one.isascii() and one.isdigit() else one for one in text.split("."))


def _within(version: Version, tests: List[_Test]) -> bool:
    if not all(_holds(version, operator, bound) for operator, bound in tests):
        return False
    if not version.pre:
        return True
    # A prerelease counts only where the range names a prerelease of the very same numbers.
    return any(bound.pre and bound.numbers == version.numbers for _, bound in tests)


def _holds(version: Version, operator: str, bound: Version) -> bool:
    left, right = version.order, bound.order
    if operator == ">=":
        return left >= right
    if operator == "<":
        return left < right
    if operator == ">":
        return left > right
    if operator == "<=":
        return left <= right
    return left == right


def _tests(alternative: str) -> Optional[List[_Test]]:
    """The comparators of one alternative; none of them for a wildcard, None if unreadable."""
    hyphen = _HYPHEN.match(alternative)
    if hyphen:
        lower, upper = _partial(hyphen.group(1)), _partial(hyphen.group(2))
        if lower is None or upper is None:
            return None
        return _at_least(lower) + _at_most(upper)
    tests: List[_Test] = []
    for word in _JOIN_OPERATOR.sub(r"\1", alternative).split():
        matched = _COMPARATOR.match(word)
        partial = _partial(matched.group(2)) if matched else None
        if matched is None or partial is None:
            return None
        tests.extend(_expand(matched.group(1) or "", partial))
    return tests


_Partial = Tuple[Tuple[int, ...], Tuple[_Identifier, ...]]


def _partial(text: str) -> Optional[_Partial]:
    """The numbers that are given, up to the first wildcard, and the prerelease."""
    matched = _PARTIAL.match(text)
    if not matched:
        return None
    numbers: List[int] = []
    for i in (1, 2, 3):
        part = matched.group(i)
        if part is None or part in "xX*":
            break
        numbers.append(int(part))
    return tuple(numbers), _identifiers(matched.group(4)) if len(numbers) == 3 else ()


def _filled(numbers: Tuple[int, ...]) -> Tuple[int, int, int]:
    padded = numbers + (0, 0, 0)
    return padded[0], padded[1], padded[2]


def _next(numbers: Tuple[int, ...], place: int) -> Version:
    """The first version after all that share the numbers up to `place`."""
    raised = numbers[:place] + (numbers[place] + 1,)
    return Version(_filled(raised), (0,))


def _at_least(partial: _Partial) -> List[_Test]:
    numbers, pre = partial
    return [(">=", Version(_filled(numbers), pre))] if numbers else []


def _at_most(partial: _Partial) -> List[_Test]:
    numbers, pre = partial
    if len(numbers) == 3:
        return [("<=", Version(_filled(numbers), pre))]
    return [("<", _next(numbers, len(numbers) - 1))] if numbers else []


def _expand(operator: str, partial: _Partial) -> List[_Test]:  # noqa: PLR0911
    numbers, pre = partial
    full = len(numbers) == 3
    bound = Version(_filled(numbers), pre)
    if operator in ("<", ">") and not numbers:
        return [("<", Version((0, 0, 0), (0,)))]
    if not numbers:
        return []
    if operator == "^":
        place = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
        return [(">=", bound), ("<", _next(numbers, place))]
    if operator.startswith("~"):
        return [(">=", bound), ("<", _next(numbers, min(1, len(numbers) - 1)))]
    if operator in ("", "="):
        if full:
            return [("=", bound)]
        return [(">=", bound), ("<", _next(numbers, len(numbers) - 1))]
    if full:
        return [(operator, bound)]
    if operator == ">":
        after = _next(numbers, len(numbers) - 1)
        return [(">=", Version(after.numbers))]
    if operator == "<=":
        return [("<", _next(numbers, len(numbers) - 1))]
    if operator == "<":
        return [("<", Version(bound.numbers, (0,)))]
    return [(">=", bound)]
