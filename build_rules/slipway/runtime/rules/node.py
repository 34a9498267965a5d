"""The type of Node runtimes, from binaries or from source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Dict

from pants.engine.fs import Digest
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.util.frozendict import FrozenDict

from slipway.runtime.definition import PinnedArchive
from slipway.step.rules.build_step import Tree
from slipway.step.rules.locked_files import LockedFile


@dataclass(frozen=True)
class Runtime:
    """A Node runtime; `tree` is its tree for steps. Without an npm, `npm_version` is empty.

    After a source build, `tests` is the result of its tests, and `log` has `build.log`.
    """

    version: str
    npm_version: str
    definition_sha256: str
    tree: Tree
    tests: str = ""
    log: Digest = EMPTY_DIGEST


def locked(archive: PinnedArchive, path: str) -> LockedFile:
    source: Dict[str, str] = {"kind": "url", "url": archive.url or ""}
    if archive.package:
        source = {
            "kind": "npm",
            "name": archive.package,
            "version": archive.version,
            "integrity": archive.integrity or "",
        }
    return LockedFile(path, archive.sha256, archive.size, FrozenDict(source))


def digest_of(*hashes: str) -> str:
    """A hash of the archives of a runtime, independent of the rest of its definition."""
    return hashlib.sha256("".join(f"{line}\n" for line in hashes).encode()).hexdigest()
