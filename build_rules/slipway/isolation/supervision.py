"""Runs a step below a supervisor process, which kills what is left of it and cleans up.

Without namespaces, the kernel does not kill a command's processes at its end. The supervisor is the
first process of the step and becomes the parent of orphans. It has a pipe whose other end closes
with the caller. So it kills and cleans up in the same way when the caller finishes or is killed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Callable, Iterator, Optional, Union

from slipway.isolation.first_process import Bounds, FirstProcess
from slipway.isolation.jail_protocol import Request
from slipway.isolation.jails import Jail, descendants, end_processes
from slipway.isolation.job import CommandNotStarted, IsolationRefused, hide, watched

Start = Callable[[], None]


class StartFailed(Exception):
    """A command could not be started; `isolation` is True if the isolation failed."""

    def __init__(self, what: str, number: int, *, isolation: bool) -> None:
        self.what, self.number, self.isolation = what, number, isolation
        super().__init__(f"{what}: {os.strerror(number)}")


@contextlib.contextmanager
def supervised(
    command: Union[Start, Request],
    clean_up: Callable[[], None],
    jail: Jail,
    attempts: Optional[int] = None,
    prepare: Callable[[], None] = lambda: None,
    bounds: Optional[Bounds] = None,
) -> Iterator[Callable[[Optional[float]], int]]:
    """Yields a function that runs the command with a time limit, and returns its exit status.

    `command` is a function that becomes the step's program and may raise StartFailed, or a foreign
    command. `prepare` runs before it in the supervisor, so that its children inherit the changes.
    `clean_up` runs in the supervisor at the end of the context, or when this process is killed.
    `attempts` is as in Command. `bounds` are the limits of foreign commands, with paths outside the
    root.
    """
    held, life = os.pipe()
    reading, report = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(life)
        os.close(reading)
        first = FirstProcess(jail, attempts, held, bounds)
        _supervise(command, prepare, clean_up, held, report, first)
    os.close(held)
    os.close(report)

    def run(seconds: Optional[float]) -> int:
        with watched(seconds):
            os.write(life, b"1")
            with os.fdopen(reading, "rb", closefd=False) as pipe:
                text = pipe.read().decode()
        return _status(text)

    try:
        yield run
    finally:
        os.close(life)
        os.close(reading)
        os.waitpid(supervisor, 0)


def _status(report: str) -> int:
    kind, _, rest = report.splitlines()[0].partition(" ") if report else ("", "", "")
    if kind == "status":
        return int(rest)
    number, _, what = rest.partition(" ")
    if kind == "missing":
        raise CommandNotStarted(what, int(number))
    if kind == "refused":
        raise IsolationRefused(f"{what}: {os.strerror(int(number))}" if int(number) else what)
    raise IsolationRefused("the supervisor was killed")


def _supervise(
    command: Union[Start, Request],
    prepare: Callable[[], None],
    clean_up: Callable[[], None],
    held: int,
    report: int,
    first: FirstProcess,
) -> None:
    """The main function of the supervisor; never returns."""
    try:
        # Leaves the process group that Pants kills.
        os.setsid()
        hide()
        if not os.read(held, 1):
            return
        prepare()
        if isinstance(command, Request):
            line = _run_foreign(first, command)
        else:
            line = _serve(first, command, held, report)
        os.write(report, line.encode())
        os.close(report)
        # Closes its ends of the pipes that Pants waits for.
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.read(held, 1)  # waits until the caller is done or was killed
    finally:
        try:
            end_processes(lambda: descendants(os.getpid()))
            clean_up()
        finally:
            os._exit(0)


def _serve(first: FirstProcess, start: Start, held: int, report: int) -> str:
    status = first.serve(lambda: _become(start, held, report))
    return "" if status is None else f"status {status}\n"


def _run_foreign(first: FirstProcess, request: Request) -> str:
    reply = first.run(request)
    if reply is None:
        return ""
    if reply.missing:
        return f"missing {reply.missing} {request.argv[0]}\n"
    if reply.refused:
        return f"refused 0 {reply.refused}\n"
    return f"status {128 - reply.status if reply.status < 0 else reply.status}\n"


def _become(start: Start, held: int, report: int) -> None:
    os.close(held)
    try:
        start()
    except StartFailed as failed:
        kind = "refused" if failed.isolation else "missing"
        os.write(report, f"{kind} {failed.number} {failed.what}\n".encode())
