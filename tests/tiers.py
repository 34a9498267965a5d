"""A group of tests that has none in the chosen tier passes: pytest reports it as an error.

`./pants test` runs each group in a process of its own, and either tier passes over some groups.
"""

from __future__ import annotations

from typing import Any, Collection, Iterable, List

import pytest

_TIERS = ("long", "not long")


def long_except(quick: Collection[str], cases: Iterable[str]) -> List[Any]:
    """The cases as parameters of a test; all but those in `quick` are of the long tier."""
    return [pytest.param(one, marks=() if one in quick else pytest.mark.long) for one in cases]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    of_tier = session.config.getoption("markexpr", "") in _TIERS
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and of_tier:
        session.exitstatus = pytest.ExitCode.OK
