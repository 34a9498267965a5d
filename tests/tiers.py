"""A group of tests that has none in the chosen tier passes: pytest reports it as an error.

`./pants test` runs each group in a process of its own, and either tier passes over some groups.
"""

from __future__ import annotations

import pytest

_TIERS = ("long", "not long")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    of_tier = session.config.getoption("markexpr", "") in _TIERS
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and of_tier:
        session.exitstatus = pytest.ExitCode.OK
