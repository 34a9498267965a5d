"""Measures the use of a set of processes: threads, memory, and files without a name.

The figures come from /proc, in two qualities. The fast figures are upper bounds, because they count
shared pages for each process. The exact figures cost milliseconds for each process, so they are
only read if the fast figures exceed a limit.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import stat
from dataclasses import dataclass
from typing import Dict, Iterable, Optional, Tuple

_PAGE = mmap.PAGESIZE
_MEMINFO = re.compile(rb"^(MemAvailable|SwapFree|Shmem): +([0-9]+) kB", re.MULTILINE)
_PSS = re.compile(rb"^(Pss|SwapPss|Pss_Shmem): +([0-9]+) kB", re.MULTILINE)
_MAPPING = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ ([0-9a-f]+):([0-9a-f]+) ([1-9][0-9]*) ")


@dataclass(frozen=True)
class Machine:
    """Memory of the machine in bytes: available memory, free swap, and shared memory."""

    available: int
    swap_free: int
    shared: int


def read_machine() -> Machine:
    """The current state of the machine, from /proc/meminfo."""
    sizes = {name: int(size) * 1024 for name, size in _MEMINFO.findall(_read("/proc/meminfo"))}
    return Machine(
        available=sizes.get(b"MemAvailable", 0),
        swap_free=sizes.get(b"SwapFree", 0),
        shared=sizes.get(b"Shmem", 0),
    )


def _read(path: str) -> bytes:
    """The content of a file in /proc; empty if its process has ended or denies access."""
    # os.open() is twice as fast as open(), and reading these files is most of the cost.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(file)


def count_tasks(pids: Iterable[int], enough: int) -> int:
    """The number of threads of the processes; stops counting above `enough`."""
    count = 0
    for pid in pids:
        try:
            count += os.stat(f"/proc/{pid}/task").st_nlink - 2
        except OSError:
            continue
        if count > enough:
            break
    return count


def resident_memory(pids: Iterable[int]) -> int:
    """Resident memory in bytes; an upper bound, because shared pages count for each process."""
    pages = 0
    for pid in pids:
        fields = _read(f"/proc/{pid}/statm").split()
        if fields:
            pages += int(fields[1])
    return pages * _PAGE


def exact_memory(pids: Iterable[int]) -> Tuple[int, int]:
    """Private and shared bytes in memory and swap; a page of several processes counts once.

    Shared memory is the mapped part of tmpfs files and of anonymous shared mappings.
    """
    private = shared = 0
    for pid in pids:
        sizes = dict(_PSS.findall(_read(f"/proc/{pid}/smaps_rollup")))
        if not sizes:  # before Linux 4.14, or a process of another user
            private += resident_memory([pid])
            continue
        mapped = int(sizes.get(b"Pss_Shmem", 0)) * 1024
        shared += mapped
        private += (int(sizes.get(b"Pss", 0)) + int(sizes.get(b"SwapPss", 0))) * 1024 - mapped
    return private, shared


def shared_memory_device() -> Optional[int]:
    """The device number of memfds, SysV segments and shared anonymous mappings.

    Linux stores all of them as files of an internal tmpfs.
    """
    with mmap.mmap(-1, _PAGE) as shared:
        shared[0] = 1
        with open("/proc/self/maps", "rb") as file:
            for line in file:
                match = _MAPPING.match(line)
                if match and line.rstrip().endswith(b"/dev/zero (deleted)"):
                    return os.makedev(int(match[3], 16), int(match[4], 16))
    return None


def held_files(pids: Iterable[int]) -> Dict[Tuple[int, int], int]:
    """Bytes of the deleted files that the processes have open, by device and inode.

    A file whose descriptor is queued in a socket is open in no process, and is missing here.
    """
    files: Dict[Tuple[int, int], int] = {}
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    state = os.stat(f"{folder}/{name}")
                    if stat.S_ISREG(state.st_mode) and state.st_nlink == 0:
                        files[state.st_dev, state.st_ino] = state.st_blocks * 512
    return files


def hides_files(pids: Iterable[int]) -> bool:
    """Whether a process with memory denies this process access to its open files."""
    return any(
        not os.access(f"/proc/{pid}/fd", os.R_OK) and resident_memory([pid]) > 0 for pid in pids
    )


def mapped_files(pids: Iterable[int], device: int) -> Dict[Tuple[int, int], int]:
    """Lengths of the mappings of files on `device`, by device and inode; an upper bound.

    A process can close a memfd that it has mapped, and can drop its pages from its own memory
    although they stay in the file. Then only the length of the mapping shows them.
    """
    files: Dict[Tuple[int, int], int] = {}
    for pid in pids:
        own: Dict[Tuple[int, int], int] = {}
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            for line in file:
                match = _MAPPING.match(line)
                if match and os.makedev(int(match[3], 16), int(match[4], 16)) == device:
                    key, length = (device, int(match[5])), int(match[2], 16) - int(match[1], 16)
                    own[key] = own.get(key, 0) + length
        for key, length in own.items():
            files[key] = max(length, files.get(key, 0))
    return files


def sysv_segments(user: Optional[int], device: int) -> Dict[Tuple[int, int], int]:
    """Bytes in SysV segments that `user` created; None means all of this IPC namespace.

    Linux stores a segment as a file on `device` with the segment's ID as its inode, so the keys are
    the same as in mapped_files().
    """
    segments: Dict[Tuple[int, int], int] = {}
    with contextlib.suppress(OSError), open("/proc/sysvipc/shm") as file:
        for line in list(file)[1:]:
            fields = line.split()
            # key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap
            if len(fields) >= 16 and (user is None or user == int(fields[9])):
                segments[device, int(fields[1])] = int(fields[14]) + int(fields[15])
    return segments
