"""Reserves users of this machine for steps, so that no two steps run as the same user.

Without a process namespace, a separate user protects the processes and files of others from a step,
and identifies all processes of the step. The user IDs are not in the machine's list of users. They
are above the IDs that tools assign to people and services, and below the IDs that systemd assigns
dynamically. Source: systemd's list of user ID ranges.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
from dataclasses import dataclass
from typing import Iterator, Set

from slipway.isolation import jails
from slipway.isolation.job import IsolationRefused

FIRST_ID, COUNT = 61000, 128
"""The range of user IDs, and of equal group IDs; each running step uses two."""

_LOCKS = "/run/slipway-build-users"


@dataclass(frozen=True)
class BuildUsers:
    """User IDs: `scripts` for foreign commands, `program` for the step's program."""

    scripts: int
    program: int


@contextlib.contextmanager
def reserved(locks: str = _LOCKS) -> Iterator[BuildUsers]:
    """Reserves two users without any process; the caller must be root.

    Raises IsolationRefused if all users are taken. The kernel releases the lock when this process
    ends, even if it is killed. Processes that outlive it keep their user from being reserved again.
    """
    try:
        # If others could write to the folder, they could hold all locks.
        os.makedirs(locks, mode=0o700, exist_ok=True)
        folder = os.lstat(locks)
    except OSError as error:
        raise IsolationRefused(f"{locks}: {error.strerror}") from None
    if folder.st_uid != os.geteuid() or folder.st_mode & 0o022:
        raise IsolationRefused(f"{locks} belongs to another user, or other users may write to it")
    busy = _users_of_processes()
    for first in range(FIRST_ID, FIRST_ID + COUNT, 2):
        users = BuildUsers(first, first + 1)
        if busy & {users.scripts, users.program} or _is_known(first) or _is_known(first + 1):
            continue
        with open(os.path.join(locks, str(first)), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield users
            return
    raise IsolationRefused(
        f"all user IDs from {FIRST_ID} to {FIRST_ID + COUNT - 1} are in use, or have an account"
    )


def runs_anything(user: int) -> bool:
    """Whether a process of that user exists."""
    return user in _users_of_processes()


def _is_known(user: int) -> bool:
    with contextlib.suppress(KeyError):
        pwd.getpwuid(user)
        return True
    return False


def _users_of_processes() -> Set[int]:
    """All user IDs of all processes, including zombies, which count against RLIMIT_NPROC."""
    return {user for users in jails.users_of_processes(zombies=True).values() for user in users}
