"""The progress of a long step is logged while it runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from slipway.step.rules import progress
from slipway.step.rules.progress import Progress


def test_a_long_step_tells_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.02)
    caplog.set_level("INFO")
    log = tmp_path / "build.log"
    with Progress(str(log), "Build //examples/quickjs"):
        time.sleep(0.1)
        assert caplog.messages == []  # the step has not begun, or runs where its log is not seen
        (tmp_path / "written").write_text("+ make -j2\n" + "cc x.c\n" * 7)
        (tmp_path / "written").rename(log)
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.02)
    assert caplog.messages[0] == "Build //examples/quickjs: make -j2, 7 lines, 0.0 minutes"
    time.sleep(0.1)
    told = len(caplog.messages)
    time.sleep(0.1)
    assert len(caplog.messages) == told
