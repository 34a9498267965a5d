"""Packages whose binaries for the system of a release are missing from the lockfile.

A package with binaries lists one optional dependency per system. npm before 11 drops the entries for
other systems from a lockfile that it updates beside an existing node_modules (npm/cli#4828). On the
system of a release, such a package fails at run time, with an error that does not name the lockfile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, FrozenSet, List, Mapping, Optional, Tuple

from slipway.core.json_text import load_object
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import platform
from slipway.npm.lockfiles.lock import NpmLock, rewrite_lock
from slipway.npm.lockfiles.package import Package
from slipway.npm.lockfiles.v3 import find_from

# The last word is the CPU in names such as esbuild-linux-64 and turbo-linux-64.
_CPU_WORDS = frozenset(("x64", "amd64", "x86_64", "64"))
_MOST_NAMED = 10


@dataclass(frozen=True)
class Gap:
    """The optional dependencies `missing` of a package, all for the system of a release."""

    package: Package
    present: Tuple[str, ...]
    missing: Tuple[str, ...]


def warning(lock: NpmLock) -> Optional[str]:
    """A text about the gaps of a lockfile, with the way to close them; None if there are none.

    Version 1 lockfiles do not list optional dependencies.
    """
    gaps = find(lock)
    if not gaps:
        return None
    lines = [
        f"{gap.package.name}@{gap.package.version}: has {', '.join(gap.present[:3])}, "
        f"lacks {', '.join(gap.missing)}"
        for gap in gaps[:_MOST_NAMED]
    ]
    if len(gaps) > _MOST_NAMED:
        lines.append(f"… and {len(gaps) - _MOST_NAMED} more")
    entries = ", ".join(f'"{gap.package.path}"' for gap in gaps[:_MOST_NAMED])
    head = f"{lock.path} has binaries of these packages for other systems, but not for"
    return "\n".join(
        [
            f"{head} {platform.OS}-{platform.CPU}:",
            *lines,
            f"to add them with npm 11 or later: {rewrite_lock(lock.path)}",
            f"with an earlier npm, first remove from {lock.path}: {entries}",
        ]
    )


def find(lock: NpmLock) -> List[Gap]:
    """The packages that have binaries for other systems only, sorted by path."""
    if lock.version == 1:
        return []
    table = load_object(lock.text, lock.path, next="")["packages"]
    places = {package.path: package for package in lock.packages}
    gaps = []
    for path in sorted(places):
        package = places[path]
        if package.in_node_modules and not package.extraneous and platform.fits(package):
            gap = _gap(
                package, npm_package.text_map(table[path].get("optionalDependencies")), places
            )
            if gap:
                gaps.append(gap)
    return gaps


def _gap(
    package: Package, optional: Mapping[str, Any], places: Mapping[str, Package]
) -> Optional[Gap]:
    found = {name: find_from(package.path, name, places) for name in optional}
    binaries = [
        places[place]
        for place in found.values()
        if place and (places[place].os or places[place].cpu or places[place].libc)
    ]
    missing = [name for name, place in found.items() if not place]
    here = [name for name in missing if _is_for_this_system(name)]
    wanted = tuple(name for name in here if "musl" not in _words(name))
    if not binaries or not wanted or any(_fits(binary) for binary in binaries):
        return None
    if len({binary.os for binary in binaries}) > 1 and len(here) == len(missing):
        # All other systems are there, so npm dropped nothing: the registry has no such package.
        return None
    present = tuple(sorted(binary.name for binary in binaries))
    return Gap(package, present, tuple(sorted(wanted)))


def _fits(package: Package) -> bool:
    # npm before 9 does not record libc.
    return platform.fits(package) and "musl" not in _words(package.name)


def _is_for_this_system(name: str) -> bool:
    """Whether a package has binaries for the OS and CPU of a release, by its name alone."""
    words = _words(name)
    return platform.OS in words and bool(words & _CPU_WORDS)


def _words(name: str) -> FrozenSet[str]:
    return frozenset(re.split(r"[^a-z0-9_]+", name.lower()))
