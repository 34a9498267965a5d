"""What all isolators share: the job, its possible errors, and helpers for processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Callable, Iterator, List, Mapping, Optional, Tuple

if TYPE_CHECKING:  # at run time, each step would compile these modules
    from slipway.isolation.resource_limits import Limits
    from slipway.isolation.tree_cache import Layer

USER_ID = 1000
"""The ordinary user and group of every step, whichever user runs Pants."""

HOST_NAME = "build"
WRITABLE_FOLDERS = ("/build", "/home", "/tmp", "/dev/shm")
"""The folders of a root that a step can write to; they are empty when it starts."""

OPEN_FILES = 4096
"""The soft limit of open files, the same on every machine whose hard limit allows it."""

PYTHON_OPTIONS = ("-I", "-S", "-B")
"""How every program of Slipway starts: nothing of the user's or the site's Python, no .pyc files."""

FOREIGN_FOLDER = "/build/work"
"""The working folder of a foreign command without a program; it is empty at the start."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LOOK_EVERY = 1.0  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine that the command sees at the absolute path `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Command:
    """The command of a job, and its environment; `cwd` is a path inside the root.

    The command is a program of Slipway, which may run foreign commands; or it is `foreign` itself.
    Its stdin is empty, unless `stdin` is a descriptor, or `terminal` is the descriptor of a
    terminal for it. The network guard records attempts of foreign commands in the file with the
    descriptor `attempts`. With `network`, the step has network access.
    """

    argv: Tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdin: Optional[int] = None
    terminal: Optional[int] = None
    attempts: Optional[int] = None
    network: bool = False
    foreign: bool = False


@dataclass(frozen=True)
class Job:
    """A build step; `trees` maps a target to its layers, and `/` to the layers of the root.

    `cache` is the folder of unpacked trees. `inputs` are the mounts that the step reads. `out` is
    the folder for the output files, whose names are in `outputs`. `time_limit` is in seconds.
    `limits` apply to foreign commands.
    """

    trees: Mapping[str, List[Layer]]
    cache: str
    inputs: Tuple[Mount, ...]
    out: str
    outputs: Tuple[str, ...]
    command: Command
    time_limit: float
    limits: Limits


class IsolationRefused(Exception):
    """The isolator does not work on this machine; the text says why."""


class CommandNotStarted(Exception):
    """The root file system lacks the program, or it cannot run there."""

    def __init__(self, program: str, number: int) -> None:
        self.program = program
        self.number = number
        super().__init__(f"{program}: {os.strerror(number)}")


class TimeLimitReached(Exception):
    """The command exceeded its time limit; it was killed with all its child processes."""


class CallerGone(Exception):
    """The process that waits for the result has ended."""


def exit_status(status: int) -> int:
    """A status of wait(2) in the form of a shell: 128 + N if signal N ended the process."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def limit(kind: int, most: int) -> None:
    """Sets the soft limit of this process, but at most to the hard limit."""
    hard = resource.getrlimit(kind)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def control_process(operation: int, value: int) -> int:
    """Calls prctl(2) for this process; returns 0 or the errno."""
    done = _libc.prctl(operation, value, 0, 0, 0)
    return 0 if done == 0 else ctypes.get_errno()


def die_with_parent() -> int:
    """Makes the kernel kill this process when its parent ends; returns 0 or the errno."""
    return control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide() -> None:
    """Keeps other processes of this user from tracing this process or reading its memory."""
    control_process(_PR_SET_DUMPABLE, 0)


def take_in_orphans() -> None:
    """Makes this process the new parent of orphaned descendants."""
    control_process(_PR_SET_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def watched(seconds: Optional[float]) -> Iterator[None]:
    """Raises an exception in the main thread, inside the context, when waiting is pointless.

    TimeLimitReached is raised after `seconds`. CallerGone is raised when the parent process has
    been killed; the kernel does not notify children of that, so this is checked every second.
    """
    caller = os.getppid()
    deadline = None if seconds is None else time.monotonic() + seconds

    def look(number: int, frame: Optional[FrameType]) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeLimitReached
        if os.getppid() != caller:
            raise CallerGone

    signal.signal(signal.SIGALRM, look)
    first = _LOOK_EVERY if seconds is None else max(min(_LOOK_EVERY, seconds), 0.001)
    signal.setitimer(signal.ITIMER_REAL, first, _LOOK_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Guardian:
    """A process that cleans up if its creator is killed.

    `clean_up` runs in the guardian, and only if the creator ends without a call of dismiss().
    """

    def __init__(self, clean_up: Callable[[], None]) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writing)
                self._detach()
                if not os.read(reading, 1):
                    clean_up()
            finally:
                os._exit(0)
        os.close(reading)

    @staticmethod
    def _detach() -> None:
        """Leaves the process group that Pants kills, and the pipes that Pants waits for."""
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)

    def dismiss(self) -> None:
        os.write(self._writing, b"1")
        os.close(self._writing)
        os.waitpid(self._pid, 0)
