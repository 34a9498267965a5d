"""The progress of a long step, from its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.step.log import where


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not started, 0 lines"),
        ("+ ./configure\nchecking\n+ make -j2\n", "make -j2, 0 lines"),
        ("+ make -j2\n" + "g++ x\n" * 1204, "make -j2, 1,204 lines"),
        ("+ make " + "x" * 80 + "\n", "make " + "x" * 54 + "…, 0 lines"),
    ],
)
def test_the_command_and_its_lines_are_told(tmp_path: Path, text: str, said: str) -> None:
    log = tmp_path / "build.log"
    log.write_text(text)
    assert where(str(log)) == said
