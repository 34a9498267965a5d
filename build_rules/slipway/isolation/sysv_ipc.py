"""System V shared memory, message queues and semaphores, which outlive the processes that made them.

Where a step has no IPC namespace of its own, they would stay in the machine's.
Sources: sysvipc(7), proc(5).
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import List

_REMOVE = 0  # IPC_RMID
_libc = ctypes.CDLL(None, use_errno=True)


def remove_all_of(user: int) -> None:
    """Removes what belongs to the user that this process runs as."""
    for number in _ids("shm", user):
        _libc.shmctl(number, _REMOVE, None)
    for number in _ids("msg", user):
        _libc.msgctl(number, _REMOVE, None)
    for number in _ids("sem", user):
        _libc.semctl(number, 0, _REMOVE)


def any_of(user: int) -> bool:
    return any(_ids(kind, user) for kind in ("shm", "msg", "sem"))


def _ids(kind: str, user: int) -> List[int]:
    found: List[int] = []
    with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
        names = file.readline().split()
        own, number = names.index("uid"), names.index(f"{'msq' if kind == 'msg' else kind}id")
        for line in file:
            fields = line.split()
            if int(fields[own]) == user:
                found.append(int(fields[number]))
    return found
