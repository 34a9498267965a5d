"""Measures the use of folders with untrusted content, in short slices of time."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import Callable, Iterator, List, Sequence, Set, Tuple

_DEEPEST = 256
"""The maximum depth of a walk, which needs a descriptor for each level. The free space of the disk
shows the use below."""

_CHECK_EVERY = 64
"""The number of entries between two checks of the clock."""


@dataclass(frozen=True)
class Use:
    """Bytes on the disk or in memory, and the number of files, folders and links."""

    size: int = 0
    inodes: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(self.size + other.size, self.inodes + other.inodes)

    def __sub__(self, other: Use) -> Use:
        """The difference, but never below zero."""
        return Use(max(0, self.size - other.size), max(0, self.inodes - other.inodes))

    def most(self, other: Use) -> Use:
        return Use(max(self.size, other.size), max(self.inodes, other.inodes))

    def exceeds(self, other: Use) -> bool:
        return self.size > other.size or self.inodes > other.inodes


class Walk:
    """Adds up the use of folders, a slice at a time; `use` is the sum so far.

    It counts blocks instead of lengths, and hard links once. It follows no symlinks, stays on the
    file systems of the folders, and skips entries that vanish or cannot be read.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._steps = self._walk(folders)
        self._size = 0
        self._inodes = 0

    @property
    def use(self) -> Use:
        return Use(self._size, self._inodes)

    def go_on(self, seconds: float, most: Use, clock: Callable[[], float]) -> bool:
        """Walks for `seconds`, or until the sum exceeds `most`; True at the end of the walk."""
        end = clock() + seconds
        for _ in self._steps:
            if self._size > most.size or self._inodes > most.inodes or clock() >= end:
                return False
        return True

    def _walk(self, folders: Sequence[str]) -> Iterator[None]:
        seen: Set[Tuple[int, int]] = set()
        for folder in folders:
            with contextlib.suppress(OSError):
                top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                yield from self._walk_below(top, os.fstat(top).st_dev, seen, 0)

    def _walk_below(
        self, folder: int, device: int, seen: Set[Tuple[int, int]], depth: int
    ) -> Iterator[None]:
        """Walks below the descriptor `folder` and closes it.

        Uses descriptors, because a process can replace a folder in a path by a symlink meanwhile.
        """
        below: List[str] = []
        try:
            with os.scandir(folder) as entries:
                for count, entry in enumerate(entries):
                    if count % _CHECK_EVERY == 0:
                        yield
                    with contextlib.suppress(OSError):
                        state = entry.stat(follow_symlinks=False)
                        if state.st_dev != device:
                            continue
                        if stat.S_ISDIR(state.st_mode):
                            below.append(entry.name)
                        elif state.st_nlink > 1:
                            if (device, state.st_ino) in seen:
                                continue
                            seen.add((device, state.st_ino))
                        self._size += state.st_blocks * 512
                        self._inodes += 1
            for name in below if depth < _DEEPEST else ():
                with contextlib.suppress(OSError):
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                    inner = os.open(name, flags, dir_fd=folder)
                    yield from self._walk_below(inner, device, seen, depth + 1)
        finally:
            os.close(folder)
