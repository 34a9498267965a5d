"""Finds the cgroups of this process, and the cgroup below which it can create another.

A machine can use both versions of cgroups at the same time, so both are read. Source: cgroups(7).
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

CONTROLLERS = ("memory", "pids")
MEMORY_LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}
# Limits that a process would escape by moving to a sibling of its cgroup.
_INHERITED = ("memory.max", "memory.high", "cpu.max")


@dataclass(frozen=True)
class Place:
    """The folder of this process's cgroup in a hierarchy, and the topmost visible folder.

    `controllers` are those of `memory` and `pids` that the hierarchy can have. In version 2 these
    are both, but they may be disabled.
    """

    version: int
    controllers: Tuple[str, ...]
    folder: str
    top: str


def find_places(cgroup: str, mountinfo: str) -> List[Place]:
    """The places of this process, from the texts of /proc/self/cgroup and mountinfo."""
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
        # With "..", the cgroup is outside the part that the mount or the cgroup namespace shows.
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
    """The memory limit of this process in bytes: of the machine, or of its cgroups if lower."""
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
    """The folder of the cgroup below which this process can create another; None if none."""
    if place.version == 1:
        return place.folder
    # In version 2, a cgroup with processes cannot have children with controllers. So the new cgroup
    # must be below an ancestor: the nearest ancestor that enables the controllers for its children.
    best: Tuple[int, Optional[str]] = (0, None)
    for folder in _upwards(place):
        handed_down = read_file(posixpath.join(folder, "cgroup.subtree_control")).split()
        count = sum(name in handed_down for name in place.controllers)
        if count > best[0]:
            best = count, folder
        limits = [read_file(posixpath.join(folder, name)) for name in _INHERITED]
        if any(text and text.split()[0] != "max" for text in limits):
            break  # below a higher ancestor, the step would escape this limit
    return best[1]


def read_file(path: str, folder: Optional[int] = None) -> str:
    """The text of a small file, or "" if it cannot be read; `path` is relative to `folder`."""
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
    """The number in a limit file; None for `max` and for unreadable files."""
    text = text.strip()
    return int(text) if text.isdigit() else None
