"""The files of an application, by what they are for, relative to its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.fs import (
    Digest,
    DigestEntries,
    FileEntry,
    PathGlobs,
    RemovePrefix,
    Snapshot,
    SymlinkEntry,
)
from pants.engine.rules import Get, _uncacheable_rule, collect_rules, rule

from slipway.core.errors import SlipwayErrors


@dataclass(frozen=True)
class AppFilesRequest:
    """`globs` are relative to the build root, `folder` is the application's."""

    folder: str
    globs: Tuple[str, ...]
    excluded: Tuple[str, ...] = ()


@dataclass(frozen=True)
class AppFiles:
    """`executables` are those of `files` that are: in a step's folder, large files all seem to be
    where Pants could link them from its store, and none of them elsewhere."""

    digest: Digest
    files: Tuple[str, ...]
    executables: Tuple[str, ...]


@dataclass(frozen=True)
class OddNamesRequest:
    """Folders, relative to the build root."""

    folders: Tuple[str, ...]


@dataclass(frozen=True)
class OddNames:
    """Names in those folders that are not UTF-8, as Python writes bytes."""

    names: Tuple[str, ...]


# Pants leaves such files out without a word and without noticing that they came: so look each time.
@_uncacheable_rule
async def find_odd_names(request: OddNamesRequest) -> OddNames:
    odd: List[str] = []
    for folder in request.folders:
        try:
            names = os.listdir(os.fsencode(os.path.join(get_buildroot(), folder)))
        except OSError:
            continue  # removed a moment ago; Pants sees that by itself
        for name in sorted(names):
            try:
                name.decode("utf-8")
            except UnicodeDecodeError:
                odd.append(f"{folder}/{name!r}")
    return OddNames(tuple(odd))


@rule
async def gather_app_files(request: AppFilesRequest) -> AppFiles:
    excluded = [
        f"!{os.path.join(request.folder, path)}{rest}"
        for path in ("node_modules", *request.excluded)
        for rest in ("", "/**")
    ]
    snapshot = await Get(Snapshot, PathGlobs([*request.globs, *excluded]))
    folders = {request.folder, *snapshot.dirs, *(os.path.dirname(path) for path in snapshot.files)}
    inside = sorted(one for one in folders if (one + "/").startswith(request.folder + "/"))
    odd = await Get(OddNames, OddNamesRequest(tuple(inside)))
    if odd.names:
        raise SlipwayErrors(
            f'"{request.folder}" holds files whose names are not UTF-8',
            odd.names,
            next="rename them; they would be missing from the release",
        )
    digest = await Get(Digest, RemovePrefix(snapshot.digest, request.folder))
    files = [
        entry
        for entry in await Get(DigestEntries, Digest, digest)
        if isinstance(entry, (FileEntry, SymlinkEntry))
    ]
    return AppFiles(
        digest,
        tuple(entry.path for entry in files),
        tuple(one.path for one in files if isinstance(one, FileEntry) and one.is_executable),
    )


def rules():
    return collect_rules()
