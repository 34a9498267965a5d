"""`run` of a release: in the foreground, ended with what came, and nothing left behind.

The release is a stand-in whose `bin/app` is a few lines of sh.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.release.programs import run as run_release
from tests.places import started


class Run:
    """One run of a stand-in release; its scratch folders come to lie in a folder of their own."""

    def __init__(self, folder: Path, script: str) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.notes = folder / "notes"
        self._tarball = folder / "release.tar.gz"
        content = f"#!/bin/sh\n{script}\n".encode()
        entry = Entry("bin/app", "file", True, content=content)
        layers.write_whole(str(self._tarball), [entry])
        self.process: Optional[subprocess.Popen[str]] = None

    def start(self, *arguments: str, env: Optional[Dict[str, str]] = None) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, *started(run_release.__name__), str(self._tarball), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "TMPDIR": str(self.scratch),
                "NOTES": str(self.notes),
                **(env or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        return self.process

    def finish(self) -> tuple[int, str, str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=30)
        assert list(self.scratch.iterdir()) == [], "the scratch folder is left"
        return self.process.returncode, out, err

    def wait_for_note(self, text: str) -> None:
        wait_until(lambda: self.notes.exists() and text in self.notes.read_text())


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Run]:
    return lambda script: Run(tmp_path, script)


def wait_until(reached: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(mark: str) -> List[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in arguments:
            found.append(pid)
    return found


def test_the_application_runs_in_the_unpacked_release(make_run: Callable[[str], Run]) -> None:
    run = make_run('pwd; printf "<%s>" "$@"; echo problem >&2; exit 5')
    run.start("--port", "a b")
    code, out, err = run.finish()
    folder, arguments = out.split("\n")
    assert folder.startswith(str(run.scratch))
    assert folder.endswith("/release")
    assert (code, arguments, err) == (5, "<run-foreground><--port><a b>", "problem\n")


def test_the_user_s_node_settings_are_dropped_and_logs_go_to_the_scratch_folder(
    make_run: Callable[[str], Run],
) -> None:
    run = make_run("env | sort; test -d $LOG_DIR")
    dropped = {
        "NODE_OPTIONS": "--inspect",
        "NODE_PATH": "/x",
        "NODE_ENV": "x",
        "PID_FILE": "/x",
        "npm_config_registry": "https://r.example",
        "NPM_TOKEN": "secret",
        "SERVER_ENV": "sit",
    }
    run.start(env={**dropped, "PORT": "3000", "LOG_DIR": "/home/logs"})
    code, out, _ = run.finish()
    seen = dict(line.split("=", 1) for line in out.splitlines())
    assert code == 0
    assert not set(dropped) & set(seen)
    assert seen["PORT"] == "3000"
    assert seen["LOG_DIR"].startswith(str(run.scratch))


def test_an_application_that_a_signal_ends_has_the_shell_s_status(
    make_run: Callable[[str], Run],
) -> None:
    run = make_run("kill -9 $$")
    run.start()
    assert run.finish()[0] == 137


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_application_gets_the_signal_and_may_end_in_order(
    make_run: Callable[[str], Run], number: signal.Signals
) -> None:
    run = make_run(
        'trap "sleep 0.5; echo stopped in order; exit 0" INT TERM HUP; echo up >$NOTES;'
        "while :; do sleep 0.1; done"
    )
    process = run.start()
    run.wait_for_note("up")
    process.send_signal(number)
    code, out, _ = run.finish()
    assert (code, out) == (128 + number, "stopped in order\n")


def test_a_child_may_end_in_order_after_what_started_it(make_run: Callable[[str], Run]) -> None:
    """As npm does, which ends at once while the application still answers its last requests."""
    run = make_run(
        'sh -c \'trap "sleep 1; echo in order >>$NOTES; exit 0" INT TERM;'
        " echo up >$NOTES; while :; do sleep 0.1; done' & trap 'exit 0' INT TERM; wait"
    )
    process = run.start()
    run.wait_for_note("up")
    process.send_signal(signal.SIGTERM)
    run.finish()
    assert run.notes.read_text() == "up\nin order\n"


def test_a_stubborn_application_is_killed_with_its_children(make_run: Callable[[str], Run]) -> None:
    run = make_run(
        "trap '' INT TERM HUP; echo up >$NOTES; sleep 8765432 & sleep 8765432; sleep 8765432"
    )
    process = run.start()
    run.wait_for_note("up")
    wait_until(lambda: len(alive("8765432")) == 2)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 130
    # Pants kills this program after three seconds; a busy machine may be slow to tell the time.
    assert run_release._PATIENCE <= 2
    assert time.monotonic() - started < run_release._PATIENCE + 5
    wait_until(lambda: not alive("8765432"))


def test_children_that_an_application_leaves_are_ended(make_run: Callable[[str], Run]) -> None:
    run = make_run("sleep 8765433 >/dev/null 2>&1 & exit 3")
    run.start()
    assert run.finish()[0] == 3
    wait_until(lambda: not alive("8765433"))


def test_a_signal_at_any_moment_of_the_start_leaves_nothing(make_run: Callable[[str], Run]) -> None:
    run = make_run("trap 'exit 0' TERM; sleep 8765434 & wait")
    for delay in range(0, 120, 15):
        process = run.start()
        wait_until(lambda: any(run.scratch.iterdir()) or process.poll() is not None)  # noqa: B023
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode in (130, 143), delay
        assert not any(run.scratch.iterdir()), delay
        wait_until(lambda: not alive("8765434"))
