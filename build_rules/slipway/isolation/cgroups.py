"""Creates a cgroup for a build step, so that the kernel enforces its limits.

This works with both versions of cgroups, with cgroups that are delegated to an ordinary user, and
with only one of the two controllers. A limit counts as enforced if it was written and read back,
and if a process could join. resource_monitor measures the other limits. This module enables
nothing for the whole machine, and never moves a process out of a limit that was set on it.
Sources: cgroups(7); the kernel's cgroup-v1/memory, cgroup-v1/pids and cgroup-v2.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import signal
import time
from typing import FrozenSet, List, Optional, Sequence

from slipway.isolation.cgroup_places import (
    MEMORY_LIMITS,
    Place,
    find_parent,
    own_places,
    read_file,
    read_number,
)
from slipway.isolation.resource_limits import MEMORY, PROCESSES, Limits

_PREFIX = "slipway-"
_CONTROLLERS = {"memory": MEMORY, "pids": PROCESSES}
_PATIENCE = 5.0  # seconds to wait for killed processes
# By version and kind: the file of the limit, and the file and key of the counter of its breaches.
_FILES = {
    (1, MEMORY): (MEMORY_LIMITS[1], "memory.oom_control", "oom_kill"),
    (2, MEMORY): (MEMORY_LIMITS[2], "memory.events", "oom_kill"),
    (1, PROCESSES): ("pids.max", "pids.events", "max"),
    (2, PROCESSES): ("pids.max", "pids.events", "max"),
}
# Without a swap limit, a step could use all swap in addition to its memory limit. Kernels without
# swap accounting do not have these files.
_SWAP = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}


def _write_file(name: str, folder: int, text: str) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


class _Folder:
    """A cgroup folder; it uses only descriptors, which still work after pivot_root."""

    def __init__(self, version: int, kinds: FrozenSet[str], path: str) -> None:
        self.version, self.kinds = version, kinds
        self.parent = os.open(posixpath.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        self.name = posixpath.basename(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._before = {kind: self._count(kind) for kind in (MEMORY, PROCESSES)}

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.parent)

    def exceeded(self, kind: str) -> bool:
        return self._count(kind) > self._before[kind]

    def _count(self, kind: str) -> int:
        _, name, key = _FILES[self.version, kind]
        for line in read_file(name, self.descriptor).splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == key:
                return int(words[1])
        return 0

    def limit_of(self, kind: str) -> Optional[int]:
        return read_number(read_file(_FILES[self.version, kind][0], self.descriptor))

    def set_limit(self, kind: str, most: int) -> bool:
        """Sets a limit; returns whether the kernel accepted it.

        When it is exceeded, the OOM killer kills only one process. The caller must kill the others.
        """
        try:
            _write_file(_FILES[self.version, kind][0], self.descriptor, str(most))
        except OSError:
            return False
        if kind == MEMORY:
            with contextlib.suppress(OSError):
                swap = "0" if self.version == 2 else str(most)
                _write_file(_SWAP[self.version], self.descriptor, swap)
        written = self.limit_of(kind)
        return written is not None and written <= most

    def add(self, pid: int) -> None:
        _write_file("cgroup.procs", self.descriptor, str(pid))

    def pids(self) -> List[int]:
        text = ""
        with contextlib.suppress(OSError):
            file = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.descriptor)
            with os.fdopen(file) as stream:
                text = stream.read()
        return [int(line) for line in text.splitlines()]

    def takes_processes(self) -> bool:
        """Whether a child process can join, which also needs rights on the common ancestor."""
        child = os.fork()
        if child == 0:
            try:
                self.add(0)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0

    def empty(self) -> None:
        """Kills the processes inside, except this process; gives up after five seconds."""
        with contextlib.suppress(OSError):
            # Otherwise processes could fork faster than this loop kills them.
            _write_file("pids.max", self.descriptor, "0")
        if os.getpid() not in self.pids():
            with contextlib.suppress(OSError):
                _write_file("cgroup.kill", self.descriptor, "1")  # Linux 5.14 and newer
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            pids = [pid for pid in self.pids() if pid not in (0, os.getpid())]
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def remove(self) -> None:
        """Removes the cgroup; retries, because it is busy until the kernel reaps its processes."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                os.rmdir(self.name, dir_fd=self.parent)
                return
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > end:
                    return  # sweep() of a later step removes it
            time.sleep(0.01)


def sweep(parent: str) -> None:
    """Removes empty cgroups that nobody locks any more, because their step was killed."""
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in names:
        path = posixpath.join(parent, name)
        with contextlib.suppress(OSError):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # The lock decides, not the process ID in the name: a process in another container
                # may have created the cgroup.
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rmdir(path)
            finally:
                os.close(folder)


class Cgroup:
    """The cgroups of a step's processes, and the limits that the kernel enforces with them.

    `enforced` has the kinds of limits; it is empty if this process may not create a cgroup. All
    methods also work in a child process, after pivot_root, and in other namespaces.

    The kernel charges a page to the cgroup that touches it first, including pages of a tmpfs. So
    files in a tmpfs count against the step's memory limit until they are removed.
    """

    def __init__(self, folders: Sequence[_Folder], *, created: bool) -> None:
        self._folders = tuple(folders)
        self._created = created
        self.enforced: FrozenSet[str] = frozenset().union(*(folder.kinds for folder in folders))

    @classmethod
    def make(cls, limits: Limits) -> Cgroup:
        """Creates empty cgroups with these limits, as far as the machine allows."""
        folders: List[_Folder] = []
        held: FrozenSet[str] = frozenset()
        for place in own_places():
            parent = find_parent(place)
            folder = parent and _make_folder(place, parent, limits, without=held)
            if folder:
                folders.append(folder)
                held |= folder.kinds
        return cls(folders, created=True)

    @classmethod
    def of_this_process(cls) -> Cgroup:
        """The cgroups of this process, to find the limits that a container engine enforces."""
        folders = []
        for place in own_places():
            with contextlib.suppress(OSError):
                kinds = frozenset(_CONTROLLERS[name] for name in place.controllers)
                folder = _Folder(place.version, kinds, place.folder)
                limited = [kind for kind in kinds if _is_limit(folder.limit_of(kind))]
                folder.kinds = frozenset(limited)
                folders.append(folder)
        return cls(folders, created=False)

    def add(self, pid: int = 0) -> None:
        """Moves a process, and all its later children; 0 is the calling process.

        Raises OSError if the process is gone or the kernel refuses. Does nothing for
        of_this_process(), whose cgroups contain the process already.
        """
        if self._created:
            for folder in self._folders:
                folder.add(pid)

    def takes_processes(self) -> bool:
        """Whether a child of this process can join; another namespace may forbid it."""
        return not self._created or all(folder.takes_processes() for folder in self._folders)

    def pids(self) -> List[int]:
        """The processes inside, as IDs of the caller's process namespace."""
        return self._folders[0].pids() if self._folders else []

    def exceeded(self) -> Optional[str]:
        """The limit that the kernel has enforced since the start: memory or processes; or None."""
        for folder in self._folders:
            for kind in sorted(folder.kinds):
                if folder.exceeded(kind):
                    return kind
        return None

    def close(self) -> None:
        """Kills all processes inside and removes the cgroups; only their creator may call it."""
        for folder in self._folders:
            if self._created:
                folder.empty()
                folder.remove()
            folder.close()
        self._folders = ()

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _is_limit(number: Optional[int]) -> bool:
    # Version 1 has no `max`; an unlimited cgroup shows a very large number.
    return number is not None and number < 1 << 60


def _make_folder(
    place: Place, parent: str, limits: Limits, without: FrozenSet[str]
) -> Optional[_Folder]:
    """A new cgroup below `parent` that enforces at least one of the limits, or None."""
    sweep(parent)
    path = posixpath.join(parent, f"{_PREFIX}{os.getpid()}-{os.urandom(8).hex()}")
    try:
        os.mkdir(path, 0o755)
        folder = _Folder(place.version, frozenset(), path)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        # The lock lasts until the last process with this descriptor ends: see sweep().
        fcntl.flock(folder.descriptor, fcntl.LOCK_SH)
    wanted = {MEMORY: limits.memory, PROCESSES: limits.processes}
    kinds = {_CONTROLLERS[name] for name in place.controllers} - without
    folder.kinds = frozenset(kind for kind in kinds if folder.set_limit(kind, wanted[kind]))
    if folder.kinds and folder.takes_processes():
        return folder
    folder.remove()
    folder.close()
    return None
