"""Users of this machine that steps run as, each by one step at a time.

Without a process namespace, a user of its own is what keeps a step from the processes and files of
others, and by which all of its processes are found.  The range has no entries in the machine's list
of users; it is above the IDs that tools give to people and to services, and below those that
systemd gives out by itself.  Source: systemd's list of user ID ranges.
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
"""The IDs of users, and of groups of the same number; two for each step that runs."""

_LOCKS = "/run/slipway-build-users"


@dataclass(frozen=True)
class BuildUsers:
    """`scripts` is the user of foreign commands, `program` that of the step's own program."""

    scripts: int
    program: int


@contextlib.contextmanager
def reserved(locks: str = _LOCKS) -> Iterator[BuildUsers]:
    """Two users that nothing on this machine runs as; only root can ask for them.

    Raises IsolationRefused when all are taken.  The kernel gives the lock up when this process ends,
    however it ends; processes that outlived it keep the users from being used again.
    """
    try:
        # A folder that others could write to would let them hold all locks.
        os.makedirs(locks, mode=0o700, exist_ok=True)
        folder = os.lstat(locks)
    except OSError as error:
        raise IsolationRefused(f"{locks}: {error.strerror}") from None
    if folder.st_uid != os.geteuid() or folder.st_mode & 0o022:
        raise IsolationRefused(f"{locks} belongs to another user, or others may write to it")
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
        f"all users from {FIRST_ID} to {FIRST_ID + COUNT - 1} are in use, or known to this machine"
    )


def runs_anything(user: int) -> bool:
    """Whether there is a process of that user."""
    return user in _users_of_processes()


def _is_known(user: int) -> bool:
    with contextlib.suppress(KeyError):
        pwd.getpwuid(user)
        return True
    return False


def _users_of_processes() -> Set[int]:
    """All user IDs of all processes, zombies included: those count against the user's limit."""
    return {user for users in jails.users_of_processes(zombies=True).values() for user in users}
