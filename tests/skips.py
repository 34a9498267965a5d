"""Makes a skipped test fail in CI, where every tool and right that a test needs is present.

A test is skipped for what the machine lacks. On a developer's machine that is help; in CI it is a
test that silently stopped running. `ALLOWED` lists the exceptions, with the reason for each.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Any, Callable, Iterator, Mapping, Optional

import pytest

_Hook = Callable[[], Iterator[None]]

# Pattern of test ids (as fnmatch reads it) -> why CI may skip them.
ALLOWED: Mapping[str, str] = {
    "tests/deploy/test_sites.py::test_what_cannot_be_removed_is_told*root of a namespace*": (
        "root removes what is read-only; it runs as the user of a plain sshd"
    ),
    "tests/unit/isolation/test_namespaces.py::test_a_machine_without_user_namespaces_is_recognised*": (
        "of its two users, only the tests' own can take namespaces away"
    ),
}


def refused(test: str, reason: str, env: Mapping[str, str]) -> Optional[str]:
    """The message that fails the skipped test `test`; None where it may be skipped."""
    if not env.get("CI") or any(fnmatch.fnmatchcase(test, pattern) for pattern in ALLOWED):
        return None
    return (
        f"{test}: skipped in CI\n"
        f"found: {reason}\n"
        "next: give CI what the test needs, in .ci/run; or add the test to tests/skips.py"
    )


# pytest's own decorator has no types in this version.
_WRAPPER: Callable[[_Hook], _Hook] = pytest.hookimpl(hookwrapper=True)


def _judge(report: Any) -> None:
    # An expected failure counts as skipped, and has run.
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    message = refused(report.nodeid, reason, os.environ)
    if message is not None:
        report.outcome, report.longrepr = "failed", message


@_WRAPPER
def pytest_runtest_makereport() -> Iterator[None]:
    outcome: Any = yield
    _judge(outcome.get_result())


@_WRAPPER
def pytest_make_collect_report() -> Iterator[None]:
    outcome: Any = yield
    _judge(outcome.get_result())
