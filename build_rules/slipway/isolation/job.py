"""What every way to isolate a build step has in common: the job, and how it may end."""

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

if TYPE_CHECKING:  # every step compiles what it imports
    from slipway.isolation.resource_limits import Limits
    from slipway.isolation.tree_cache import Layer

USER_ID = 1000
"""The ordinary user and group that every step runs as, whoever runs Pants."""

HOST_NAME = "build"
WRITABLE_FOLDERS = ("/build", "/home", "/tmp", "/dev/shm")
"""The folders of a root that are a step's own, and empty when it starts."""

OPEN_FILES = 4096
"""The soft limit, the same everywhere, as far as the machine's hard limit allows."""

PYTHON_OPTIONS = ("-I", "-S", "-B")
"""How every program of Slipway starts: nothing of the user's or the site's Python, no .pyc files."""

FOREIGN_FOLDER = "/build/work"
"""Where a foreign command without a program starts; it is empty then."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LOOK_EVERY = 1.0  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine that the command sees at `target`, an absolute path."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Command:
    """What runs, and in which environment; `cwd` is a path inside the root.

    It is a program of Slipway, which may ask for foreign commands; or it is `foreign` itself, and
    then runs as those do. Its input is empty, unless `stdin` is a descriptor, or `terminal` one of
    a terminal that becomes its own. `attempts` is a descriptor of the file that attempts of foreign
    commands at the network are noted in. `network` is whether the step has the machine's network,
    which none has by default.
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
    """One build step. `trees` maps a target to its layers, `/` to those of the root itself.

    `cache` is the folder of unpacked trees, `inputs` what the step reads, `out` the folder that
    gets its output files, which `outputs` names; `time_limit` is in seconds. `limits` are those of
    its foreign commands.
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
    """This machine does not offer the isolator; the text says what refused."""


class CommandNotStarted(Exception):
    """The root file system lacks the program, or it cannot run there."""

    def __init__(self, program: str, number: int) -> None:
        self.program = program
        self.number = number
        super().__init__(f"{program}: {os.strerror(number)}")


class TimeLimitReached(Exception):
    """The command was still running after its time limit and was killed with all its children."""


class CallerGone(Exception):
    """Whoever wanted the result is not there any more."""


def exit_status(status: int) -> int:
    """A status of wait(2) as a shell tells it: 128 + N for one that signal N ended."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def limit(kind: int, most: int) -> None:
    """Sets the soft limit of this process, as far as the hard one allows."""
    hard = resource.getrlimit(kind)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def control_process(operation: int, value: int) -> int:
    """prctl(2) for this process: 0, or the error's number."""
    done = _libc.prctl(operation, value, 0, 0, 0)
    return 0 if done == 0 else ctypes.get_errno()


def die_with_parent() -> int:
    """Has the kernel kill this process when its parent ends; 0, or the error's number."""
    return control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide() -> None:
    """Keeps other processes of this user from tracing this one and from reading its memory."""
    control_process(_PR_SET_DUMPABLE, 0)


def take_in_orphans() -> None:
    """Makes this process the parent of what its descendants leave behind when they end."""
    control_process(_PR_SET_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def watched(seconds: Optional[float]) -> Iterator[None]:
    """Raises within, in the main thread, once there is no use in going on.

    TimeLimitReached after that many seconds, and CallerGone when the process that started this one
    was killed, which tells its children nothing.
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
    """A process that cleans up after this one, should it be killed.

    `clean_up` runs in the guardian alone, once the process that made it is gone without a farewell.
    """

    def __init__(self, clean_up: Callable[[], None]) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writing)
                self._stand_apart()
                if not os.read(reading, 1):
                    clean_up()
            finally:
                os._exit(0)
        os.close(reading)

    @staticmethod
    def _stand_apart() -> None:
        """Out of the process group that is killed, and off the pipes that Pants waits for."""
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)

    def dismiss(self) -> None:
        os.write(self._writing, b"1")
        os.close(self._writing)
        os.waitpid(self._pid, 0)
