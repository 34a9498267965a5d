"""A control group for one build step, so that the kernel enforces its limits.

Works with both versions of cgroups, with what is delegated to an ordinary user, and where only one
of the two controllers can be had: a limit counts as enforced once it was written, read back, and a
process could join.  For all else resource_monitor measures.  Nothing is switched on for the whole
machine, and no limit that somebody set on this process is left behind.
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
_PATIENCE = 5.0  # seconds until killed processes are gone
# By version and kind: the file of the limit, and the file and the key that count its breaches.
_FILES = {
    (1, MEMORY): (MEMORY_LIMITS[1], "memory.oom_control", "oom_kill"),
    (2, MEMORY): (MEMORY_LIMITS[2], "memory.events", "oom_kill"),
    (1, PROCESSES): ("pids.max", "pids.events", "max"),
    (2, PROCESSES): ("pids.max", "pids.events", "max"),
}
# Without these a step gets as much swap as there is on top of its memory. Kernels without swap
# accounting have neither.
_SWAP = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}


def _write_file(name: str, folder: int, text: str) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


class _Folder:
    """One cgroup folder, reached by descriptors alone, which also work behind a pivot_root."""

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
        """Whether the kernel took the limit. The OOM killer ends one process, not the group."""
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
        """Whether a child of this process can join: that needs rights on the common ancestor too."""
        child = os.fork()
        if child == 0:
            try:
                self.add(0)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0

    def empty(self) -> None:
        """Kills what is inside, except for this process; gives up after a few seconds."""
        with contextlib.suppress(OSError):
            _write_file("pids.max", self.descriptor, "0")  # what multiplies could win the race
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
        """Removes the cgroup, which stays busy until the kernel is done with its processes."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                os.rmdir(self.name, dir_fd=self.parent)
                return
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > end:
                    return  # the next step sweeps it
            time.sleep(0.01)


def sweep(parent: str) -> None:
    """Removes empty cgroups of steps that were killed: their locks are free."""
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in names:
        path = posixpath.join(parent, name)
        with contextlib.suppress(OSError):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # Not by the process ID in its name: another container may have made it.
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rmdir(path)
            finally:
                os.close(folder)


class Cgroup:
    """The cgroups that hold one step's processes, and what the kernel enforces by them.

    `enforced` has the kinds of limits; it is empty where this process may make no cgroup.  All
    methods also work in a child process, behind a pivot_root, and in other namespaces.

    The kernel charges a page to the cgroup that touches it first. That includes pages of a tmpfs: a
    step that fills one is at its memory limit, and the pages stay until the files are removed.
    """

    def __init__(self, folders: Sequence[_Folder], *, made: bool) -> None:
        self._folders = tuple(folders)
        self._made = made
        self.enforced: FrozenSet[str] = frozenset().union(*(one.kinds for one in folders))

    @classmethod
    def make(cls, limits: Limits) -> Cgroup:
        """New, empty cgroups with these limits; none where the machine refuses them."""
        folders: List[_Folder] = []
        held: FrozenSet[str] = frozenset()
        for place in own_places():
            parent = find_parent(place)
            folder = parent and _make_folder(place, parent, limits, without=held)
            if folder:
                folders.append(folder)
                held |= folder.kinds
        return cls(folders, made=True)

    @classmethod
    def of_this_process(cls) -> Cgroup:
        """The cgroups that this process is in, to learn which limits a container engine enforces."""
        folders = []
        for place in own_places():
            with contextlib.suppress(OSError):
                kinds = frozenset(_CONTROLLERS[name] for name in place.controllers)
                folder = _Folder(place.version, kinds, place.folder)
                limited = [kind for kind in kinds if _is_limit(folder.limit_of(kind))]
                folder.kinds = frozenset(limited)
                folders.append(folder)
        return cls(folders, made=False)

    def add(self, pid: int = 0) -> None:
        """Moves a process, with all that it starts from then on; 0 is the calling process.

        Raises OSError if that process is gone or the kernel refuses. Cgroups that were there before
        hold them already.
        """
        if self._made:
            for folder in self._folders:
                folder.add(pid)

    def takes_processes(self) -> bool:
        """Whether a child of this process can join, which another namespace may forbid."""
        return not self._made or all(folder.takes_processes() for folder in self._folders)

    def pids(self) -> List[int]:
        """The processes inside, by their IDs in the caller's process namespace."""
        return self._folders[0].pids() if self._folders else []

    def exceeded(self) -> Optional[str]:
        """The kind of limit that the kernel had to enforce since the start: memory or processes."""
        for folder in self._folders:
            for kind in sorted(folder.kinds):
                if folder.exceeded(kind):
                    return kind
        return None

    def close(self) -> None:
        """Kills all processes inside and removes the cgroups; only for the process that made them."""
        for folder in self._folders:
            if self._made:
                folder.empty()
                folder.remove()
            folder.close()
        self._folders = ()

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _is_limit(number: Optional[int]) -> bool:
    # Version 1 has a very large number in place of `max`.
    return number is not None and number < 1 << 60


def _make_folder(
    place: Place, parent: str, limits: Limits, without: FrozenSet[str]
) -> Optional[_Folder]:
    """A new cgroup below `parent` that holds a step to at least one of its limits, or None."""
    sweep(parent)
    path = posixpath.join(parent, f"{_PREFIX}{os.getpid()}-{os.urandom(8).hex()}")
    try:
        os.mkdir(path, 0o755)
        folder = _Folder(place.version, frozenset(), path)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        # Until the last process that holds the descriptor ends: see sweep().
        fcntl.flock(folder.descriptor, fcntl.LOCK_SH)
    wanted = {MEMORY: limits.memory, PROCESSES: limits.processes}
    kinds = {_CONTROLLERS[name] for name in place.controllers} - without
    folder.kinds = frozenset(kind for kind in kinds if folder.set_limit(kind, wanted[kind]))
    if folder.kinds and folder.takes_processes():
        return folder
    folder.remove()
    folder.close()
    return None
