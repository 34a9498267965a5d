"""The dynamic UI is switched off where the log goes to no terminal, unless the user chose."""

from __future__ import annotations

from typing import Optional

import pytest

from tests.runner.terminals import FILE, PIPE, TERMINAL, run_printing_to
from tests.runner.workbench import Bench

VARIABLE = "PANTS_DYNAMIC_UI"


def setting(bench: Bench, stdout: str, stderr: str, chosen: Optional[str] = None) -> str:
    """The value that Pants gets."""
    environ = bench.environ_with({VARIABLE: chosen})
    printed = run_printing_to(stdout, stderr, bench.command("goal"), bench.workspace, environ)
    assert printed.status == 0, printed.text
    values = printed.text.split("\0")
    return values[values.index(VARIABLE) + 1]


@pytest.mark.parametrize("stdout", [TERMINAL, PIPE, FILE])
def test_standard_error_decides(warm: Bench, stdout: str) -> None:
    assert setting(warm, stdout, TERMINAL) == ""
    assert setting(warm, stdout, PIPE) == "false"
    assert setting(warm, stdout, FILE) == "false"


@pytest.mark.parametrize("chosen", ["true", "false"])
def test_what_the_user_chose_stays(warm: Bench, chosen: str) -> None:
    for stderr in (TERMINAL, PIPE):
        assert setting(warm, PIPE, stderr, chosen) == chosen


def test_arguments_stay_as_they_are(warm: Bench) -> None:
    """A flag of the user overrides a variable, so the runner need not look for flags."""
    assert warm.run("--dynamic-ui", "goal").arguments == ["--dynamic-ui", "goal"]
    assert warm.run("--version").arguments == ["--version"]
