"""Jails separate a foreign command from the program that asked for it and from the step's outputs.

A command in a jail cannot see, signal or trace the processes of its step.  It can write only to the
folders that it was given.  The command and everything that it started end before the program goes
on.  A jail is a process namespace or a separate user, depending on the isolator.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from typing import Callable, Dict, FrozenSet, Iterable, List, NoReturn, Optional, Set

from slipway.isolation import job, network_guard, sysv_ipc
from slipway.isolation.jail_protocol import Request
from slipway.isolation.job import OPEN_FILES, exit_status
from slipway.isolation.network_guard import OWN_LOOPBACK, Surroundings

NO_NEW_PRIVILEGES = 38
_SYS_KEYCTL, _JOIN_SESSION_KEYRING = 250, 1
_MORE_PROCESSES = 64
_PAUSE = 0.002  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


class Jail:
    """The parts in which isolators differ; this class is for a user who can create no jail.

    The command then runs as the program's user and can write to all files of that user.  It cannot
    trace the program: the program is not dumpable, and the system call filter refuses ptrace.
    """

    surroundings: Surroundings = OWN_LOOPBACK
    most_processes: Optional[int] = None
    """The kernel's limit for a user that runs nothing else; None where processes are counted."""

    def __init__(self) -> None:
        self._program = 0

    def spare(self, program: int) -> None:
        """Tells the process ID of the program, which `end` must leave alone."""
        self._program = program

    def give(self, request: Request) -> None:
        """Lets the command write to its folders; called before each."""

    def enter(self, request: Request) -> None:
        """Shuts in the process that calls it, the first of the jail; it may return in a child."""
        job.take_in_orphans()

    def become_user(self) -> None:
        """Turns the process that calls it into one of the jail's user, right before it execs."""

    def end(self) -> None:
        """Returns when no process of the jail is left."""
        end_processes(lambda: descendants(os.getpid(), spared=self._program))

    def take_back(self, request: Request) -> None:
        """Gives the command's folders back to the program, once it has ended."""


class UserJail(Jail):
    """A jail by user: only the commands of one step run as `user`.

    This process must have the rights to become that user and to change owners.  `root` is the
    folder that becomes the root of commands; empty for the root of this machine.
    """

    def __init__(
        self,
        user: int,
        program_user: int,
        most_processes: int,
        root: str = "",
        *,
        own_loopback: bool = True,
    ) -> None:
        super().__init__()
        self._user, self._program_user, self._root = user, program_user, root
        # Some more than the step's limit, so that a look finds it exceeded.
        self.most_processes = most_processes + _MORE_PROCESSES
        users = frozenset((user, program_user))
        self.surroundings = Surroundings(user, None if own_loopback else users)

    def give(self, request: Request) -> None:
        self._change_owner(request.writable, self._user)

    def become_user(self) -> None:
        if self._root:
            os.chroot(self._root)
            os.chdir("/")
        become(self._user)

    def end(self) -> None:
        end_user(self._user)
        if sysv_ipc.any_of(self._user):
            _as_user(self._user, lambda: sysv_ipc.remove_all_of(self._user))

    def take_back(self, request: Request) -> None:
        self._change_owner(request.writable, self._program_user)

    def _change_owner(self, folders: Iterable[str], user: int) -> None:
        """Of all below, links not followed: no process can change the tree meanwhile."""
        queue = [self._root + folder for folder in folders]
        while queue:
            folder = queue.pop()
            # Entries too deep for a path keep their owner; the collecting program refuses the tree.
            with contextlib.suppress(OSError):
                os.chown(folder, user, user, follow_symlinks=False)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(entry.path)
                        else:
                            os.chown(entry.path, user, user, follow_symlinks=False)


def become(user: int) -> None:
    """Makes this process one of an ordinary user without any rights beyond."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def run_first(
    jail: Jail,
    request: Request,
    output: Dict[int, int],
    report: int,
    attempts: Optional[int],
    join_cgroup: Callable[[], None],
) -> NoReturn:
    """What the first process of a jail does; it never returns.

    Writes one line to `report`: `status N`, `missing N` or `refused TEXT`. `output` maps the
    command's descriptors to those of this process.
    """
    status = 1

    def tell(line: str) -> None:
        os.write(report, f"{line}\n".encode())

    def become_command() -> None:
        try:
            _become_command(jail, request, output)
        except OSError as error:
            tell(f"missing {error.errno or 0}")

    try:
        job.die_with_parent()
        job.hide()
        join_cgroup()
        _join_new_keyring()
        jail.enter(request)
        child = network_guard.guarded_child(
            become_command, attempts, request.subject, jail.surroundings
        )
        for descriptor in set(output.values()):
            os.close(descriptor)
        tell(f"status {_reap_until(child)}")
        status = 0
    except BaseException as error:
        tell(f"refused {' '.join(str(error).split())}")
    finally:
        os._exit(status)


def _join_new_keyring() -> None:
    """Replaces the session keyring, which holds the user's tickets and tokens, with an empty one.

    Kernels without keyrings and engines that refuse the call expose no keyring either.
    """
    _libc.syscall(ctypes.c_long(_SYS_KEYCTL), _JOIN_SESSION_KEYRING, None)


def _become_command(jail: Jail, request: Request, output: Dict[int, int]) -> NoReturn:
    job.die_with_parent()
    os.setsid()
    os.umask(0o022)
    job.limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open("/dev/null", os.O_RDONLY)
    if jail.most_processes is not None:
        job.limit(resource.RLIMIT_NPROC, jail.most_processes)
    jail.become_user()
    job.control_process(NO_NEW_PRIVILEGES, 1)
    # After the change of the user, which makes the kernel forget it.
    job.die_with_parent()
    os.chdir(request.cwd)
    os.dup2(nothing, 0)
    for descriptor, target in output.items():
        os.dup2(target, descriptor)
    # Python ignores SIGPIPE, and an ignored signal stays ignored in what is started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(request.argv[0], request.argv, dict(request.env))


def _reap_until(child: int) -> int:
    """Waits for `child`, and for orphans meanwhile; a signal that ended it is a negative number."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else exit_status(status)


# --- Ending what is left.


def end_user(user: int) -> None:
    """Kills all processes of a user that nothing else runs as; returns when none is left.

    One call of kill(2) reaches all of them at once, so that none can escape by forking.
    """

    def kill_all() -> None:
        left = _processes_of(user)
        if not left:
            return
        try:
            _as_user(user, lambda: os.kill(-1, signal.SIGKILL))
        except BlockingIOError:
            # The machine has no process left to give; one by one, those that ended make room.
            _kill(left)

    kill_all()
    while _processes_of(user):
        _reap()
        kill_all()


def _as_user(user: int, work: Callable[[], None]) -> None:
    """Does something that cannot fail in a way that matters, in a child that is the user."""
    child = os.fork()
    if child == 0:
        try:
            become(user)
            work()
        except OSError:
            pass
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def end_processes(find: Callable[[], Set[int]]) -> None:
    """Kills what `find` finds, below this process, until it finds nothing more."""
    while True:
        found = find()
        if not found:
            return
        _kill(found)
        _reap(found)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _reap(pids: Iterable[int] = ()) -> None:
    """Waits for those of the killed that are children of this process; others end by themselves."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    time.sleep(_PAUSE)


def descendants(top: int, spared: int = 0) -> Set[int]:
    """The processes below `top`, without `spared` and what is below that."""
    parents: Dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found: Set[int] = set()
    queue: List[int] = [top]
    while queue:
        parent_of = queue.pop()
        children = [pid for pid, above in parents.items() if above == parent_of and pid != spared]
        found.update(children)
        queue.extend(children)
    return found


def _processes_of(user: int) -> List[int]:
    """Those that have not ended, by any of their user IDs."""
    return [pid for pid, users in users_of_processes(zombies=False).items() if user in users]


def users_of_processes(*, zombies: bool) -> Dict[int, FrozenSet[int]]:
    """The real, effective and other user IDs of each process of this machine.

    Read from its status: the owner of /proc/PID is root for one that is not dumpable.
    """
    found: Dict[int, FrozenSet[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/status", "rb") as file:
            text = file.read()
            state = text.partition(b"\nState:")[2].split(None, 1)[0]
            users = text.partition(b"\nUid:")[2].partition(b"\n")[0].split()
            if zombies or state not in (b"Z", b"X"):
                found[int(name)] = frozenset(map(int, users))
    return found
