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
import termios
import threading
import time
from typing import NoReturn, Optional, Sequence

from build_rules.lib.copied_inputs import copy, lend_name_servers
from build_rules.lib.isolation import (
    HOST_NAME,
    MOST_PROCESSES,
    OPEN_FILES,
    USER_ID,
    Command,
    CommandNotStarted,
    IsolationRefused,
    Mount,
    die_with_parent,
    exit_status,
    limit,
    watched,
)
from build_rules.lib.network_guard import guarded_child

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
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
# A bind mount in a user namespace must keep what the mount below it forbids: (statvfs, mount).
_KEPT_FLAGS = ((2, _MS_NOSUID), (4, _MS_NODEV), (8, _MS_NOEXEC), (1024, 1024), (2048, 2048))
_DEVICES = ("null", "zero", "full", "random", "urandom")
_COUNT_EVERY = 0.2  # seconds
_REFUSED = 125  # exit status of the first process when the isolation could not be set up


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


def _tmpfs(target: str, mode: str) -> None:
    # By default a tmpfs may hold half of the memory; a big node_modules needs many inodes too.
    options = f"mode={mode},size=90%,nr_inodes=0"
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


def _lend_network(root: str) -> None:
    """A copy of the root's own /etc, with the name servers of the machine."""
    place, etc = root + "/tmp", root + "/etc"
    _tmpfs(place, "755")
    copy(etc, place)
    lend_name_servers(place)
    _mount("/etc", place, etc, "", _MS_MOVE)


def _build_root(root: str, mounts: Sequence[Mount], *, network: bool) -> None:
    """Mounts everything below `root` and makes it the root of this mount namespace."""
    _mount("/ as private", "", "/", "", _MS_REC | _MS_PRIVATE)
    _bind(root, root, writable=False)
    if network:
        _lend_network(root)
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
    # Python ignores SIGPIPE, and an ignored signal stays ignored in what is started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command.argv[0], command.argv, dict(command.env))
    except OSError as error:
        raise CommandNotStarted(command.argv[0], error.errno or errno.EIO) from error


def _reap_until(child: int) -> int:
    """As the first process of its namespace, waits for `child` and for orphans meanwhile."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return exit_status(status)


def _end_flood() -> None:
    """Ends the command when it multiplies: the kernel limits processes by user, and not root's."""
    while True:
        time.sleep(_COUNT_EVERY)
        if sum(name.isdigit() for name in os.listdir("/proc")) > MOST_PROCESSES:
            said = f"the step was ended: it had more than {MOST_PROCESSES} processes at once\n"
            os.write(2, said.encode())
            os.kill(-1, signal.SIGKILL)


def _first_process(root: str, mounts: Sequence[Mount], command: Command, report: int) -> NoReturn:
    """Its end is the end of every process that the command left behind."""
    status = _REFUSED
    # For the folders that are made below too: the command sees their modes.
    os.umask(0o022)
    try:
        _die_with_parent()
        if not command.network:
            _bring_up_loopback()
        socket.sethostname(HOST_NAME)
        _build_root(root, mounts, network=command.network)
        _check("prctl of no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))

        def become() -> None:
            try:
                _start(command)
            except CommandNotStarted as error:
                _report(report, error)

        child = guarded_child(become, command.attempts)
        os.close(report)
        threading.Thread(target=_end_flood, daemon=True).start()
        status = _reap_until(child)
    except Exception as error:
        _report(report, error)
    finally:
        os._exit(status)


def _die_with_parent() -> None:
    number = die_with_parent()
    if number:
        raise _refused("prctl of the death signal", number)


def _report(report: int, error: Exception) -> None:
    """Tells the caller, two processes up, what kept the command from starting."""
    if isinstance(error, CommandNotStarted):
        text = f"missing {error.number} {error.program}"
    elif isinstance(error, IsolationRefused):
        text = f"refused 0 {error}"
    else:
        number = getattr(error, "errno", None) or errno.EIO
        place = getattr(error, "filename", None) or "set-up"
        text = f"refused 0 {_refused(place, number)}"
    os.write(report, text.encode())


def _keep(
    caller: int, root: str, mounts: Sequence[Mount], command: Command, report: int
) -> NoReturn:
    """Enters the namespaces and waits for their first process, so that the caller stays outside."""
    status = _REFUSED
    try:
        _enter_namespaces(network=command.network)
        # After the above, which makes the kernel forget it.
        _die_with_parent()
        if os.getppid() != caller:
            os._exit(status)
        first = os.fork()
        if first == 0:
            _first_process(root, mounts, command, report)
        os.close(report)
        status = exit_status(os.waitpid(first, 0)[1])
    except Exception as error:
        _report(report, error)
    finally:
        os._exit(status)


def probe() -> None:
    """Raises if this machine refuses the namespaces themselves, before any work is done for them."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _enter_namespaces(network=False)
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
    root: str, mounts: Sequence[Mount], command: Command, seconds: Optional[float] = None
) -> int:
    """The command's exit status, 128 + N for one that signal N ended.

    `root` is an unpacked root file system; nothing in it changes. `seconds` is the time limit.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    caller = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        _keep(caller, root, mounts, command, writing)
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
            # Also waits for the first process, which holds the other end until it execs or ends.
            refusal = pipe.read().decode()
    if refusal:
        kind, number, subject = refusal.split(" ", 2)
        if kind == "missing":
            raise CommandNotStarted(subject, int(number))
        raise IsolationRefused(subject)
    return exit_status(status)
