"""A skipped test fails in CI, unless `tests/skips.py` allows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import skips
from tests.places import REPOSITORY

TESTS = """
import pytest

def test_runs():
    pass

def test_lacks_a_tool():
    pytest.skip("no zstd here")

@pytest.mark.skipif(True, reason="no make here")
def test_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_known_fault():
    assert False
"""
MODULE = "import pytest\npytest.skip('no npm here', allow_module_level=True)\n"


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_module.py").write_text(MODULE)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider"),
            *("--rootdir", str(folder), "--continue-on-collection-errors", str(folder)),
        ],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_skip_fails_in_ci_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "true")
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in done.stdout, done.stdout
    for test, reason in (
        ("test_some.py::test_lacks_a_tool", "no zstd here"),
        ("test_some.py::test_marked", "no make here"),
        ("test_module.py", "no npm here"),
    ):
        assert f"{test}: skipped in CI" in done.stdout
        assert f"found: Skipped: {reason}" in done.stdout
    assert done.returncode != 0


def test_a_skip_elsewhere_is_a_skip(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert "1 passed, 3 skipped, 1 xfailed" in done.stdout, done.stdout
    assert done.returncode == 0


def test_a_listed_test_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skips, "ALLOWED", {"tests/a.py::test_*": "needs hardware"})
    assert skips.refused("tests/a.py::test_one[x]", "no card", {"CI": "1"}) is None
    assert skips.refused("tests/b.py::test_one", "no card", {"CI": "1"}) is not None


def test_every_listed_pattern_has_a_reason_and_a_file() -> None:
    for pattern, reason in skips.ALLOWED.items():
        assert reason
        assert (REPOSITORY / pattern.split("::", 1)[0]).is_file(), pattern
