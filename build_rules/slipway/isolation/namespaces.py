"""Runs a command inside a root file system, with unprivileged user namespaces.

This module makes system calls with ctypes, because `unshare` of older util-linux lacks necessary
options, and because the result must not depend on the tools of a machine. The command sees a
read-only root, an empty `/build` and `/tmp` in memory, `/proc`, a few devices and a loopback
interface. It sees no files, users, network or processes of the machine.
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
import stat
import sys
import termios
from typing import List, NoReturn, Optional, Sequence

from slipway.isolation.copied_inputs import copy, lend_name_servers
from slipway.isolation.first_process import Bounds, FirstProcess
from slipway.isolation.jail_protocol import Request
from slipway.isolation.jails import Jail
from slipway.isolation.job import (
    HOST_NAME,
    OPEN_FILES,
    USER_ID,
    Command,
    CommandNotStarted,
    IsolationRefused,
    Mount,
    die_with_parent,
    exit_status,
    hide,
    limit,
    watched,
)
from slipway.isolation.own_network import bring_up_loopback
from slipway.isolation.resource_limits import Limits

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
_MS_MOVE = 8192
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIVOT_ROOT = 155  # x86-64
# In a user namespace, the kernel rejects a remount that clears flags such as nosuid of the original
# mount. So these flags are kept: pairs of the bit in statvfs and the flag of mount(2).
_KEPT_FLAGS = ((2, _MS_NOSUID), (4, _MS_NODEV), (8, _MS_NOEXEC), (1024, 1024), (2048, 2048))
_OUT_OF_REACH = ("/build/out", "/build/slipway")
# Files with information about the machine. Container engines hide about the same files.
_MASKED = (
    *("/proc/cmdline", "/proc/kcore", "/proc/keys", "/proc/key-users"),
    *("/proc/sched_debug", "/proc/timer_list"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_REFUSED = 125  # exit status of the first process if the isolation failed


_libc = ctypes.CDLL(None, use_errno=True)


def _refused(step: str, number: int) -> IsolationRefused:
    return IsolationRefused(f"{step}: {os.strerror(number)}")


def _check(step: str, result: int) -> None:
    if result != 0:
        raise _refused(step, ctypes.get_errno())


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


def _tmpfs(target: str, mode: str, limits: Optional[Limits]) -> None:
    # The default size of a tmpfs is half of the memory, and its number of inodes depends on that. A
    # large node_modules can need more of both.
    options = f"mode={mode},size=90%,nr_inodes=0"
    if limits is not None:
        options = f"mode={mode},size={limits.space},nr_inodes={limits.inodes}"
    _mount(target, "tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _enter_namespaces(*, network: bool) -> None:
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWIPC | _CLONE_NEWUTS
    if not network:
        flags |= _CLONE_NEWNET
    _check("unshare of namespaces", _libc.unshare(flags))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{USER_ID} {user} 1"),
        ("gid_map", f"{USER_ID} {group} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise _refused(f"write of /proc/self/{name}", error.errno or 0) from error


def _make_mount_point(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass


def _lend_network(root: str) -> None:
    """Mounts a copy of the root's /etc with the name servers of the machine."""
    place, etc = root + "/tmp", root + "/etc"
    _tmpfs(place, "755", None)
    copy(etc, place)
    lend_name_servers(place)
    _mount("/etc", place, etc, "", _MS_MOVE)


def _build_root(
    root: str, mounts: Sequence[Mount], limits: Optional[Limits], *, network: bool
) -> None:
    """Mounts all parts of the root below `root`, and makes it the root of this namespace."""
    _mount("/ as private", "", "/", "", _MS_REC | _MS_PRIVATE)
    _bind(root, root, writable=False)
    if network:
        _lend_network(root)
    for folder, mode in (("/build", "755"), ("/tmp", "1777"), ("/home", "755"), ("/dev", "755")):
        _tmpfs(root + folder, mode, limits)
    for device in _DEVICES:
        source, target = f"/dev/{device}", f"{root}/dev/{device}"
        _make_mount_point(source, target)
        _bind(source, target, writable=True)
    os.mkdir(root + "/dev/shm")
    _tmpfs(root + "/dev/shm", "1777", limits)
    for name, link in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink("/proc/self/fd" + link, f"{root}/dev/{name}")
    # Read-only, because a step that root of the machine runs can otherwise write to /proc/sys.
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
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for folder in (command.env.get("HOME", ""), command.cwd):
        if folder:
            os.makedirs(folder, exist_ok=True)
    os.chdir(command.cwd)
    if command.terminal is not None:
        fcntl.ioctl(command.terminal, termios.TIOCSCTTY, 0)
        for stream in (0, 1, 2):
            os.dup2(command.terminal, stream)
    elif command.stdin is not None:
        os.dup2(command.stdin, 0)
    else:
        with open("/dev/null", "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
    # Python ignores SIGPIPE, and exec keeps an ignored signal ignored.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise CommandNotStarted(command.argv[0], error.errno or errno.EIO) from error


class _NamespaceJail(Jail):
    """A jail with its own process and mount namespace, below those of the step.

    Its first process keeps the capabilities of the step's user namespace. Commands lose them, so
    they cannot trace the first process or undo its mounts.
    """

    def enter(self, request: Request) -> None:
        _check("unshare of a jail", _libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            os._exit(0)
        _die_with_parent()
        _build_jail(request.writable)


def _build_jail(writable: Sequence[str]) -> None:
    """Builds the view of a command: its folders writable, the rest read-only or hidden."""
    _mount("/ as private", "", "/", "", _MS_REC | _MS_PRIVATE)
    for folder in _OUT_OF_REACH:
        if os.path.isdir(folder):
            _check(f"umount of {folder}", _libc.umount2(folder.encode(), _MNT_DETACH))
    for folder in writable:
        # Recursive, because a folder can contain mounts, such as the runtime of a release.
        _mount(folder, folder, folder, "", _MS_BIND | _MS_REC)
    for folder in ("/build", "/dev"):
        flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
        _mount(f"{folder} read-only", "", folder, "", flags)
    # Read-only, because a step that root of the machine runs can otherwise write to /proc/sys.
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    try:
        # hidepid=2 hides processes that the reader cannot trace: the first process of the jail.
        _mount("/proc", "proc", "/proc", "proc", flags, "hidepid=2")
    except IsolationRefused:  # before Linux 5.8, hidepid is not possible in a user namespace
        _mount("/proc", "proc", "/proc", "proc", flags)
    for path in (*_MASKED, *_files_for_root("/proc")):
        if os.path.exists(path):
            _mount(path, "/dev/null", path, "", _MS_BIND)


def _files_for_root(folder: str) -> List[str]:
    """Files that are not world-readable; a step that root of the machine runs could read them."""
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if entry.is_file(follow_symlinks=False) and not entry.stat().st_mode & stat.S_IROTH
        ]


def _first_process(
    root: str, mounts: Sequence[Mount], command: Command, bounds: Optional[Bounds], report: int
) -> NoReturn:
    """The main function of the namespace's first process; the kernel kills all others with it."""
    status = _REFUSED
    # Before any folder is created, because the command sees the modes of the folders.
    os.umask(0o022)
    try:
        _die_with_parent()
        hide()
        if not command.network:
            bring_up_loopback()
        socket.sethostname(HOST_NAME)
        limits = bounds.limits if bounds else None
        _build_root(root, mounts, limits, network=command.network)
        _check("prctl of no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        first = FirstProcess(_NamespaceJail(), command.attempts, bounds=bounds)
        status = _run_foreign(first, command) if command.foreign else _serve(first, command, report)
    except Exception as error:
        _report(report, error)
    finally:
        os._exit(status)


def _serve(first: FirstProcess, command: Command, report: int) -> int:
    def become() -> None:
        try:
            _start(command)
        except CommandNotStarted as error:
            _report(report, error)

    status = first.serve(become)
    assert status is not None  # without `life`, only a signal can end serve() early
    return status


def _run_foreign(first: FirstProcess, command: Command) -> int:
    for folder in (command.env["HOME"], command.cwd):
        os.makedirs(folder, exist_ok=True)
    request = Request(command.argv, command.env, command.cwd, writable=(command.cwd,))
    reply = first.run(request)
    assert reply is not None
    if reply.missing:
        raise CommandNotStarted(command.argv[0], reply.missing)
    if reply.refused:
        raise IsolationRefused(reply.refused)
    return 128 - reply.status if reply.status < 0 else reply.status


def _die_with_parent() -> None:
    number = die_with_parent()
    if number:
        raise _refused("prctl of the death signal", number)


def _report(report: int, error: Exception) -> None:
    """Sends the reason why the command did not start to the caller, two processes up."""
    if isinstance(error, CommandNotStarted):
        text = f"missing {error.number} {error.program}"
    elif isinstance(error, IsolationRefused):
        text = f"refused 0 {error}"
    else:
        number = getattr(error, "errno", None) or errno.EIO
        place = getattr(error, "filename", None) or "setup"
        text = f"refused 0 {_refused(place, number)}"
    os.write(report, text.encode())


def _keep(
    caller: int,
    root: str,
    mounts: Sequence[Mount],
    command: Command,
    bounds: Optional[Bounds],
    report: int,
) -> NoReturn:
    """Enters the namespaces and waits for their first process; the caller stays outside."""
    status = _REFUSED
    try:
        _enter_namespaces(network=command.network)
        # Only now, because unshare(CLONE_NEWUSER) makes the kernel clear the parent-death signal.
        _die_with_parent()
        if os.getppid() != caller:
            os._exit(status)
        first = os.fork()
        if first == 0:
            _first_process(root, mounts, command, bounds, report)
        os.close(report)
        status = exit_status(os.waitpid(first, 0)[1])
    except Exception as error:
        _report(report, error)
    finally:
        os._exit(status)


def probe() -> None:
    """Raises IsolationRefused if this machine denies the namespaces, before any further work."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _enter_namespaces(network=False)
            first = os.fork()
            if first == 0:
                _check("unshare of a jail", _libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
            else:
                os.waitpid(first, 0)
        except Exception as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        refusal = pipe.read().decode()
    os.waitpid(child, 0)
    if refusal:
        raise IsolationRefused(refusal)


def run(
    root: str,
    mounts: Sequence[Mount],
    command: Command,
    seconds: Optional[float] = None,
    bounds: Optional[Bounds] = None,
) -> int:
    """Runs the command; returns its exit status, or 128 + N if signal N ended it.

    `root` is an unpacked root file system, which stays unchanged. `seconds` is the time limit.
    `bounds` are the limits of foreign commands, with paths inside the root. Raises
    IsolationRefused, CommandNotStarted, TimeLimitReached or CallerGone.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    caller = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        _keep(caller, root, mounts, command, bounds, writing)
    os.close(writing)
    status = None
    try:
        with watched(seconds):
            status = os.waitpid(keeper, 0)[1]
    finally:
        if status is None:
            os.kill(keeper, signal.SIGKILL)
            os.waitpid(keeper, 0)
        with os.fdopen(reading, "rb") as pipe:
            # This also waits for the first process, which has the other end open until it ends.
            refusal = pipe.read().decode()
    if refusal:
        kind, number, subject = refusal.split(" ", 2)
        if kind == "missing":
            raise CommandNotStarted(subject, int(number))
        raise IsolationRefused(subject)
    return exit_status(status)
