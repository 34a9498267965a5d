"""Symlinks that Pants cannot read, in the words of a message.

Pants follows the symlinks that a glob reaches. It stops with a message of the engine, or crashes, at
absolute targets, targets outside the workspace and loops, and it silently leaves out a dead link.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from typing import FrozenSet, Iterator, List, Optional, Sequence

from slipway.core.errors import SlipwayError

_ENGINE_TEXTS = (
    (re.compile(r'Failed to read link "([^"]+)": Absolute symlink'), "the target is absolute"),
    (
        re.compile(r'While expanding link "([^"]+)": Globs may not traverse outside'),
        "the target is outside the workspace",
    ),
    (
        re.compile(r'Maximum link depth exceeded at Link \{ path: "([^"]+)"'),
        "the symlink leads to itself",
    ),
)


@dataclass(frozen=True)
class BadLink:
    """A symlink at `path`, relative to the build root, and why Pants cannot read it."""

    path: str
    target: str
    reason: str

    def __str__(self) -> str:
        return f'"{self.path}" -> "{self.target}": {self.reason}'


def bad_links(
    build_root: str, folder: str, globs: Sequence[str], excluded: Sequence[str]
) -> Iterator[BadLink]:
    """The symlinks below `folder` that `globs` reach and Pants cannot read.

    `folder` and all globs are relative to the build root; `excluded` have no "!".
    """
    yield from _Search(build_root, globs, excluded).look(folder, frozenset())


class _Search:
    def __init__(self, build_root: str, globs: Sequence[str], excluded: Sequence[str]) -> None:
        self._root, self._real_root = build_root, os.path.realpath(build_root)
        self._globs = [glob.split("/") for glob in globs]
        self._excluded = [glob.split("/") for glob in excluded]

    def look(self, folder: str, above: FrozenSet[str]) -> Iterator[BadLink]:
        place = os.path.join(self._root, folder)
        above = above | {os.path.realpath(place)}
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            return  # the folder does not exist, which other messages report
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if not self._is_reached(path):
                continue
            if entry.is_symlink():
                target = os.readlink(entry.path)
                reason = self._reason(entry.path, target, above)
                if reason:
                    yield BadLink(path, target, reason)
                    continue
            if entry.is_dir():
                yield from self.look(path, above)

    def _is_reached(self, path: str) -> bool:
        parts = path.split("/")
        # An editor marks an open file with a dead link such as ".#app.js".
        if parts[-1].startswith(".#") or "node_modules" in parts:
            return False
        return any(_leads(parts, glob) for glob in self._globs) and not any(
            _matches(parts, glob) for glob in self._excluded
        )

    def _reason(self, place: str, target: str, above: FrozenSet[str]) -> str:
        if os.path.isabs(target):
            return "the target is absolute"
        real = os.path.realpath(place)
        try:
            os.stat(place)
        except FileNotFoundError:
            outside = not f"{real}/".startswith(f"{self._real_root}/")
            return "the target is outside the workspace" if outside else "the target does not exist"
        except OSError:
            return "the symlink leads to itself"
        if real in above:
            return "the symlink leads to a folder that contains it"
        if not f"{real}/".startswith(f"{self._real_root}/"):
            return "the target is outside the workspace"
        return ""


def _leads(path: List[str], glob: List[str]) -> bool:
    """Whether `path` matches the glob or is a folder above what may match."""
    for part, pattern in zip(path, glob):
        if pattern == "**":
            return True
        if not fnmatch.fnmatchcase(part, pattern):
            return False
    return len(path) <= len(glob)


def _matches(path: List[str], glob: List[str]) -> bool:
    """Whether the glob matches the whole `path`, or a folder above it with "/**"."""
    if not glob:
        return not path
    if glob[0] == "**":
        return any(_matches(path[skip:], glob[1:]) for skip in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], glob[0]) and _matches(path[1:], glob[1:])


def explained(text: str, build_root: str) -> Optional[SlipwayError]:
    """The error for a message of Pants' engine about a symlink; None for any other message."""
    for pattern, reason in _ENGINE_TEXTS:
        match = pattern.search(text)
        if match:
            place = os.path.join(build_root, match.group(1))
            path = os.path.relpath(place, build_root)
            target = os.readlink(place) if os.path.islink(place) else ""
            return SlipwayError(
                "Pants cannot read a symlink of the workspace",
                where=path,
                found=str(BadLink(path, target, reason)),
                next="remove the symlink, give it a relative target in the workspace, or hide it from "
                f'Pants; in pants.toml:\n[GLOBAL]\npants_ignore.add = ["/{path}"]',
            )
    return None
