"""The harness itself: a clone is whole, a run is closed off, and nothing outlives it."""

from __future__ import annotations

import time
from typing import Callable

import pytest

from tests.e2e import harness
from tests.e2e.conftest import First
from tests.e2e.harness import TimeLimitReached, Workspace


def test_clone_holds_what_the_runner_needs(make_workspace: Callable[..., Workspace]) -> None:
    clone = make_workspace("whole")
    assert (clone.root / "pants").stat().st_mode & 0o111
    assert (clone.root / "apps" / "koa-kkl" / "package-lock.json").exists()
    assert not (clone.root / "dist").exists()
    assert len((clone.home / ".npmrc").read_text().splitlines()) == 1


def test_run_that_takes_too_long_is_ended_with_all_it_started(
    make_workspace: Callable[..., Workspace],
) -> None:
    clone = make_workspace("hanging")
    (clone.root / "hang").write_text("#!/bin/sh\nsetsid sleep 300 &\nsleep 300\n")
    (clone.root / "hang").chmod(0o755)
    started = time.monotonic()
    with pytest.raises(TimeLimitReached):
        clone.pants(runner="./hang", timeout=1)
    assert time.monotonic() - started < 10
    assert harness.marked_processes(clone.mark) == set()


@pytest.mark.long
def test_counts_tell_what_ran_from_what_was_found(first: First) -> None:
    assert "Build koa-kkl for prod" in first.result.counts.ran
    again = first.workspace.pants("package", "//apps/koa-kkl:release").ok()
    assert again.counts.ran == []
    assert again.counts.steps("HitLocally") == first.result.counts.ran
