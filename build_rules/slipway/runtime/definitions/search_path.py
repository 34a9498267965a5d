"""The folders in which Slipway looks for Node definitions, first to last."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Tuple

from slipway.core.errors import SlipwayError
from slipway.core.printable import printable

VARIABLE = "NODE_BUILD_DEFINITIONS"
OPTION = "[slipway] definition_paths"
WORKSPACE = "the workspace"
TOOLCHAIN = "a toolchain"
BUNDLED = "Slipway"
FOLDER = "toolchains/node"
OF_TOOLCHAINS = "toolchains/*/node"
"""The folders with which toolchains of the workspace contribute definitions, as a glob."""
SUFFIX = ".toml"
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,99}", re.ASCII)


def file_name(version: str, where: str) -> str:
    """The name of a version's definition; raises SlipwayError for a text that is not a version."""
    if not _VERSION.fullmatch(version):
        raise SlipwayError(
            f"{printable(repr(version))} is not a version of Node.js",
            where=where,
            next="give a version such as 22.23.3, or a range such as ^22",
        )
    return f"{version}{SUFFIX}"


@dataclass(frozen=True)
class Entry:
    """A folder of the path, and where its name comes from.

    `folder` is relative to the build root, absolute outside of it, and relative to Slipway's data for
    bundled definitions.
    """

    folder: str
    origin: str

    @property
    def is_bundled(self) -> bool:
        return self.origin == BUNDLED

    @property
    def is_outside(self) -> bool:
        return os.path.isabs(self.folder)

    @property
    def is_named(self) -> bool:
        """Whether the user has named the folder, so that it must exist."""
        return self.origin in (VARIABLE, OPTION)

    def shown(self, name: str) -> str:
        """The path of the file `name` in this folder, for messages."""
        path = os.path.join(self.folder, name)
        return f"slipway:{path}" if self.is_bundled else path


def entries(
    variable: str,
    option: Iterable[str],
    build_root: str,
    folder: str,
    of_toolchains: Iterable[str] = (),
) -> Tuple[Entry, ...]:
    """The search path of a `node_runtime` in `folder`; `variable` is the text of NODE_BUILD_DEFINITIONS.

    `of_toolchains` are the folders that match OF_TOOLCHAINS; they are searched in the order of their
    names. A folder that occurs twice counts where it is first. Raises SlipwayError for an entry with a NUL or
    a line break, which is not the name of a folder.
    """
    found: List[Entry] = []
    for origin, texts in (
        (VARIABLE, variable.split(":")),
        (OPTION, option),
    ):
        for text in texts:
            if not text:
                continue  # "a::b" and a colon at the end
            if not text.isprintable():
                raise SlipwayError(
                    "an entry of the search path for Node definitions is not the name of a folder",
                    where=origin,
                    found=repr(text),
                    next="correct this entry",
                )
            found.append(Entry(in_workspace(text, build_root), origin))
    found += [Entry(folder, WORKSPACE), Entry(FOLDER, WORKSPACE)]
    found += [Entry(one, TOOLCHAIN) for one in sorted(of_toolchains)]
    found.append(Entry("node", BUNDLED))
    first: Dict[Tuple[str, bool], Entry] = {}
    for entry in found:
        first.setdefault((entry.folder, entry.is_bundled), entry)
    return tuple(first.values())


def in_workspace(text: str, build_root: str) -> str:
    """The folder relative to the build root; absolute if it is outside."""
    path = os.path.normpath(os.path.join(build_root, os.path.expanduser(text)))
    if path == build_root:
        return ""
    return path[len(build_root) + 1 :] if path.startswith(f"{build_root}/") else path
