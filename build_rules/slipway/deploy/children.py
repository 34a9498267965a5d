"""The processes that the coordinator starts on its own machine, and a way to end them all.

The end of a deploy does not wait for a host's step: the host finishes the step on its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any, Mapping, Optional, Sequence, Set


class Interrupted(Exception):
    """A signal has ended this deploy; no further step starts."""


class Children:
    """The running child processes; `end` kills them and prevents further starts."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._running: Set[subprocess.Popen[bytes]] = set()
        self._lock = (
            threading.RLock()
        )  # reentrant: a signal handler calls `end` in the thread that may hold it

    def start(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.ended.is_set():
                raise Interrupted
            process = subprocess.Popen(command, start_new_session=True, **settings)
            self._running.add(process)
            if self.ended.is_set():
                _kill(process)
        return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)

    def run(
        self,
        command: Sequence[str],
        seconds: float,
        *,
        env: Optional[Mapping[str, str]] = None,
        stdout: int = subprocess.PIPE,
        stderr: Optional[int] = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command to its end.

        Raises subprocess.TimeoutExpired after `seconds`, and Interrupted if `end` killed it.
        """
        process = self.start(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise
        finally:
            self.forget(process)
        if self.ended.is_set():
            raise Interrupted
        return subprocess.CompletedProcess(process.args, process.returncode, output or b"", b"")

    def end(self) -> None:
        with self._lock:
            self.ended.set()
            for process in self._running:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the whole process group: a command that a shell started would keep its output open."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
