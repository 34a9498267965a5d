"""Runs a command below a process that outlives this one, ends all that it left, and cleans up.

Without namespaces nothing ends a command's processes by itself.  The supervisor is the one that
orphans come to, and it holds a pipe whose other end dies with the caller: whether the caller is
done, or was killed, what is left is ended and removed in the same way.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import Callable, Iterator, Optional, Set

from build_rules.lib.isolation import (
    CommandNotStarted,
    IsolationRefused,
    control_process,
    exit_status,
    watched,
)
from build_rules.lib.network_guard import guarded_child

_PR_SET_CHILD_SUBREAPER = 36


class StartFailed(Exception):
    """What kept a command from starting: `isolation` tells whether it was the isolation itself."""

    def __init__(self, what: str, number: int, *, isolation: bool) -> None:
        self.what, self.number, self.isolation = what, number, isolation
        super().__init__(f"{what}: {os.strerror(number)}")


@contextlib.contextmanager
def supervised(
    start: Callable[[], None], clean_up: Callable[[], None], attempts: Optional[int] = None
) -> Iterator[Callable[[Optional[float]], int]]:
    """Gives what runs the command that `start` becomes: its exit status, within so many seconds.

    `start` never returns; it raises StartFailed. `clean_up` runs, in the supervisor, at the end of
    the context, or when this process is killed meanwhile. `attempts` is as in Command.
    """
    held, life = os.pipe()
    reading, report = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(life)
        os.close(reading)
        _supervise(start, clean_up, held, report, attempts)
    os.close(held)
    os.close(report)

    def run(seconds: Optional[float]) -> int:
        with watched(seconds):
            os.write(life, b"1")
            with os.fdopen(reading, "rb", closefd=False) as pipe:
                said = pipe.read().decode()
        return _status(said)

    try:
        yield run
    finally:
        os.close(life)
        os.close(reading)
        os.waitpid(supervisor, 0)


def _status(said: str) -> int:
    kind, _, rest = said.splitlines()[0].partition(" ") if said else ("", "", "")
    if kind == "status":
        return int(rest)
    number, _, what = rest.partition(" ")
    if kind == "missing":
        raise CommandNotStarted(what, int(number))
    raise IsolationRefused(f"{what}: {os.strerror(int(number))}" if what else "it was ended")


def _supervise(
    start: Callable[[], None],
    clean_up: Callable[[], None],
    held: int,
    report: int,
    attempts: Optional[int],
) -> None:
    """Does not return: all that it does ends in `finally`."""
    try:
        # Out of the process group that is killed.
        os.setsid()
        control_process(_PR_SET_CHILD_SUBREAPER, 1)
        if not os.read(held, 1):
            return
        woken, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def become() -> None:
            os.close(held)
            _become(start, report)

        child = guarded_child(become, attempts)
        # Off the pipes that Pants waits for.
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        status = _wait(child, held, woken)
        end_descendants()
        if status is not None:
            os.write(report, f"status {status}\n".encode())
        os.close(report)
        os.read(held, 1)  # until the caller is done, or gone
    finally:
        end_descendants()
        clean_up()
        os._exit(0)


def _become(start: Callable[[], None], report: int) -> None:
    try:
        start()
    except StartFailed as failed:
        kind = "refused" if failed.isolation else "missing"
        os.write(report, f"{kind} {failed.number} {failed.what}\n".encode())


def _wait(child: int, held: int, woken: int) -> Optional[int]:
    """The child's exit status; None once the caller is gone. Takes in orphans meanwhile."""
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, status = 0, 0
            if pid == child:
                return exit_status(status)
            if pid == 0:
                break
        ready = select.select([held, woken], [], [])[0]
        if held in ready:
            return None
        os.read(woken, 512)


def end_descendants() -> None:
    """Kills what this process, the reaper of orphans, still has below it, and waits for it."""
    while True:
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _descendants() -> Set[int]:
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found: Set[int] = set()
    queue = [os.getpid()]
    while queue:
        parent = queue.pop()
        children = [pid for pid, above in parents.items() if above == parent]
        found.update(children)
        queue.extend(children)
    return found
