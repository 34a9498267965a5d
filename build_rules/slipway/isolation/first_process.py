"""The first process of a step: starts its program, and runs foreign commands for it in a jail.

Each foreign command has three phases. The program prepares; the command runs while the program
waits; the program collects the results. Before the last phase, the jail has ended with all
processes of the command. The program is trusted, but the files that it collects are not.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from slipway.core.errors import SlipwayError
from slipway.isolation import jail_protocol, jails, job
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.jail_protocol import Reply, Request
from slipway.isolation.jails import Jail
from slipway.isolation.job import exit_status
from slipway.isolation.resource_limits import Breach, Limits, message
from slipway.isolation.resource_monitor import Monitor
from slipway.isolation.space_use import Space, explain_full, find_spaces

_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True)
class Bounds:
    """The limits of a step's foreign commands, and the folders that they can write to.

    `shm_user` is as in Monitor.
    """

    limits: Limits
    folders: Tuple[str, ...]
    cgroup: Optional[Cgroup] = None
    shm_user: Optional[int] = None


class _Running:
    """A jail with a command; `first` is its first process, `report` a pipe from it."""

    def __init__(
        self, request: Request, first: int, report: int, monitor: Optional[Monitor]
    ) -> None:
        self.request, self.first, self.report = request, first, report
        self.monitor = monitor
        self.breach: Optional[Breach] = None
        self.ended = False


class FirstProcess:
    """Serves a step's program, or runs a foreign command.

    The network guard writes to the descriptor `attempts`; None disables the guard. The other end of
    `life` closes when the caller no longer waits for the result. Without `bounds`, commands have no
    limits.
    """

    def __init__(
        self,
        jail: Jail,
        attempts: Optional[int],
        life: Optional[int] = None,
        bounds: Optional[Bounds] = None,
    ) -> None:
        job.take_in_orphans()
        self._jail = jail
        self._attempts = attempts
        self._life = life
        self._bounds = bounds
        self._spaces: Tuple[Space, ...] = ()
        self._cgroup: Optional[Cgroup] = None
        if bounds is not None:
            self._spaces = find_spaces(bounds.folders)
            if bounds.cgroup is not None and bounds.cgroup.takes_processes():
                self._cgroup = bounds.cgroup
        self._program = 0
        self._running: Optional[_Running] = None
        self._requests: Optional[socket.socket] = None

    def serve(self, start: Callable[[], None]) -> Optional[int]:
        """Runs the program that `start` becomes; returns its exit status.

        Returns None if the caller stops waiting. The program has its end of the socket as
        descriptor 3.
        """
        ours, theirs = socket.socketpair()
        self._requests = ours
        with _woken() as woken:
            program = os.fork()
            if program == 0:
                _become_program(start, theirs)
            theirs.close()
            self._program = program
            self._jail.spare(program)
            try:
                return self._wait(woken, program)
            finally:
                self._end_jail()

    def answer(self, requests: socket.socket) -> None:
        """Runs the commands that are requested at the other end, until the caller stops waiting."""
        self._requests = requests
        with _woken() as woken:
            try:
                self._wait(woken, program=0)
            finally:
                self._end_jail()

    def run(self, request: Request) -> Optional[Reply]:
        """Runs a foreign command without a program, with this process's output streams.

        If the command exceeds a limit, the error is printed to stderr. Returns None if the caller
        stops waiting.
        """
        with _woken() as woken:
            try:
                self._start(request, {_STDOUT: _STDOUT, _STDERR: _STDERR})
                while self._running and not self._running.ended:
                    if not self._pause(woken, []):
                        return None
                    self._reap(0)
                reply = self._finish()
            finally:
                self._end_jail()
        if reply.breach is not None:
            os.write(_STDERR, f"{SlipwayError(**reply.breach)}\n".encode())
        return reply

    # --- The program.

    def _wait(self, woken: int, program: int) -> Optional[int]:
        while True:
            status = self._reap(program)
            if status is not None:
                return status
            if self._running and self._running.ended:
                assert self._requests is not None
                jail_protocol.send_reply(self._requests, self._finish())
            if not self._pause(woken, [self._requests] if self._requests else []):
                return None

    def _pause(self, woken: int, requests: List[socket.socket]) -> bool:
        """Waits for the next event; False when the caller no longer waits for the result."""
        life = [] if self._life is None else [self._life]
        running = self._running
        timeout = running.monitor.interval if running and running.monitor else None
        ready = select.select([woken, *life, *requests], [], [], timeout)[0]
        if running and running.monitor and running.breach is None:
            running.breach = running.monitor.look()
            if running.breach:
                self._stop()
        if self._life in ready:
            return False
        if woken in ready:
            os.read(woken, 512)
        for source in requests:
            if source in ready:
                self._take_request(source)
        return True

    def _take_request(self, requests: socket.socket) -> None:
        try:
            request, output = jail_protocol.receive_request(requests)
        except EOFError:
            self._requests = None
            return
        if request is None:
            self._stop()
        elif output is not None:
            self._start(request, {_STDOUT: output, _STDERR: output})
            os.close(output)

    def _reap(self, program: int) -> Optional[int]:
        """Reaps all ended children; returns the program's exit status when it has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == program:
                return exit_status(status)
            if self._running and pid == self._running.first:
                self._running.ended = True

    # --- The jail.

    def _start(self, request: Request, output: Dict[int, int]) -> None:
        assert self._running is None, "a program must wait for a command before it starts another"
        self._jail.give(request)
        reading, report = os.pipe()
        first = os.fork()
        if first == 0:
            os.close(reading)
            self._leave_parents_ends()
            jails.run_first(self._jail, request, output, report, self._attempts, self._join_cgroup)
        os.close(report)
        self._running = _Running(request, first, reading, self._monitor())

    def _join_cgroup(self) -> None:
        if self._cgroup is not None:
            self._cgroup.add()

    def _monitor(self) -> Optional[Monitor]:
        if self._bounds is None:
            return None
        return Monitor(
            self._bounds.limits,
            lambda: jails.descendants(os.getpid(), spared=self._program),
            self._spaces,
            self._cgroup,
            self._bounds.shm_user,
        )

    def _leave_parents_ends(self) -> None:
        """Closes descriptors in the jail's first process, so that other readers see their end."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._requests is not None:
            self._requests.close()

    def _stop(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running.first, signal.SIGKILL)

    def _finish(self) -> Reply:
        assert self._running is not None
        running = self._running
        # Before the jail ends. Afterwards, its processes and their deleted files no longer count.
        breach = running.breach or self._explain(running)
        reply = self._end_jail()
        self._jail.take_back(running.request)
        failed = reply.status or reply.refused or reply.missing
        if breach is None or not (running.breach or failed):
            return reply
        error = message(breach, _label(running.request))
        return Reply(
            status=1,
            breach={
                "what": error.what,
                "where": error.where,
                "found": error.found,
                "next": error.next,
            },
        )

    def _explain(self, running: _Running) -> Optional[Breach]:
        if running.monitor is None or self._bounds is None:
            return None
        return running.monitor.look() or explain_full(self._spaces, self._bounds.limits)

    def _end_jail(self) -> Reply:
        """Ends the jail, if there is one, and returns the reply from its first process."""
        running, self._running = self._running, None
        if running is None:
            return Reply()
        if not running.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.first, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(running.first, 0)
        report = _read_report(running.report)
        self._jail.end()
        return _reply(report)


def _label(request: Request) -> str:
    package, version, _ = request.subject
    if not package:
        return f'the command "{os.path.basename(request.argv[0])}"'
    return f'the scripts of "{package}@{version}"'


def _become_program(start: Callable[[], None], requests: socket.socket) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # dup2() makes the copy inheritable, so that the program keeps it after exec.
        os.dup2(requests.fileno(), jail_protocol.DESCRIPTOR)
        start()
    finally:
        os._exit(127)


def _read_report(report: int) -> Dict[str, str]:
    """The lines that the first process of the jail has written, by their first word.

    Does not wait for the end of the pipe, because other processes may still have it open.
    """
    os.set_blocking(report, False)
    content = b""
    with contextlib.suppress(BlockingIOError):
        content = os.read(report, 1 << 16)
    os.close(report)
    lines = (line.partition(" ") for line in content.decode(errors="replace").splitlines())
    return {word: rest for word, _, rest in lines}


def _reply(report: Dict[str, str]) -> Reply:
    if "refused" in report:
        return Reply(refused=report["refused"])
    if "missing" in report:
        return Reply(missing=int(report["missing"]))
    return Reply(status=int(report.get("status", -signal.SIGKILL)))


@contextlib.contextmanager
def _woken() -> Iterator[int]:
    """A descriptor that becomes readable when a child ends, for select()."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before: Tuple[int, object] = (
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False),
        signal.signal(signal.SIGCHLD, lambda *_: None),
    )
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before[0])
        signal.signal(signal.SIGCHLD, before[1])  # type: ignore[arg-type]
        os.close(reading)
        os.close(writing)
