"""Runs a build step in a plain chroot, for root in a container that forbids all else.

Without mounts the root is a copy for each step, with folders of its own where the step may write.
There are neither /proc nor namespaces: the network is not denied, and processes that are left
behind are found by their root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import resource
import shutil
import signal
import stat
import sys
from typing import List, Mapping, NoReturn, Sequence

from build_rules.lib import isolation, tree_cache
from build_rules.lib.isolation import (
    OPEN_FILES,
    USER_ID,
    Command,
    CommandNotStarted,
    IsolationRefused,
    Job,
    Mount,
)

_BUILD, _PREFIX = "/build", "chroot-"
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_OWN = (_BUILD, "/home", "/tmp", "/dev", "/dev/shm")
_NOT_STARTED = 127
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36


def run(job: Job) -> int:
    """The command's exit status; its outputs are in `job.out` then."""
    if os.geteuid() != 0:
        raise IsolationRefused("only root may call chroot")
    with tree_cache.all_unpacked(job.cache, job.trees) as trees:
        _sweep(job.cache)
        place = os.path.join(job.cache, f"{_PREFIX}{random.SystemRandom().getrandbits(64):016x}")
        with open(place + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            guardian = isolation.Guardian(lambda: _clean_up(place))
            try:
                _lay_out(place, trees, job.inputs)
                status = _run_in(place, job.command, job.time_limit)
                _take_outputs(os.path.join(place, "build", "out"), job)
            finally:
                _clean_up(place)
                guardian.dismiss()
        return status


def _sweep(cache: str) -> None:
    """Removes what steps left whose guardians were killed with them."""
    for name in os.listdir(cache):
        if name.startswith(_PREFIX) and name.endswith(".lock"):
            path = os.path.join(cache, name)
            with contextlib.suppress(OSError), open(path, "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clean_up(path[: -len(".lock")])


def _lay_out(place: str, trees: Mapping[str, str], inputs: Sequence[Mount]) -> None:
    _copy(trees["/"], place)
    for folder in _OWN:
        os.makedirs(place + folder, exist_ok=True)
    for folder in (_BUILD, "/home"):
        _give_to_step(place + folder)
    for folder in ("/tmp", "/dev/shm"):
        os.chmod(place + folder, 0o1777)
    _make_devices(place)
    for target, tree in trees.items():
        if target != "/":
            _make_own(place, os.path.dirname(target))
            _copy(tree, place + target)
    for mount in inputs:
        _make_own(place, os.path.dirname(mount.target))
        _copy(mount.source, place + mount.target)
    _make_own(place, f"{_BUILD}/out")


def _give_to_step(path: str) -> None:
    try:
        os.chown(path, USER_ID, USER_ID)
    except OSError as error:
        raise IsolationRefused(f"chown to user {USER_ID}: {error.strerror}") from None


def _make_own(place: str, folder: str) -> None:
    """A folder below /build that belongs to the step, as those around it do."""
    if not os.path.isdir(place + folder):
        _make_own(place, os.path.dirname(folder))
        os.mkdir(place + folder)
        _give_to_step(place + folder)


def _copy(source: str, target: str) -> None:
    """A file or a tree, with its modes: it is root's own, and the step is not root.

    Hard links would be quicker, but change the time by which a tree proves to be untouched.
    """
    if not os.path.isdir(source):
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
        return
    os.makedirs(target, exist_ok=True)
    shutil.copymode(source, target)
    with os.scandir(source) as found:
        for child in found:
            path = os.path.join(target, child.name)
            if child.is_symlink():
                os.symlink(os.readlink(child.path), path)
            else:
                _copy(child.path, path)


def _make_devices(place: str) -> None:
    for name, (major, minor) in _DEVICES.items():
        path = f"{place}/dev/{name}"
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            os.chmod(path, 0o666)
            with open(path, "rb"):
                pass
        except OSError as error:
            raise IsolationRefused(f"a device file for /dev/{name}: {error.strerror}") from None


def _run_in(place: str, command: Command, limit: float) -> int:
    isolation.control_process(_PR_SET_CHILD_SUBREAPER, 1)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _start(place, command, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, isolation.watched(limit):
        refusal = pipe.read().decode()
        status = os.waitpid(child, 0)[1]
    if refusal:
        number, _, what = refusal.partition(" ")
        if what == "chroot":
            raise IsolationRefused(f"chroot: {os.strerror(int(number))}")
        raise CommandNotStarted(command.argv[0], int(number))
    return isolation.exit_status(status)


def _start(place: str, command: Command, report: int) -> NoReturn:
    what = "chroot"
    try:
        isolation.die_with_parent()
        os.setsid()
        os.umask(0o022)
        os.chroot(place)
        os.chdir("/")
        what = "start"
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        soft = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setgroups([])
        os.setgid(USER_ID)
        os.setuid(USER_ID)
        isolation.control_process(_PR_SET_NO_NEW_PRIVS, 1)
        # After the change of the user, which makes the kernel forget it.
        isolation.die_with_parent()
        os.makedirs(command.env["HOME"], exist_ok=True)
        os.chdir(command.cwd)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        os.write(report, f"{error.errno} {what}".encode())
    finally:
        os._exit(_NOT_STARTED)


def _take_outputs(made: str, job: Job) -> None:
    for name in job.outputs:
        path, target = os.path.join(made, name), os.path.join(job.out, name)
        if not os.path.lexists(path):
            continue
        if os.path.isfile(path) and not os.path.islink(path):
            shutil.copyfile(path, target)
        else:
            os.mkdir(target)  # something else than a file, whatever it was


def _clean_up(place: str) -> None:
    """Ends what still runs below `place`, and removes it."""
    for _ in range(100):
        left = _processes_in(place)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            break
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place + ".lock")


def _processes_in(place: str) -> List[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/root") == place:
                found.append(int(name))
    return found
