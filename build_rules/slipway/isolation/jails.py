"""Jails separate a foreign command from the step's program and from the step's outputs.

A command in a jail cannot see, signal or trace the processes of its step, and can write only to its
folders. The command and all its processes end before the program continues. Depending on the
isolator, a jail is a process namespace or a separate user.
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
    """The parts of a jail that depend on the isolator; this class is for a user without rights.

    The command then runs as the program's user, and can write to all files of that user. It cannot
    trace the program, because the program is not dumpable and the seccomp filter denies ptrace.
    """

    surroundings: Surroundings = OWN_LOOPBACK
    most_processes: Optional[int] = None
    """The value of RLIMIT_NPROC for a user without other processes; None for no limit."""

    def __init__(self) -> None:
        self._program = 0

    def spare(self, program: int) -> None:
        """Sets the process ID of the program, which `end` must not kill."""
        self._program = program

    def give(self, request: Request) -> None:
        """Lets the command write to its folders; called before each command."""

    def enter(self, request: Request) -> None:
        """Moves the calling process, the jail's first, into the jail; may return in a child."""
        job.take_in_orphans()

    def become_user(self) -> None:
        """Makes the calling process run as the jail's user, directly before exec."""

    def end(self) -> None:
        """Kills all processes of the jail, and returns when none is left."""
        end_processes(lambda: descendants(os.getpid(), spared=self._program))

    def take_back(self, request: Request) -> None:
        """Gives the command's folders back to the program, after the command has ended."""


class UserJail(Jail):
    """A jail with a separate user: only the commands of this step run as `user`.

    This process must have the capabilities to become that user and to change owners. `root` is the
    folder that becomes the root of commands; "" is the root of this machine.
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
        # Higher than the step's limit, so that the monitor sees a step that exceeds its limit.
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
        """Changes the owner of folders and all entries below, without following symlinks.

        Paths are safe here, because no process of the jail exists that could change the tree.
        """
        queue = [self._root + folder for folder in folders]
        while queue:
            folder = queue.pop()
            # Entries that are too deep for a path keep their owner. The program that collects the
            # tree rejects such a tree.
            with contextlib.suppress(OSError):
                os.chown(folder, user, user, follow_symlinks=False)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(entry.path)
                        else:
                            os.chown(entry.path, user, user, follow_symlinks=False)


def become(user: int) -> None:
    """Makes this process run as an ordinary user, without further groups or rights."""
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
    """The main function of a jail's first process; never returns.

    Writes a line to `report`: `status N`, `missing N` or `refused TEXT`. `output` maps descriptors
    of the command to descriptors of this process.
    """
    status = 1

    def write_report(line: str) -> None:
        os.write(report, f"{line}\n".encode())

    def become_command() -> None:
        try:
            _become_command(jail, request, output)
        except OSError as error:
            write_report(f"missing {error.errno or 0}")

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
        write_report(f"status {_reap_until(child)}")
        status = 0
    except BaseException as error:
        write_report(f"refused {' '.join(str(error).split())}")
    finally:
        os._exit(status)


def _join_new_keyring() -> None:
    """Replaces the session keyring, which can contain the user's tickets and tokens.

    The result is ignored: kernels without keyrings, and engines that deny the call, do not expose a
    keyring either.
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
    # Again, because the kernel clears the parent-death signal when the user changes.
    job.die_with_parent()
    os.chdir(request.cwd)
    os.dup2(nothing, 0)
    for descriptor, target in output.items():
        os.dup2(target, descriptor)
    # Python ignores SIGPIPE, and exec keeps an ignored signal ignored.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(request.argv[0], request.argv, dict(request.env))


def _reap_until(child: int) -> int:
    """Reaps orphans until `child` ends; returns its exit status, or a negative signal number."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else exit_status(status)


# --- Killing the processes that are left.


def end_user(user: int) -> None:
    """Kills all processes of a user; returns when none is left. Only a step must use the user.

    A single kill(-1) signals all processes of the user at once, so that none can escape by forking.
    """

    def kill_all() -> None:
        left = _processes_of(user)
        if not left:
            return
        try:
            _as_user(user, lambda: os.kill(-1, signal.SIGKILL))
        except BlockingIOError:
            # fork() failed, because the machine is out of processes. Kill them one by one, until
            # there is room again.
            _kill(left)

    kill_all()
    while _processes_of(user):
        _reap()
        kill_all()


def _as_user(user: int, work: Callable[[], None]) -> None:
    """Runs `work` in a child process of the user; ignores its errors."""
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
    """Kills the processes that `find` returns, until it returns none."""
    while True:
        pids = find()
        if not pids:
            return
        _kill(pids)
        _reap(pids)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _reap(pids: Iterable[int] = ()) -> None:
    """Reaps killed processes that are children of this process; their parents reap the others."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    time.sleep(_PAUSE)


def descendants(top: int, spared: int = 0) -> Set[int]:
    """The processes below `top`, except `spared` and the processes below it."""
    parents: Dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    below: Set[int] = set()
    queue: List[int] = [top]
    while queue:
        parent = queue.pop()
        children = [pid for pid, above in parents.items() if above == parent and pid != spared]
        below.update(children)
        queue.extend(children)
    return below


def _processes_of(user: int) -> List[int]:
    """The processes with this user among their user IDs, without zombies."""
    return [pid for pid, users in users_of_processes(zombies=False).items() if user in users]


def users_of_processes(*, zombies: bool) -> Dict[int, FrozenSet[int]]:
    """The real, effective, saved and file system user IDs of each process of this machine.

    They are read from /proc/PID/status, because the owner of /proc/PID is root if the process is
    not dumpable.
    """
    processes: Dict[int, FrozenSet[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/status", "rb") as file:
            text = file.read()
            state = text.partition(b"\nState:")[2].split(None, 1)[0]
            users = text.partition(b"\nUid:")[2].partition(b"\n")[0].split()
            if zombies or state not in (b"Z", b"X"):
                processes[int(name)] = frozenset(map(int, users))
    return processes
