"""Collects files of an application, relative to its folder."""

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
from slipway.core.rules.registration import Rules
from slipway.core.symlinks import BadLink, bad_links


@dataclass(frozen=True)
class AppFilesRequest:
    """`globs` are relative to the build root; `folder` is the application's folder."""

    folder: str
    globs: Tuple[str, ...]
    excluded: Tuple[str, ...] = ()


@dataclass(frozen=True)
class AppFiles:
    """Files of an application; `executables` lists the executable ones.

    The modes in a sandbox are not reliable: Pants links large files from its store, where all files
    have the same mode.
    """

    digest: Digest
    files: Tuple[str, ...]
    executables: Tuple[str, ...]


@dataclass(frozen=True)
class OddNamesRequest:
    """`folders` are relative to the build root."""

    folders: Tuple[str, ...]


@dataclass(frozen=True)
class OddNames:
    """Names that are not UTF-8, in the form of Python bytes literals."""

    names: Tuple[str, ...]


@dataclass(frozen=True)
class BadLinks:
    """The symlinks of an application's files that Pants cannot read."""

    links: Tuple[BadLink, ...]


# Pants silently ignores files whose names are not UTF-8, and its file watcher does not report them. So this
# rule is uncacheable and looks each time.
@_uncacheable_rule
async def find_odd_names(request: OddNamesRequest) -> OddNames:
    odd: List[str] = []
    for folder in request.folders:
        try:
            names = os.listdir(os.fsencode(os.path.join(get_buildroot(), folder)))
        except OSError:
            continue  # the folder was just removed; Pants notices that and runs the rule again
        for name in sorted(names):
            try:
                name.decode("utf-8")
            except UnicodeDecodeError:
                odd.append(f"{folder}/{name!r}")
    return OddNames(tuple(odd))


# Before Pants looks: it crashes at some of these symlinks, and leaves a dead one out silently.
@_uncacheable_rule
async def find_bad_links(request: AppFilesRequest) -> BadLinks:
    excluded = [glob[1:] for glob in request.globs if glob.startswith("!")]
    for path in request.excluded:
        excluded.extend(os.path.join(request.folder, path) + rest for rest in ("", "/**"))
    included = [glob for glob in request.globs if not glob.startswith("!")]
    return BadLinks(tuple(bad_links(get_buildroot(), request.folder, included, excluded)))


@rule
async def gather_app_files(request: AppFilesRequest) -> AppFiles:
    bad = await Get(BadLinks, AppFilesRequest, request)
    if bad.links:
        example = os.path.relpath(bad.links[0].path, request.folder or ".")
        raise SlipwayErrors(
            f'"{request.folder}" contains symlinks that Pants cannot read',
            [str(link) for link in bad.links],
            where=request.folder,
            next="remove the symlinks, give them relative targets in the workspace, or exclude them, "
            f'such as with "!{example}" in the field that lists the files',
        )
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
            f'"{request.folder}" contains files whose names are not UTF-8',
            odd.names,
            next="rename the files; Pants ignores them, so the release would not contain them",
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


def rules() -> Rules:
    return collect_rules()
