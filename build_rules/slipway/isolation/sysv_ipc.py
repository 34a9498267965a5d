"""Removes System V shared memory, message queues and semaphores of a user.

The kernel keeps them after their processes end. If a step does not have its own IPC namespace, they
would stay on the machine. Sources: sysvipc(7), proc(5).
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import List

_REMOVE = 0  # IPC_RMID
_libc = ctypes.CDLL(None, use_errno=True)


def remove_all_of(user: int) -> None:
    """Removes all objects of `user`; this process must run as that user."""
    for number in _ids("shm", user):
        _libc.shmctl(number, _REMOVE, None)
    for number in _ids("msg", user):
        _libc.msgctl(number, _REMOVE, None)
    for number in _ids("sem", user):
        _libc.semctl(number, 0, _REMOVE)


def any_of(user: int) -> bool:
    return any(_ids(kind, user) for kind in ("shm", "msg", "sem"))


def _ids(kind: str, user: int) -> List[int]:
    ids: List[int] = []
    with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
        names = file.readline().split()
        own, number = names.index("uid"), names.index(f"{'msq' if kind == 'msg' else kind}id")
        for line in file:
            fields = line.split()
            if int(fields[own]) == user:
                ids.append(int(fields[number]))
    return ids
