"""What a set of processes uses: threads, memory, and files that no folder shows.

The figures come from /proc in two qualities.  The quick ones never miss memory but count shared
pages once for each process; the exact ones cost milliseconds for each process, so that they are
taken only when the quick ones exceed a limit.
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
    """Memory of the whole machine in bytes: what can still be had, and what shared memory holds."""

    available: int
    swap_free: int
    shared: int


def read_machine() -> Machine:
    """The state of the machine now, from /proc/meminfo."""
    found = {name: int(size) * 1024 for name, size in _MEMINFO.findall(_read("/proc/meminfo"))}
    return Machine(
        available=found.get(b"MemAvailable", 0),
        swap_free=found.get(b"SwapFree", 0),
        shared=found.get(b"Shmem", 0),
    )


def _read(path: str) -> bytes:
    """A file of /proc; empty if its process has ended or keeps it secret."""
    # Twice as fast as open(), and this is most of what a look costs.
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
    """The threads of all the processes; stops at the first process that brings it over `enough`."""
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
    """Bytes in memory, an upper bound: what processes share counts once for each."""
    pages = 0
    for pid in pids:
        fields = _read(f"/proc/{pid}/statm").split()
        if fields:
            pages += int(fields[1])
    return pages * _PAGE


def exact_memory(pids: Iterable[int]) -> Tuple[int, int]:
    """Bytes in memory and swap, a page that processes share once in all: private, then shared.

    Shared memory is what a tmpfs and mappings without a name hold, as far as it is mapped now.
    """
    private = shared = 0
    for pid in pids:
        found = dict(_PSS.findall(_read(f"/proc/{pid}/smaps_rollup")))
        if not found:  # a kernel before 4.14, or a process of somebody else
            private += resident_memory([pid])
            continue
        mapped = int(found.get(b"Pss_Shmem", 0)) * 1024
        shared += mapped
        private += (int(found.get(b"Pss", 0)) + int(found.get(b"SwapPss", 0))) * 1024 - mapped
    return private, shared


def shared_memory_device() -> Optional[int]:
    """The device that memfds, SysV segments and shared anonymous mappings are files of."""
    with mmap.mmap(-1, _PAGE) as shared:
        shared[0] = 1
        with open("/proc/self/maps", "rb") as file:
            for line in file:
                match = _MAPPING.match(line)
                if match and line.rstrip().endswith(b"/dev/zero (deleted)"):
                    return os.makedev(int(match[3], 16), int(match[4], 16))
    return None


def held_files(pids: Iterable[int]) -> Dict[Tuple[int, int], int]:
    """Bytes of the files without a name that the processes hold open, by device and inode.

    A file that is on its way through a socket is held by no process and is not in it.
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
    """Whether a process with memory keeps its open files secret from this one."""
    return any(
        not os.access(f"/proc/{pid}/fd", os.R_OK) and resident_memory([pid]) > 0 for pid in pids
    )


def mapped_files(pids: Iterable[int], device: int) -> Dict[Tuple[int, int], int]:
    """Lengths of the mappings of files on `device`, as held_files() gives them: an upper bound.

    A process can close a memfd that it has mapped, and can drop pages from its own memory that
    stay in the file: only the mapping's length shows then.
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
    """Bytes in SysV segments that `user` made, or in all of this IPC namespace if that is None.

    They are files on `device` whose inode is the segment's ID: the keys are as of mapped_files().
    """
    segments: Dict[Tuple[int, int], int] = {}
    with contextlib.suppress(OSError), open("/proc/sysvipc/shm") as file:
        for line in list(file)[1:]:
            fields = line.split()
            # key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap
            if len(fields) >= 16 and (user is None or user == int(fields[9])):
                segments[device, int(fields[1])] = int(fields[14]) + int(fields[15])
    return segments
