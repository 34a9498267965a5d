"""Locked versions of `node_runtime` targets with a range, and `generate-lockfiles` for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Tuple

from pants.core.goals.generate_lockfiles import (
    GenerateLockfile,
    GenerateLockfileResult,
    GenerateLockfilesSubsystem,
    KnownUserResolveNames,
    KnownUserResolveNamesRequest,
    RequestedUserResolveNames,
    UserGenerateLockfiles,
)
from pants.engine.fs import CreateDigest, Digest, DigestContents, FileContent, PathGlobs
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.unions import UnionRule

from slipway.core.errors import SlipwayError
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.runtime.definitions import version_lock
from slipway.runtime.definitions.search_path import SUFFIX
from slipway.runtime.definitions.version_lock import FILE_NAME
from slipway.runtime.rules.definitions import (
    FolderRequest,
    FoundFiles,
    SearchPath,
    SearchPathRequest,
)
from slipway.runtime.targets import NodeVersionField

_RESOLVE = "node:"


@dataclass(frozen=True)
class LockedVersionRequest:
    """Requests the version of the `node_runtime` `origin` in `folder`; `wanted` may be a range."""

    wanted: str
    folder: str
    origin: str


@dataclass(frozen=True)
class LockedVersion:
    version: str


@rule
async def find_locked_version(request: LockedVersionRequest) -> LockedVersion:
    wanted, path = request.wanted, os.path.join(request.folder, FILE_NAME)
    if not version_lock.is_range(wanted):
        return LockedVersion(wanted)
    command = _command(request.folder)
    versions: Dict[str, str] = {}
    for file in await Get(DigestContents, PathGlobs([path])):
        document = read_toml(file.content, path, "lock of Node versions", next=command)
        versions = version_lock.read(document, path, command)
    if wanted not in versions:
        raise SlipwayError(
            f'the range "{wanted}" has no locked version',
            where=f"{request.origin}, field version",
            found=f"no line for it in {path}" if versions else f"no {path}",
            next=command,
        )
    return LockedVersion(versions[wanted])


def _command(folder: str) -> str:
    return f"./pants generate-lockfiles --resolve={_RESOLVE}{folder}"


# --- generate-lockfiles.


class KnownNodeResolvesRequest(KnownUserResolveNamesRequest):
    pass


class RequestedNodeResolves(RequestedUserResolveNames):
    pass


@dataclass(frozen=True)
class GenerateVersionLock(GenerateLockfile):
    folder: str
    wanted: Tuple[str, ...]


@dataclass(frozen=True)
class NodeResolvesRequest:
    """Requests the ranges in these folders, or in the whole workspace if there are no `folders`."""

    folders: Tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeResolves:
    """The folders with ranges, and the ranges in each."""

    by_folder: Tuple[Tuple[str, Tuple[str, ...]], ...]


@rule
async def find_node_resolves(request: NodeResolvesRequest) -> NodeResolves:
    targets = await Get(
        DeclaredTargets, DeclaredTargetsRequest((NodeVersionField,), around=request.folders)
    )
    found: Dict[str, List[str]] = {}
    for target in targets:
        folder, wanted = target.address.spec_path, target[NodeVersionField].value or ""
        if version_lock.is_range(wanted) and (not request.folders or folder in request.folders):
            found.setdefault(folder, []).append(wanted)
    return NodeResolves(tuple((one, tuple(sorted(set(found[one])))) for one in sorted(found)))


@rule
async def known_node_resolves(
    _: KnownNodeResolvesRequest, goal: GenerateLockfilesSubsystem
) -> KnownUserResolveNames:
    # A named lock of an application must not depend on other BUILD files; see npm/rules/generate_lock.
    folders = _folders(goal.resolve)
    others = bool(goal.resolve) and not folders
    resolves = NodeResolves(())
    if not others:
        resolves = await Get(NodeResolves, NodeResolvesRequest(folders))
    return KnownUserResolveNames(
        names=tuple(f"{_RESOLVE}{folder}" for folder, _ in resolves.by_folder),
        option_name="the ranges of node_runtime targets",
        requested_resolve_names_cls=RequestedNodeResolves,
    )


def _folders(names: object) -> Tuple[str, ...]:
    listed = names if isinstance(names, (list, tuple)) else ()
    return tuple(sorted(one[len(_RESOLVE) :] for one in listed if one.startswith(_RESOLVE)))


@rule
async def requested_node_resolves(requested: RequestedNodeResolves) -> UserGenerateLockfiles:
    resolves = await Get(NodeResolves, NodeResolvesRequest(_folders(tuple(requested))))
    return UserGenerateLockfiles(
        GenerateVersionLock(
            resolve_name=f"{_RESOLVE}{folder}",
            lockfile_dest=os.path.join(folder, FILE_NAME),
            diff=False,
            folder=folder,
            wanted=wanted,
        )
        for folder, wanted in resolves.by_folder
        if f"{_RESOLVE}{folder}" in requested
    )


@rule(desc="Lock Node versions")
async def generate_version_lock(request: GenerateVersionLock) -> GenerateLockfileResult:
    path = await Get(SearchPath, SearchPathRequest(request.folder))
    listed = await MultiGet(Get(FoundFiles, FolderRequest(entry)) for entry in path.entries)
    known = {file.name[: -len(SUFFIX)] for folder in listed for file in folder.files}
    versions = {
        wanted: version_lock.choose(wanted, known, f"{request.folder}/BUILD, field version")
        for wanted in request.wanted
    }
    text = version_lock.render(versions, _command(request.folder))
    file = FileContent(request.lockfile_dest, text.encode())
    digest = await Get(Digest, CreateDigest([file]))
    return GenerateLockfileResult(digest, request.resolve_name, request.lockfile_dest)


def rules() -> Rules:
    return [
        *collect_rules(),
        UnionRule(KnownUserResolveNamesRequest, KnownNodeResolvesRequest),
        UnionRule(RequestedUserResolveNames, RequestedNodeResolves),
        UnionRule(GenerateLockfile, GenerateVersionLock),
    ]
