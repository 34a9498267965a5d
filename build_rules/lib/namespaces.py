"""Runs one command inside a root file system, by unprivileged user namespaces.

The kernel is asked directly, through ctypes: `unshare` of older util-linux lacks the options that
an ordinary user inside needs, and the result must not hang on which tools a machine has.  The
command sees a read-only root, an empty `/build` and `/tmp` in memory, `/proc`, a handful of devices
and a loopback interface; nothing of the machine's files, users, network or processes.
Sources: namespaces(7), user_namespaces(7), mount(2), pivot_root(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Mapping, NoReturn, Optional, Sequence, Tuple

USER_ID = 1000
"""The ordinary user and group that every step runs as, whoever runs Pants."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_RDONLY = 1
_MS_NOSUID = 2
_MS_NODEV = 4
_MS_NOEXEC = 8
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIVOT_ROOT = 155  # x86-64
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
# A bind mount in a user namespace must keep what the mount below it forbids: (statvfs, mount).
_KEPT_FLAGS = ((2, _MS_NOSUID), (4, _MS_NODEV), (8, _MS_NOEXEC), (1024, 1024), (2048, 2048))
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OPEN_FILES = 4096  # the same soft limit everywhere, as far as the machine's hard limit allows
_REFUSED = 125  # exit status of the first process when the isolation could not be set up


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine that the command sees at `target`, an absolute path."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Command:
    """What runs, and in which environment; `cwd` is a path inside the root."""

    argv: Tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


class IsolationRefused(Exception):
    """The kernel or its configuration refused one step of the set-up."""

    def __init__(self, step: str, number: int) -> None:
        self.step = step
        self.number = number
        super().__init__(f"{step}: {os.strerror(number)}")


class CommandNotStarted(Exception):
    """The root file system lacks the program, or it cannot run there."""

    def __init__(self, program: str, number: int) -> None:
        self.program = program
        self.number = number
        super().__init__(f"{program}: {os.strerror(number)}")


class TimeLimitReached(Exception):
    """The command was still running after its time limit and was killed with all its children."""


_libc = ctypes.CDLL(None, use_errno=True)


def _check(step: str, result: int) -> None:
    if result != 0:
        raise IsolationRefused(step, ctypes.get_errno())


def _mount(step: str, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _check(
        f"mount of {step}",
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        ),
    )


def _bind(source: str, target: str, writable: bool) -> None:
    _mount(target, source, target, "", _MS_BIND)
    if not writable:
        mounted = os.statvfs(target).f_flag
        kept = sum(flag for seen, flag in _KEPT_FLAGS if mounted & seen)
        flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | kept
        _mount(f"{target} read-only", "", target, "", flags)


def _tmpfs(target: str, mode: str) -> None:
    # By default a tmpfs may hold half of the memory; a big node_modules needs many inodes too.
    options = f"mode={mode},size=90%,nr_inodes=0"
    _mount(target, "tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET
    _check("unshare of namespaces", _libc.unshare(flags | _CLONE_NEWIPC | _CLONE_NEWUTS))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{USER_ID} {user} 1"),
        ("gid_map", f"{USER_ID} {group} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise IsolationRefused(f"write of /proc/self/{name}", error.errno or 0) from error


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _make_mount_point(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass


def _build_root(root: str, mounts: Sequence[Mount]) -> None:
    """Mounts everything below `root` and makes it the root of this mount namespace."""
    _mount("/ as private", "", "/", "", _MS_REC | _MS_PRIVATE)
    _bind(root, root, writable=False)
    for folder, mode in (("/build", "755"), ("/tmp", "1777"), ("/home", "755"), ("/dev", "755")):
        _tmpfs(root + folder, mode)
    for device in _DEVICES:
        source, target = f"/dev/{device}", f"{root}/dev/{device}"
        _make_mount_point(source, target)
        _bind(source, target, writable=True)
    os.mkdir(root + "/dev/shm")
    _tmpfs(root + "/dev/shm", "1777")
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink("/proc/self/fd" + link, f"{root}/dev/{name}")
    # Read-only: a step of the machine's root user keeps that user's rights on /proc/sys.
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _mount("/proc", "proc", root + "/proc", "proc", flags)
    for mount in mounts:
        _make_mount_point(mount.source, root + mount.target)
        _bind(mount.source, root + mount.target, mount.writable)
    os.chdir(root)
    _check("pivot_root", _libc.syscall(_SYS_PIVOT_ROOT, b".", b"."))
    _check("umount of the machine's root", _libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def _start(command: Command) -> NoReturn:
    os.setsid()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for folder in (command.env.get("HOME", ""), command.cwd):
        if folder:
            os.makedirs(folder, exist_ok=True)
    os.chdir(command.cwd)
    with open("/dev/null", "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # Python ignores SIGPIPE, and an ignored signal stays ignored in what is started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise CommandNotStarted(command.argv[0], error.errno or errno.EIO) from error


def _exit_status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _reap_until(child: int) -> int:
    """As the first process of its namespace, waits for `child` and for orphans meanwhile."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return _exit_status(status)


def _first_process(root: str, mounts: Sequence[Mount], command: Command, report: int) -> NoReturn:
    """Its end is the end of every process that the command left behind."""
    status = _REFUSED
    # For the folders that are made below too: the command sees their modes.
    os.umask(0o022)
    try:
        _check("prctl of the death signal", _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
        _bring_up_loopback()
        socket.sethostname("build")
        _build_root(root, mounts)
        _check("prctl of no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        child = os.fork()
        if child == 0:
            _start(command)
        os.close(report)
        status = _reap_until(child)
    except IsolationRefused as error:
        os.write(report, f"refused {error.number} {error.step}".encode())
    except CommandNotStarted as error:
        os.write(report, f"missing {error.number} {error.program}".encode())
    except OSError as error:
        place = error.filename or "set-up"
        os.write(report, f"refused {error.errno or errno.EIO} {place}".encode())
    finally:
        os._exit(status)


def run(
    root: str, mounts: Sequence[Mount], command: Command, time_limit: Optional[float] = None
) -> int:
    """The command's exit status, 128 + N for one that signal N ended.

    `root` is an unpacked root file system; nothing in it changes. `time_limit` is in seconds.
    The calling process is in the new user namespace afterwards: call it once, near the end.
    """
    _enter_namespaces()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if first == 0:
        os.close(reading)
        _first_process(root, mounts, command, writing)
    os.close(writing)

    def out_of_time(number: int, frame: Optional[FrameType]) -> NoReturn:
        raise TimeLimitReached

    status = None
    try:
        if time_limit is not None:
            signal.signal(signal.SIGALRM, out_of_time)
            signal.setitimer(signal.ITIMER_REAL, time_limit)
        status = os.waitpid(first, 0)[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if status is None:
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)
    with os.fdopen(reading, "rb") as pipe:
        refusal = pipe.read().decode()
    if refusal:
        kind, number, subject = refusal.split(" ", 2)
        raise (CommandNotStarted if kind == "missing" else IsolationRefused)(subject, int(number))
    return _exit_status(status)
