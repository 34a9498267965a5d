"""A command below its supervisor: how it ended, and that nothing of it is left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Sequence

import pytest

from slipway.isolation import copied_inputs
from slipway.isolation.jails import Jail
from slipway.isolation.job import CommandNotStarted, IsolationRefused, TimeLimitReached
from slipway.isolation.supervision import StartFailed, supervised
from tests.places import SOURCES

PROGRAM = """
import os, sys
from slipway.isolation.jails import Jail
from slipway.isolation.supervision import supervised
def start(): os.execvp("sh", ["sh", "-c", "sleep 300.1357 & setsid sleep 300.1357 & wait"])
with supervised(start, lambda: open(sys.argv[1], "w").close(), Jail()) as run:
    print("ready", flush=True)
    run(None)
"""


def shell(script: str) -> Callable[[], None]:
    return lambda: os.execvp("sh", ["sh", "-c", script])


def outcome(start: Callable[[], None], mark: Path, seconds: float = 60) -> int:
    with supervised(start, mark.touch, Jail()) as run:
        return run(seconds)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill $$", 143)])
def test_the_status_of_a_command(script: str, status: int, tmp_path: Path) -> None:
    assert outcome(shell(script), tmp_path / "cleaned") == status
    assert (tmp_path / "cleaned").exists()


def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"(setsid sh -c 'echo $$ >>{pids}; exec sleep 300' &); sleep 0.2; exit 0"
    assert outcome(shell(script), tmp_path / "cleaned") == 0
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeLimitReached):
        outcome(shell("sleep 300 & wait"), tmp_path / "cleaned", seconds=0.3)
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize(
    ("isolation", "error"), [(True, IsolationRefused), (False, CommandNotStarted)]
)
def test_what_kept_a_command_from_starting_is_told(
    isolation: bool, error: type, tmp_path: Path
) -> None:
    def start() -> None:
        raise StartFailed("/bin/a b", errno.ENOENT, isolation=isolation)

    with pytest.raises(error, match="/bin/a b: No such file"):
        outcome(start, tmp_path / "cleaned")
    assert (tmp_path / "cleaned").exists()


def test_a_context_that_fails_before_its_command_is_cleaned_up(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), supervised(
        shell("exit"), (tmp_path / "x").touch, Jail()
    ):
        raise ZeroDivisionError
    assert (tmp_path / "x").exists()


def test_a_killed_caller_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    mark = tmp_path / "cleaned"
    caller = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(mark)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert caller.stdout is not None
    caller.stdout.readline()
    wait_for(lambda: len(running(["sleep", "300.1357"])) == 2)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    wait_for(lambda: mark.exists() and not running(["sleep", "300.1357"]))


def test_a_tree_of_any_depth_is_removed_also_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    deep = "import os; [(os.mkdir('d' * 200), os.chdir('d' * 200)) for _ in range(40)]"
    subprocess.run([sys.executable, "-c", deep], cwd=tmp_path, check=True)
    copied_inputs.remove_tree(str(tmp_path / ("d" * 200)))
    copied_inputs.remove_tree(str(tmp_path / "nothing"))
    assert not list(tmp_path.iterdir())


def running(argv: Sequence[str]) -> Sequence[str]:
    wanted = b"".join(word.encode() + b"\0" for word in argv)
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{name}/cmdline").read_bytes() == wanted:
                found.append(name)
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
