"""Files from outside, named by a lock and fetched only when a step that misses needs them.

The digest is computed from the lock's SHA-256 and sizes, so a step's key is known, and a cached
result is found, without a single download.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Optional, Tuple

from pants.engine.fs import EMPTY_DIGEST, CreateDigest, Digest, FileDigest, FileEntry
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.step.programs import locked_files
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult


@dataclass(frozen=True)
class LockedFile:
    """One file of a lock: where it goes, what it must be, and how the program of this name asks for it.

    `size` is in bytes; `source` holds the request's own keys, such as kind, name and version.
    """

    path: str
    sha256: str
    size: int
    source: FrozenDict[str, str]

    def request(self) -> locked_files.Request:
        return locked_files.Request(
            path=self.path, sha256=self.sha256, size=self.size, **self.source
        )


@dataclass(frozen=True)
class LockedFiles:
    """Files that one step takes; `project` is the folder whose `.npmrc` counts, if any.

    Two of them may have one path, where several sources name the same content.
    """

    files: Tuple[LockedFile, ...] = ()
    project: Optional[str] = None


@dataclass(frozen=True)
class LockedFilesDigest:
    """The files' digest; their contents may be nowhere yet."""

    digest: Digest


@dataclass(frozen=True)
class FetchRequest:
    files: LockedFiles


@dataclass(frozen=True)
class FetchedFiles:
    """The files are in the store now."""

    digest: Digest


@rule
async def digest_of_locked_files(locked: LockedFiles) -> LockedFilesDigest:
    entries = [FileEntry(file.path, FileDigest(file.sha256, file.size)) for file in locked.files]
    # A path that is there twice would stall Pants.
    return LockedFilesDigest(await Get(Digest, CreateDigest(dict.fromkeys(entries))))


@rule(desc="Fetch locked files")
async def fetch_locked_files(request: FetchRequest) -> FetchedFiles:
    files = request.files.files
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            locked_files.PROGRAM(locked_files.Arguments(tuple(file.request() for file in files))),
            inputs=EMPTY_DIGEST,
            description=f"Fetch {_describe(files)}",
            project=request.files.project,
        ),
    )
    return FetchedFiles(result.digest)


def _describe(files: Tuple[LockedFile, ...]) -> str:
    size = sum(file.size for file in files) / 1e6
    names: List[str] = [file.source.get("name", os.path.basename(file.path)) for file in files]
    if len(names) <= 3:
        return f"{', '.join(names)} ({size:.1f} MB)"
    noun = {"npm": "npm tarballs", "debian": "Debian packages"}
    return f"{len(names)} {noun.get(files[0].source['kind'], 'files')} ({size:.1f} MB)"


def rules():
    return collect_rules()
