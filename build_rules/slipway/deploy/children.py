"""Processes that the coordinator starts on its own machine, and an end that reaches them all.

Whoever ends a deploy waits for a host's step no longer: what the host has begun, it completes alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any, Mapping, Optional, Sequence, Set


class Interrupted(Exception):
    """Somebody has ended this deploy; nothing more is begun."""


class Children:
    """`end` kills those that run and lets no other start."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._running: Set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # a signal may come while it is held

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
        """Raises subprocess.TimeoutExpired, and Interrupted where it was ended from here."""
        process = self.start(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise
        finally:
            self.forget(process)
        if self.ended.is_set():
            raise Interrupted
        return subprocess.CompletedProcess(process.args, process.returncode, said or b"", b"")

    def end(self) -> None:
        with self._lock:
            self.ended.set()
            for process in self._running:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started: a shell's command would hold its output open."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
