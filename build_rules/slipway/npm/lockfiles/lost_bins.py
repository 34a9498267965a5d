"""Packages whose commands npm does not link, because the lockfile lost their `bin`.

Some versions of npm drop `bin` from entries of a lockfile that they update (npm/cli#1957), and no version
adds it again. `npm ci` reads only the lockfile, so a script fails with "not found".
"""

from __future__ import annotations

import json
from typing import List, Mapping, Optional

from slipway.core.printable import one_line
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles.lock import NpmLock, rewrite_lock

_MOST_NAMED = 10
_FIRST_FROM_LOCK = 7  # npm 6 reads `bin` from the installed package.json


def warning(
    lock: NpmLock, unlinked: Mapping[str, Mapping[str, str]], npm_major: int
) -> Optional[str]:
    """A text about the commands that npm did not link; None if the lockfile has the `bin` of each.

    `unlinked` has the files of these commands by name, keyed by the path of the package.
    """
    if npm_major < _FIRST_FROM_LOCK:
        return None
    lines: List[str] = []
    for package in lock.packages:
        commands = unlinked.get(package.path)
        if commands and not package.bin and package.kind != npm_package.LINK:
            field = json.dumps({"bin": dict(sorted(commands.items()))})[1:-1]
            lines.append(one_line(f'{package.name}@{package.version}, "{package.path}": {field}'))
    if not lines:
        return None
    if len(lines) > _MOST_NAMED:
        lines[_MOST_NAMED:] = [f"… and {len(lines) - _MOST_NAMED} more"]
    head = f'{lock.path} lost "bin" of these packages, so npm did not link their commands:'
    ways_out = [
        f"add these fields to the entries in {lock.path}; or remove the entries, and run:",
        rewrite_lock(lock.path),
    ]
    return "\n".join([head, *lines, *ways_out])
