"""Compares the use of a step with its limits, at a low cost.

For limits that a cgroup enforces, the monitor only reads the counters of the cgroup. For the other
limits, it first reads cheap upper bounds, and exact values only if a bound exceeds a limit.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, Iterable, Optional, Sequence, Tuple

from slipway.isolation import process_use
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.resource_limits import (
    INODES,
    MACHINE_MEMORY,
    MEMORY,
    PROCESSES,
    SPACE,
    Breach,
    Limits,
)
from slipway.isolation.space_use import Space, SpaceMeter

_CALM = 0.2  # seconds between two checks
_LONGEST = 0.5
_SHORTEST = 0.02
_CALM_SHARE = 0.01
_BUSY_SHARE = 0.2
_SOON = 4
"""The number of checks until a limit is reached at the current rate."""

_NEARLY = 0.95
"""The share of the memory and swap free at the start that may be used, by any process."""

_WAIT = 0.01  # seconds
_INODE_BYTES = 1024  # kernel memory for each file in a tmpfs


class Monitor:
    """Checks the processes and spaces of a step; check again after `interval` seconds.

    `pids` returns the step's processes without the caller, as IDs of the caller's /proc. `shm_user`
    is the user whose SysV segments belong to the step; None if the step has its own IPC namespace,
    which this process shares. Nothing that a step does makes the monitor raise an exception.
    """

    def __init__(
        self,
        limits: Limits,
        pids: Callable[[], Iterable[int]],
        spaces: Sequence[Space] = (),
        cgroup: Optional[Cgroup] = None,
        shm_user: Optional[int] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._pids = pids
        self._cgroup = cgroup
        self._enforced = cgroup.enforced if cgroup else frozenset()
        self._shm_user = shm_user
        self._clock = clock
        self._spaces = SpaceMeter(spaces, limits, self._held_files, clock)
        self._device = process_use.shared_memory_device()
        self._at_start = process_use.read_machine()
        # Shared memory of the machine outside the step's spaces: the lowest value so far.
        self._other_shared = self._at_start.shared - self._spaces.memory().size
        # By kind: use and limit at this check; time and use at the previous check.
        self._use: Dict[str, Tuple[int, int]] = {}
        self._last: Dict[str, Tuple[float, int]] = {}
        self.interval = _SHORTEST

    def look(self) -> Optional[Breach]:
        """The limit that the step exceeds now, if any."""
        began = time.thread_time()
        breach = self._look()
        cost = time.thread_time() - began
        self.interval = self._advise(cost)
        return breach

    def _look(self) -> Optional[Breach]:
        kind = self._cgroup.exceeded() if self._cgroup else None
        if kind:
            limit = self._limits.memory if kind == MEMORY else self._limits.processes
            return Breach(kind, limit, limit)
        self._use = {}
        pids: Sequence[int] = ()
        if not {MEMORY, PROCESSES} <= self._enforced:
            pids = tuple(self._pids())
        breach = None
        if PROCESSES not in self._enforced:
            breach = self._look_at_processes(pids)
        return breach or self._look_at_memory(pids) or self._look_at_spaces()

    def _look_at_processes(self, pids: Sequence[int]) -> Optional[Breach]:
        limit = self._limits.processes
        count = len(pids)
        if count <= limit:
            count = process_use.count_tasks(pids, enough=limit)
        self._use[PROCESSES] = count, limit
        return Breach(PROCESSES, limit, count) if count > limit else None

    def _look_at_spaces(self) -> Optional[Breach]:
        breach = self._spaces.look()
        self._use[SPACE] = self._spaces.use.size, self._limits.space
        self._use[INODES] = self._spaces.use.inodes, self._limits.inodes
        return breach

    def _look_at_memory(self, pids: Sequence[int]) -> Optional[Breach]:
        machine = process_use.read_machine()
        free = machine.available + machine.swap_free
        before = self._at_start.available + self._at_start.swap_free
        self._use[MACHINE_MEMORY] = max(0, before - free), int(before * _NEARLY)
        # Whichever process uses it: kernel memory and files in a socket show only here. Without
        # this check, the kernel's OOM killer would choose a process, maybe of another user.
        if before - free > before * _NEARLY:
            return Breach(MACHINE_MEMORY, before, free)
        if MEMORY in self._enforced:
            return None
        limit = self._limits.memory
        in_memory = self._spaces.memory()
        files = in_memory.size + in_memory.inodes * _INODE_BYTES
        shared = machine.shared - in_memory.size
        self._other_shared = min(self._other_shared, shared)
        swapped = max(0, self._at_start.swap_free - machine.swap_free)
        most = process_use.resident_memory(pids) + files + shared - self._other_shared + swapped
        self._use[MEMORY] = most, limit
        if most <= limit:
            return None
        measured = self._exact_memory(pids, shared - self._other_shared) + files
        if measured > limit:
            # Between vfork and exec, two processes share their memory, and both report all of it.
            # So the exact value is measured again after a short time.
            time.sleep(_WAIT)
            again = self._exact_memory(pids, shared - self._other_shared) + files
            measured = min(measured, again)
        self._use[MEMORY] = measured, limit
        return Breach(MEMORY, limit, measured) if measured > limit else None

    def _exact_memory(self, pids: Sequence[int], shared: int) -> int:
        """Memory of the processes in bytes; `shared` is the maximum without file or mapping."""
        private, mapped = process_use.exact_memory(pids)
        if self._device is None or process_use.hides_files(pids):
            return private + max(shared, mapped)
        opened = {
            key: size
            for key, size in process_use.held_files(pids).items()
            if key[0] == self._device
        }
        opened.update(process_use.sysv_segments(self._shm_user, self._device))
        mappings = process_use.mapped_files(pids, self._device)
        only_mapped = sum(length for key, length in mappings.items() if key not in opened)
        # A mapping can be longer than the memory in it, so `shared` bounds the sum.
        return private + sum(opened.values()) + min(only_mapped, max(shared, mapped))

    def _held_files(self) -> Dict[Tuple[int, int], int]:
        return process_use.held_files(self._pids())

    def _advise(self, cost: float) -> float:
        """The next interval: shorter near a limit, longer if a check is expensive."""
        now = self._clock()
        wanted = min(_LONGEST, max(_CALM, cost / _CALM_SHARE))
        for kind, (use, limit) in self._use.items():
            then, used = self._last.get(kind, (now, use))
            self._last[kind] = now, use
            if use > used and now > then:
                left = (limit - use) * (now - then) / (use - used)
                wanted = min(wanted, left / _SOON)
        return max(wanted, _SHORTEST, cost / _BUSY_SHARE)
