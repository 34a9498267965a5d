"""A release that starts, and what the watcher sees of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.release.programs import watch_start
from slipway.release.programs.watch_start import Start, Watched
from slipway.step import records
from slipway.step.programs import launch
from tests.places import SOURCES

LISTEN = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()"
PRINT_PORT = "print(s.getsockname()[1], flush=True)"


class Watcher:
    """The watcher, as in a jail: the first of a group of processes that end together."""

    def __init__(self, folder: Path) -> None:
        self.report = folder / "start.json"
        self.output = ""

    def __call__(self, program: str, *, patience: int = 20_000, listens: bool = True) -> Watched:
        start = Start((sys.executable, "-c", program), patience, listens)
        command = [sys.executable, "-I", "-S", "-B", launch.__file__, watch_start.__name__]
        process = subprocess.Popen(
            [*command, records.as_json(start), str(self.report)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            # Its children keep the pipe open.
            assert process.wait(60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        with process.stdout as output:
            self.output = output.read()
        return records.read(Watched, self.report.read_text())


@pytest.fixture
def watch(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path)


def test_a_server_listens(watch: Watcher) -> None:
    seen = watch(f"{LISTEN}; {PRINT_PORT}; time.sleep(60)")
    assert seen == Watched(1, (int(watch.output),))


def test_a_server_over_ipv6_listens(watch: Watcher) -> None:
    program = LISTEN.replace("socket.socket()", "socket.socket(socket.AF_INET6)")
    program = program.replace("127.0.0.1", "::1")
    assert watch(f"{program}; {PRINT_PORT}; time.sleep(60)").ports == (int(watch.output),)


def test_a_port_of_somebody_else_does_not_count(watch: Watcher) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert watch("import time; time.sleep(60)", patience=500) == Watched(1, ())


def test_a_process_that_listens_and_fails_does_not_count(watch: Watcher) -> None:
    assert watch(f"{LISTEN}; raise SystemExit(3)") == Watched(0, (), 3)
    assert watch(f"{LISTEN}; time.sleep(0.1); raise SystemExit(3)") == Watched(0, (), 3)


def test_a_command_that_fails(watch: Watcher) -> None:
    assert watch("raise SystemExit(3)") == Watched(0, (), 3)
    assert watch("import os; os.kill(os.getpid(), 11)") == Watched(0, (), -11)


def test_a_command_that_returns_is_judged_by_what_it_left(watch: Watcher) -> None:
    # It leaves the session, so nothing ends it before its time.
    daemon = (
        "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        f'"""{LISTEN}; {PRINT_PORT}; time.sleep(4)"""], start_new_session=True)'
    )
    seen = watch(daemon)
    assert (seen.status, seen.processes) == (0, 1)
    assert watch("pass") == Watched(0, (), 0)


ENDS_BETWEEN_TWO_LOOKS = """
import os, sys
from slipway.release.programs import watch_start
real, looks = watch_start._reap, []

def late(command, known):
    looks.append(command)
    if len(looks) > 1:
        return real(command, known)
    os.waitid(os.P_PID, command, os.WEXITED | os.WNOWAIT)
    return known

watch_start._reap = late
print(watch_start.watch(watch_start.Start((sys.executable, "-c", "pass"), 5000, True)))
"""


def test_a_command_that_ends_between_two_looks_has_its_status() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_BETWEEN_TWO_LOOKS],
        env={"PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "Watched(processes=0, ports=(), status=0)\n"


def test_a_daemon_that_ends_leaves_nothing(watch: Watcher) -> None:
    daemon = "import subprocess; subprocess.Popen(['sleep', '0.5'], start_new_session=True)"
    assert watch(daemon) == Watched(0, (), 0)


def test_a_worker_only_has_to_run(watch: Watcher) -> None:
    assert watch("import time; time.sleep(60)", patience=300, listens=False) == Watched(1, ())
    assert watch("raise SystemExit(3)", patience=300, listens=False) == Watched(0, (), 3)
