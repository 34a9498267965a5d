"""The type of Node runtimes, from binaries or from source."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Dict, Optional
from urllib.parse import quote

from pants.base.build_environment import get_buildroot
from pants.engine.fs import Digest
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.util.frozendict import FrozenDict

from slipway.runtime.definitions.definition import NodeDefinition, PinnedArchive
from slipway.runtime.label import NODE_BIN, label_of
from slipway.step.rules.build_step import Tree
from slipway.step.rules.locked_files import LockedFile


@dataclass(frozen=True)
class Runtime:
    """A runtime; `tree` is its tree for steps, and `bin` its program. Without an npm, `npm_version` is empty.

    With `is_node`, scripts may call it as `node`. `build` is the Node that installs packages and runs build scripts in place of a runtime without npm.
    `end_of_life` and `built_by` are those of its definition, and empty if it does not say them.
    After a source build, `tests` is the result of its tests, and `log` has `build.log`.
    """

    version: str
    npm_version: str
    definition_sha256: str
    tree: Tree
    bin: str = NODE_BIN
    is_node: bool = True
    has_headers: bool = True
    build: Optional[Runtime] = None
    tests: str = ""
    log: Digest = EMPTY_DIGEST
    end_of_life: str = ""
    built_by: str = ""

    @property
    def builder(self) -> Runtime:
        """The Node that installs packages and runs build scripts."""
        return self.build or self

    @property
    def label(self) -> str:
        """Its name in messages."""
        return label_of(self.bin, self.version)


def locked(archive: PinnedArchive, path: str, definition: NodeDefinition) -> LockedFile:
    """The archive of a definition as the file `path` of a step."""
    place = archive.place
    source: Dict[str, str] = {"kind": "url", "url": archive.url}
    if place == "package":
        source = {
            "kind": "npm",
            "name": archive.package,
            "version": archive.version,
            "integrity": archive.integrity,
        }
    elif place == "wheel":
        source = {"kind": "wheel", "name": archive.wheel, "version": archive.version}
    elif place == "file":
        # Relative paths are below the build root; a folder outside of it has an absolute path.
        folder = os.path.join(get_buildroot(), os.path.dirname(definition.path))
        source["url"] = f"file://{quote(os.path.join(folder, archive.file))}"
    return LockedFile(path, archive.sha256, archive.size, FrozenDict(source))


def digest_of(*hashes: str) -> str:
    """A hash of the archives of a runtime, independent of the rest of its definition."""
    return hashlib.sha256("".join(f"{line}\n" for line in hashes).encode()).hexdigest()
