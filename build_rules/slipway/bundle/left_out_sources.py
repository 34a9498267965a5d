"""Finds the files that a failed script may have missed, by the paths in its output."""

from __future__ import annotations

import posixpath
import re
from typing import FrozenSet, Iterable, List, Set, Tuple

_APP = "/build/app"
_PATH = re.compile(r"""[^\s"'`()<>|,;*?\[\]{}]+""")
# What follows a path: the position of an error, a full stop.
_AFTER = re.compile(r"(?:[:(]\d+)*[:.]*$")
_ENDINGS = (
    "",
    ".js",
    ".ts",
    ".tsx",
    ".jsx",
    ".mjs",
    ".cjs",
    ".json",
    ".vue",
    ".css",
    ".scss",
    ".less",
)
_INDEXES = ("/index.js", "/index.ts", "/index.tsx")
_MOST_PATHS, _MOST_FOLDERS = 100, 20


def mentioned(output: str, member: str = "") -> FrozenSet[str]:
    """The files that the output may speak of, relative to the folder of the lockfile.

    A relative path counts from the application's folder, which is `member` in npm workspaces, and from
    each folder in the output.
    """
    absolute, relative = _paths(output)
    folders = [member]
    for path in absolute[:_MOST_FOLDERS]:
        folders.extend((path, posixpath.dirname(path)))
    found: Set[str] = set(absolute)
    for path in relative[:_MOST_PATHS]:
        found.update(posixpath.normpath(posixpath.join(one, path)) for one in set(folders))
    return frozenset(
        f"{path}{ending}"
        for path in found
        if path not in ("", ".")
        and not path.startswith(("..", "/"))
        and "node_modules" not in path.split("/")
        for ending in (*_ENDINGS, *_INDEXES)
    )


def _paths(output: str) -> Tuple[List[str], List[str]]:
    """The paths in the output: below the application's folder, and relative ones."""
    absolute, relative = [], []
    for word in dict.fromkeys(_AFTER.sub("", one) for one in _PATH.findall(output)):
        if word.startswith(f"{_APP}/"):
            absolute.append(posixpath.normpath(word[len(_APP) + 1 :]))
        elif not word.startswith(("/", "-", "@")) and ("/" in word or "." in word):
            relative.append(word)
    return absolute[:_MOST_PATHS], relative


def patterns(files: Iterable[str]) -> List[str]:
    """Globs for the field that leaves the files out: their top folders, or the files themselves."""
    return sorted(
        {
            f"{one.split('/')[0]}/**" if "/" in one and not one.startswith("//") else one
            for one in files
        }
    )
