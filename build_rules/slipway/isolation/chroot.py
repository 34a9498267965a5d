"""Runs a build step in a plain chroot, for root in a container that forbids namespaces.

Nothing can be mounted, so each step gets its own copy of the root, with writable folders. Its
program and its foreign commands run as two users of this machine without other processes. The root
has no /proc. If root may create a network namespace, the step runs in one. Otherwise only the guard
blocks the network, and all sockets on the machine's loopback interface except the step's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import stat
from typing import Iterator, Mapping, Sequence

from slipway.isolation import build_users, own_network, tree_cache
from slipway.isolation.build_users import BuildUsers
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.copied_inputs import (
    BUILD,
    as_request,
    become,
    copy,
    give_to,
    lay_out_inputs,
    lend_name_servers,
    remove_tree,
    take_outputs,
)
from slipway.isolation.first_process import Bounds
from slipway.isolation.jails import UserJail
from slipway.isolation.job import USER_ID, WRITABLE_FOLDERS, IsolationRefused, Job, Mount
from slipway.isolation.supervision import supervised

_PREFIX = "chroot-"
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_OWN = (BUILD, "/home", "/tmp", "/dev", "/dev/shm")


def run(job: Job) -> int:
    """Runs the job; returns the command's exit status. Its outputs are in `job.out`.

    Raises IsolationRefused, CommandNotStarted, TimeLimitReached or CallerGone.
    """
    if os.geteuid() != 0:
        raise IsolationRefused("only root may call chroot")
    with tree_cache.all_unpacked(job.cache, job.trees) as trees, build_users.reserved() as users:
        _sweep(job.cache)
        with _place(job.cache) as place, Cgroup.make(job.limits) as cgroup:
            own_loopback = not job.command.network and own_network.is_offered()
            command = job.command
            with supervised(
                as_request(command)
                if command.foreign
                else lambda: become(place, command, users.program),
                lambda: _remove(place),
                UserJail(
                    users.scripts,
                    users.program,
                    job.limits.processes,
                    place,
                    own_loopback=own_loopback,
                ),
                command.attempts,
                own_network.enter if own_loopback else lambda: None,
                Bounds(
                    job.limits,
                    tuple(place + folder for folder in WRITABLE_FOLDERS),
                    cgroup,
                    None if own_loopback else users.scripts,
                ),
            ) as run_command:
                _lay_out(place, trees, job.inputs, users)
                _make_home(place, command.env["HOME"], users)
                if command.foreign:
                    os.makedirs(place + command.cwd, exist_ok=True)
                if command.network:
                    lend_name_servers(f"{place}/etc")
                status = run_command(job.time_limit)
                take_outputs(place, job)
        return status


@contextlib.contextmanager
def _place(cache: str) -> Iterator[str]:
    """A path for the root of a step, with a lock beside it while the step runs."""
    place = os.path.join(cache, f"{_PREFIX}{random.SystemRandom().getrandbits(64):016x}")
    with open(place + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place


def _sweep(cache: str) -> None:
    """Removes roots whose steps were killed together with their supervisors."""
    for name in os.listdir(cache):
        if name.startswith(_PREFIX) and name.endswith(".lock"):
            path = os.path.join(cache, name)
            with contextlib.suppress(OSError), open(path, "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path[: -len(".lock")])


def _lay_out(
    place: str, trees: Mapping[str, str], inputs: Sequence[Mount], users: BuildUsers
) -> None:
    copy(trees["/"], place)
    for folder in _OWN:
        os.makedirs(place + folder, exist_ok=True)
    give_to(place + BUILD, users.program)
    for folder in ("/tmp", "/dev/shm"):
        os.chmod(place + folder, 0o1777)
    _make_devices(place)
    _rename_user(f"{place}/etc/passwd", users.scripts)
    _rename_user(f"{place}/etc/group", users.scripts)
    lay_out_inputs(place, trees, inputs, users.program)


def _make_home(place: str, home: str, users: BuildUsers) -> None:
    os.makedirs(place + home, exist_ok=True)
    give_to(place + home, users.scripts)


def _rename_user(path: str, user: int) -> None:
    """Changes the IDs of the step's user and its group in a passwd or group file."""
    with contextlib.suppress(FileNotFoundError):
        with open(path, encoding="utf-8") as file:
            lines = [line.split(":") for line in file]
        for fields in lines:
            for index in (2, 3):  # in passwd: user and group ID; in group: group ID and members
                if fields[index : index + 1] == [str(USER_ID)]:
                    fields[index] = str(user)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(":".join(fields) for fields in lines)


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


def _remove(place: str) -> None:
    remove_tree(place)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place + ".lock")
