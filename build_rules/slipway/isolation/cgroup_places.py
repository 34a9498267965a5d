"""Where this process is among the cgroups, and below which of them it could make another.

Both versions of cgroups are read, which a machine may have at once.  Sources: cgroups(7).
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

CONTROLLERS = ("memory", "pids")
MEMORY_LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}
# Limits that a process escapes when it moves to a cgroup beside its own.
_INHERITED = ("memory.max", "memory.high", "cpu.max")


@dataclass(frozen=True)
class Place:
    """The cgroup of this process in one hierarchy, as a folder, and the top that it can see.

    `controllers` are of `memory` and `pids`; of version 2 both, as far as they are switched on.
    """

    version: int
    controllers: Tuple[str, ...]
    folder: str
    top: str


def find_places(cgroup: str, mountinfo: str) -> List[Place]:
    """Where this process is, from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    own: Dict[str, str] = {}
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        own.update(dict.fromkeys(names.split(","), path))
    places = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        options = kind[2].split(",")
        controllers = tuple(name for name in CONTROLLERS if version == 2 or name in options)
        hierarchy = "" if version == 2 else controllers[0] if controllers else None
        if hierarchy not in own:
            continue
        path, root, top = own[hierarchy], _unescape(fields[3]), _unescape(fields[4])
        relative = posixpath.relpath(path, root)
        # Out of sight: the mount shows another part of the hierarchy, or the namespace does.
        if ".." not in (path + root + "/" + relative).split("/"):
            folder = posixpath.normpath(posixpath.join(top, relative))
            places.append(Place(version, controllers, folder, top))
    return places


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def own_places() -> List[Place]:
    try:
        with open("/proc/self/cgroup") as cgroup, open("/proc/self/mountinfo") as mountinfo:
            return find_places(cgroup.read(), mountinfo.read())
    except OSError:
        return []


def machine_memory() -> int:
    """Bytes of memory that this process can get at most: the machine's, or its cgroup's if less."""
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    for place in own_places():
        name = MEMORY_LIMITS[place.version]
        if "memory" in place.controllers:
            for folder in _upwards(place):
                total = min(total, read_number(read_file(posixpath.join(folder, name))) or total)
    return total


def _upwards(place: Place) -> List[str]:
    folders = [place.folder]
    while folders[-1] != place.top:
        folders.append(posixpath.dirname(folders[-1]))
    return folders


def find_parent(place: Place) -> Optional[str]:
    """The folder of the cgroup below which this process could make one; None if there is none."""
    if place.version == 1:
        return place.folder
    # A cgroup of version 2 that holds processes cannot have children with controllers: the new one
    # goes beside this process' own, below the nearest ancestor that hands the controllers down.
    best: Tuple[int, Optional[str]] = (0, None)
    for folder in _upwards(place):
        handed_down = read_file(posixpath.join(folder, "cgroup.subtree_control")).split()
        count = sum(name in handed_down for name in place.controllers)
        if count > best[0]:
            best = count, folder
        limits = [read_file(posixpath.join(folder, name)) for name in _INHERITED]
        if any(text and text.split()[0] != "max" for text in limits):
            break  # a cgroup above this one would be free of the limit
    return best[1]


def read_file(path: str, folder: Optional[int] = None) -> str:
    """The text of a small file, empty if it cannot be read; `path` is relative to `folder`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return ""
    try:
        return os.read(file, 1 << 16).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(file)


def read_number(text: str) -> Optional[int]:
    """The limit in a file; None for `max` and what cannot be read."""
    text = text.strip()
    return int(text) if text.isdigit() else None
