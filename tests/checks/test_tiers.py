"""A group without tests of the chosen tier passes; one that selects nothing else by mistake fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY

TEST = """
import pytest

@pytest.mark.long
def test_all_states():
    pass
"""


@pytest.mark.parametrize(
    ("words", "status"),
    [(["-m", "not long"], 0), (["-m", "long"], 0), (["-k", "nothing"], 5)],
)
def test_an_empty_tier_passes(words: list[str], status: int, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TEST)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.tiers", "-p", "no:cacheprovider"),
            *("--rootdir", str(tmp_path), *words, str(tmp_path)),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
