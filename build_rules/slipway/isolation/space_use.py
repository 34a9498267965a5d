"""Measures the space and inodes that the writable folders of a step use.

For a tmpfs of the step, statvfs() returns both at no cost. A folder on a shared disk must be
walked, which takes 0.1 s for 30,000 files. So it is walked in slices and rarely. It is walked
fast only if the free space of the disk shows that the step may exceed its limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Optional, Sequence, Set, Tuple

from slipway.isolation.folder_walk import Use, Walk
from slipway.isolation.resource_limits import (
    INODES,
    MACHINE_INODES,
    MACHINE_SPACE,
    SPACE,
    Breach,
    Limits,
)

_CALM_SHARE = 0.005
_WATCHFUL_SHARE = 0.1
_URGENT_SHARE = 0.5
_LONGEST_SLICE = 0.1  # seconds
_PAUSE = 10.0  # seconds between two walks while the use is low
_NEARLY = 0.95
"""The share of a disk's free space that a step may use, whatever its limits."""

_FULL = 0.001
"""A disk with less than this share free is full."""


@dataclass(frozen=True)
class Space:
    """A folder that a step can write to.

    `whole` is True for the top folder of a separate file system that counts blocks and inodes.
    `memory` is True if its files are in memory, on a tmpfs.
    """

    path: str
    whole: bool
    memory: bool


def find_spaces(paths: Iterable[str]) -> Tuple[Space, ...]:
    """The spaces of folders, from /proc/self/mountinfo; skips missing and nested folders.

    Pass the top folder of a tmpfs instead of a folder in it, because a part of a tmpfs must be
    walked.
    """
    try:
        with open("/proc/self/mountinfo") as file:
            mountinfo = file.read()
    except OSError:
        mountinfo = ""
    return spaces_of(paths, mountinfo)


def spaces_of(paths: Iterable[str], mountinfo: str) -> Tuple[Space, ...]:
    """As find_spaces(), with the text of /proc/self/mountinfo."""
    kinds: Dict[str, str] = {}
    tops: Set[str] = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) >= 5 and kind:
            kinds[fields[2]] = kind[0]
            if fields[3] == "/":
                tops.add(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
    spaces: Dict[str, Space] = {}
    devices: Dict[str, int] = {}
    for path in sorted({os.path.realpath(path) for path in paths}):
        try:
            device = os.stat(path).st_dev
            room = os.statvfs(path)
        except OSError:
            continue
        memory = kinds.get(f"{os.major(device)}:{os.minor(device)}") in ("tmpfs", "ramfs")
        # statvfs() returns zeros for a tmpfs without limits.
        counted = room.f_blocks > 0 and room.f_files > 0
        above = [other for other in spaces if path.startswith(other.rstrip("/") + "/")]
        if not any(devices[other] == device for other in above):
            spaces[path] = Space(path, memory and counted and path in tops, memory)
            devices[path] = device
    return tuple(spaces.values())


def _free(path: str) -> Use:
    room = os.statvfs(path)
    return Use(room.f_bavail * room.f_frsize, room.f_favail)


def _used(room: os.statvfs_result) -> Use:
    return Use((room.f_blocks - room.f_bfree) * room.f_frsize, room.f_files - room.f_ffree)


class SpaceMeter:
    """Compares the total use of all spaces with the limits, at a bounded cost.

    `held_files` returns the bytes in deleted files that processes have open, by device and inode.
    """

    def __init__(
        self,
        spaces: Sequence[Space],
        limits: Limits,
        held_files: Callable[[], Dict[Tuple[int, int], int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = Use(limits.space, limits.inodes)
        self._clock = clock
        self._held_files = held_files
        self._whole = [space.path for space in spaces if space.whole]
        self._folders = [space.path for space in spaces if not space.whole]
        self._disks: Dict[int, _Disk] = {}
        for space in spaces:
            with contextlib.suppress(OSError):
                device = os.stat(space.path).st_dev
                if not space.whole and device not in self._disks:
                    self._disks[device] = _Disk(space)
        self._walk: Optional[Walk] = None
        self._walked = Use()
        self._last_look = clock()
        self._next_walk = self._last_look + _PAUSE
        self.use = Use()
        """The use of the spaces at the last check, as far as it is known."""

    def memory(self) -> Use:
        """The use of files in memory, on a tmpfs."""
        use = self._whole_use()
        for disk in self._disks.values():
            if disk.memory:
                use += disk.taken_since_start()
        return use

    def look(self) -> Optional[Breach]:
        """The limit that is exceeded now, if any."""
        now = self._clock()
        elapsed, self._last_look = now - self._last_look, now
        self.use = self._whole_use()
        if self._disks:
            for disk in self._disks.values():
                breach = disk.look()
                if breach:
                    return breach
            self.use += self._folder_use(elapsed, self._limit - self.use)
        if self.use.size > self._limit.size:
            return Breach(SPACE, self._limit.size, self.use.size)
        if self.use.inodes > self._limit.inodes:
            return Breach(INODES, self._limit.inodes, self.use.inodes)
        return None

    def _whole_use(self) -> Use:
        use = Use()
        for path in self._whole:
            with contextlib.suppress(OSError):
                use += _used(os.statvfs(path))
        return use

    def _folder_use(self, elapsed: float, left: Use) -> Use:
        """The use of the folders, as far as the walks know; `left` is what they may use."""
        # An upper bound: the use at the last walk, plus the free space that the disks lost since.
        most = self._walked
        for disk in self._disks.values():
            most += disk.taken_since_walk()
        over = most.exceeds(left)
        if over:
            share = _URGENT_SHARE
        elif (most + most).exceeds(left + self._walked):  # half of the rest may be used
            share = _WATCHFUL_SHARE
        else:
            share = _CALM_SHARE
        if self._walk is None:
            if share == _CALM_SHARE and self._clock() < self._next_walk:
                return self._walked
            self._walk = Walk(self._folders)
            for disk in self._disks.values():
                disk.begin_walk()
        if not self._walk.go_on(min(share * elapsed, _LONGEST_SLICE), left, self._clock):
            return self._walked.most(self._walk.use) if over else self._walked
        self._walked = self._walk.use
        if over:
            held = self._held_files().items()
            self._walked += Use(sum(size for (disk, _), size in held if disk in self._disks))
        self._walk = None
        self._next_walk = self._clock() + _PAUSE
        for disk in self._disks.values():
            disk.end_walk()
        return self._walked


class _Disk:
    """A file system that other processes use too: how much free space it has lost.

    The free space is compared with its maximum since the start. So files that other processes
    remove do not hide the use of the step.
    """

    def __init__(self, space: Space) -> None:
        self._path, self.memory = space.path, space.memory
        self._at_start = self._free = self._most = self._next_most = _free(space.path)

    def look(self) -> Optional[Breach]:
        """The breach if the disk is almost full; a walk cannot see every way to fill a disk."""
        with contextlib.suppress(OSError):
            self._free = _free(self._path)
        self._most = self._most.most(self._free)
        self._next_most = self._next_most.most(self._free)
        before, now = self._at_start, self._free
        if now.size < before.size * (1 - _NEARLY):
            return Breach(MACHINE_SPACE, before.size, now.size, self._path)
        # A file system that creates inodes on demand, such as btrfs, reports zeros.
        if now.inodes < before.inodes * (1 - _NEARLY):
            return Breach(MACHINE_INODES, before.inodes, now.inodes, self._path)
        return None

    def taken_since_start(self) -> Use:
        return self._at_start - self._free

    def taken_since_walk(self) -> Use:
        return self._most - self._free

    def begin_walk(self) -> None:
        self._next_most = self._free

    def end_walk(self) -> None:
        self._most = self._next_most


def explain_full(spaces: Sequence[Space], limits: Limits) -> Optional[Breach]:
    """The limit that a failed step most likely reached, if one of its spaces is full.

    If a tmpfs has the size of the limit, the write fails, and the measured use never exceeds the
    limit.
    """
    for space in spaces:
        with contextlib.suppress(OSError):
            room = os.statvfs(space.path)
            size, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
            use = _used(room)
            if space.whole and free < size * _FULL:
                return Breach(SPACE, min(size, limits.space), use.size, space.path)
            if space.whole and room.f_favail < room.f_files * _FULL:
                return Breach(INODES, min(room.f_files, limits.inodes), use.inodes, space.path)
            if not space.whole and size > 0 and free < size * _FULL:
                return Breach(MACHINE_SPACE, size, free, space.path)
            if not space.whole and room.f_files > 0 and room.f_favail == 0:
                return Breach(MACHINE_INODES, room.f_files, 0, space.path)
    return None
