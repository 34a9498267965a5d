"""Runs a program whose output is shown as it comes and whose last lines explain a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from typing import Callable, Deque, List, Mapping, Sequence, Tuple

_LAST_LINES = 30


Stop = Callable[[], None]


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def run(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    started: Callable[[Stop], None] = lambda stop: None,
) -> Tuple[int, List[str]]:
    """The exit status, negative for a signal, and the last lines of both output streams.

    `started` gets a function that ends the program early, from any thread.
    """
    last: Deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        started(lambda: _end(process.pid))
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            last.append(line)
            print(line)
            sys.stdout.flush()
        status = process.wait()
    return status, list(last)
