"""Runs foreign commands for a step's program: npm, node, make, scripts of packages.

Each command runs in a jail of the step's first process. When `run` returns, the command and all its
processes have ended. The files that it left are untrusted.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import BinaryIO, Callable, Deque, Iterator, List, Mapping, Sequence, Tuple

from slipway.core.errors import SlipwayError
from slipway.core.printable import printable
from slipway.isolation import jail_protocol
from slipway.isolation.jail_protocol import NOBODY, Reply, Request, Subject

_LAST_LINES = 30
_LONGEST_LINE = 1 << 16
_MOST_OUTPUT = 64 << 20

Stop = Callable[[], None]


def run(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    *,
    writable: Sequence[str],
    subject: Subject = NOBODY,
    started: Callable[[Stop], None] = lambda stop: None,
) -> Tuple[int, List[str]]:
    """Runs a command; returns its exit status (negative for a signal) and the last output lines.

    The output of both streams is printed as it arrives, with control characters escaped. `cwd` and
    the folders in `writable` are relative to the program's working folder. `started` receives a
    function that any thread can call to stop the command. Raises OSError if the command cannot be
    started, and SlipwayError if it exceeds a limit of the step.
    """
    last: Deque[str] = deque(maxlen=_LAST_LINES)

    def show(line: str) -> None:
        last.append(line)
        print(line, flush=True)

    reply = _run(argv, cwd, env, writable, subject, started, show)
    return reply.status, list(last)


def capture(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], *, writable: Sequence[str] = ()
) -> Tuple[int, str]:
    """The exit status and the output of a command with little output, which is not printed."""
    lines: List[str] = []
    reply = _run(argv, cwd, env, writable, NOBODY, lambda stop: None, lines.append)
    return reply.status, "\n".join(lines).strip()


def run_into(
    log: BinaryIO, argv: Sequence[str], cwd: str, env: Mapping[str, str], *, writable: Sequence[str]
) -> int:
    """The exit status of a command whose output goes to `log`, with control characters escaped."""

    def write(line: str) -> None:
        log.write(line.encode() + b"\n")
        log.flush()

    return _run(argv, cwd, env, writable, NOBODY, lambda stop: None, write).status


def _run(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    writable: Sequence[str],
    subject: Subject,
    started: Callable[[Stop], None],
    take: Callable[[str], None],
) -> Reply:
    request = Request(
        argv=tuple(argv),
        env=dict(env),
        cwd=os.path.abspath(cwd),
        writable=tuple(os.path.abspath(folder) for folder in writable),
        subject=subject,
    )
    with socket.socket(fileno=os.dup(jail_protocol.DESCRIPTOR)) as first_process:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as output:
            jail_protocol.send_request(first_process, request, writing)
            os.close(writing)
            started(lambda: jail_protocol.send_stop(first_process))
            for line in _lines(output):
                take(line)
        reply = jail_protocol.receive_reply(first_process)
    if reply.missing:
        raise OSError(reply.missing, os.strerror(reply.missing), request.argv[0])
    if reply.refused:
        raise SlipwayError(
            "cannot isolate the commands of a build step on this machine",
            found=reply.refused,
            next="use another isolator: --slipway-isolator=docker",
        )
    if reply.breach is not None:
        raise SlipwayError(**reply.breach)
    return reply


def _lines(output: BinaryIO) -> Iterator[str]:
    """The lines of an untrusted stream, which may be endless, binary, or a single long line."""
    left = _MOST_OUTPUT
    while True:
        raw = output.readline(_LONGEST_LINE)
        if not raw:
            return
        if left < 0:
            continue
        left -= len(raw)
        if left < 0:
            yield f"… (output after {_MOST_OUTPUT >> 20} MiB is omitted)"
        else:
            yield printable(raw.decode("utf-8", "replace").rstrip("\n"))
