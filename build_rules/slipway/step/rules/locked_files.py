"""Files that a lock names, fetched only if a step needs them and has no cached result.

Their digest is computed from the hashes and sizes in the lock. So Slipway knows the cache key of a
step, and finds a cached result, without any download.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import List, Optional, Tuple

from pants.engine.fs import EMPTY_DIGEST, CreateDigest, Digest, DigestEntries, FileDigest, FileEntry
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.rules.registration import Rules
from slipway.step.programs import locked_files
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LockedFile:
    """A file of a lock: its path in the step, its hash, and its size in bytes; 0 if it is unknown.

    `source` has the further keys of its request, such as kind, name and version. See the program
    `locked_files`.
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
    """The locked files of a step; `project` is the folder whose `.npmrc` is used, if any.

    Two files may have the same path, if several sources provide the same content.
    """

    files: Tuple[LockedFile, ...] = ()
    project: Optional[str] = None


@dataclass(frozen=True)
class LockedFilesDigest:
    """The digest of locked files, whose contents may not be in the store."""

    digest: Digest


@dataclass(frozen=True)
class FetchRequest:
    files: LockedFiles


@dataclass(frozen=True)
class FetchedFiles:
    """The digest of locked files that are in the store."""

    digest: Digest


@dataclass(frozen=True)
class SizesRequest:
    """Requests the same files with their sizes."""

    files: LockedFiles


@dataclass(frozen=True)
class SizedFiles:
    files: LockedFiles


@rule
async def digest_of_locked_files(locked: LockedFiles) -> LockedFilesDigest:
    entries = [FileEntry(file.path, FileDigest(file.sha256, file.size)) for file in locked.files]
    # dict.fromkeys() removes duplicates, because Pants 2.17 hangs on a digest with a path twice.
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


@rule
async def find_sizes(request: SizesRequest) -> SizedFiles:
    files = request.files
    unknown = tuple(file for file in files.files if not file.size)
    if not unknown:
        return SizedFiles(files)
    # A digest needs a size, so that Slipway has to fetch such a file to learn the key of its step.
    fetched = await Get(FetchedFiles, FetchRequest(LockedFiles(unknown, files.project)))
    entries = await Get(DigestEntries, Digest, fetched.digest)
    sizes = {
        entry.path: entry.file_digest.serialized_bytes_length
        for entry in entries
        if isinstance(entry, FileEntry)
    }
    for file in unknown:
        logger.info(f"{file.source.get('url', file.path)} has {sizes[file.path]} bytes")
    sized = tuple(
        file if file.size else replace(file, size=sizes[file.path]) for file in files.files
    )
    return SizedFiles(replace(files, files=sized))


def _describe(files: Tuple[LockedFile, ...]) -> str:
    size = sum(file.size for file in files) / 1e6
    names: List[str] = [file.source.get("name", os.path.basename(file.path)) for file in files]
    if len(names) <= 3:
        return f"{', '.join(names)} ({size:.1f} MB)"
    noun = {"npm": "npm tarballs", "debian": "Debian packages"}
    return f"{len(names)} {noun.get(files[0].source['kind'], 'files')} ({size:.1f} MB)"


def rules() -> Rules:
    return collect_rules()
