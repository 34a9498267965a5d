"""Starts a release inside its jail, and waits until it listens, ends, or has run long enough.

This program is the parent of all processes of the release, also of those that their own parents left.
So a port counts only if a process of the release listens on it, whatever else runs on the machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import FrozenSet, Iterable, Optional, Tuple

from slipway.isolation import job
from slipway.isolation.jails import descendants
from slipway.step import records

_LOOK_EVERY = 0.05  # seconds
# A process can listen and then fail in the same moment.
_SETTLES = 0.3  # seconds
_LISTENS = "0A"  # TCP_LISTEN in the kernel's tables


@dataclass(frozen=True)
class Start:
    """The command of a release; `patience` is how long it may take, in milliseconds.

    Without `listens`, the command only has to run for that time.
    """

    argv: Tuple[str, ...]
    patience: int
    listens: bool


@dataclass(frozen=True)
class Watched:
    """What became of a command.

    `processes` counts the processes that still run, and `ports` are those on which they listen. `status`
    is the exit status, or the negative number of a signal; None while the command runs.
    """

    processes: int
    ports: Tuple[int, ...]
    status: Optional[int] = None


def watch(start: Start) -> Watched:
    """Runs the command until its fate is clear; the processes still run afterwards."""
    job.take_in_orphans()
    command = subprocess.Popen(start.argv, stdin=subprocess.DEVNULL)
    status: Optional[int] = None
    end = time.monotonic() + start.patience / 1000
    while True:
        status = _reap(command.pid, status)
        pids = _live(descendants(os.getpid()))
        ports = _ports_of(pids)
        if ports and start.listens:
            time.sleep(_SETTLES)
            status = _reap(command.pid, status)
            pids = _live(descendants(os.getpid()))
            ports = _ports_of(pids)
            if ports and not status:
                return Watched(len(pids), ports, status)
        # A service that was sent to the background goes on without the command that started it.
        if status or not pids or time.monotonic() > end:
            # The command may have ended after this round took in those that had.
            return Watched(len(pids), ports, _reap(command.pid, status))
        time.sleep(_LOOK_EVERY)


def _reap(command: int, known: Optional[int]) -> Optional[int]:
    """Takes in processes that ended; returns the status of the command, if it is among them."""
    while True:
        try:
            pid, state = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return known
        if pid == 0:
            return known
        if pid == command:
            known = -os.WTERMSIG(state) if os.WIFSIGNALED(state) else os.WEXITSTATUS(state)


def _live(pids: Iterable[int]) -> FrozenSet[int]:
    live = set()
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                live.add(pid)
    return frozenset(live)


def _ports_of(pids: Iterable[int]) -> Tuple[int, ...]:
    """The TCP ports on which the processes listen."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    ports = set()
    for table in ("tcp", "tcp6"):
        # A kernel without IPv6 has no tcp6.
        with contextlib.suppress(OSError), open(
            f"/proc/self/net/{table}", encoding="ascii"
        ) as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in sockets:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return tuple(sorted(ports))


if __name__ == "__main__":
    described, report = sys.argv[1:]
    found = watch(records.read(Start, described))
    sys.stdout.flush()
    with open(report, "w", encoding="utf-8") as file:
        file.write(records.as_json(found))
