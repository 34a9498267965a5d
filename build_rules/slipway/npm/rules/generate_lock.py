"""`generate-lockfiles` for npm: writes the fetch lock beside each application's npm lockfile."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Dict

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
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.unions import UnionRule

from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles.fetch_lock import FILE_NAME
from slipway.npm.programs import generate_lock
from slipway.npm.rules.locks import (
    LockUsers,
    LockUsersRequest,
    NpmLockRequest,
    ReadNpmLock,
    folders_of_resolves,
    resolve_name,
)
from slipway.npm.targets import NpmLockField, PackageJsonField
from slipway.step.rules import outputs
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult

logger = logging.getLogger(__name__)
_LOCK, _OLD = "package-lock.json", "old.lock"


class KnownNpmResolvesRequest(KnownUserResolveNamesRequest):
    pass


class RequestedNpmResolves(RequestedUserResolveNames):
    pass


@dataclass(frozen=True)
class GenerateFetchLock(GenerateLockfile):
    """`lockfile_dest` is the path of the fetch lock; `request` names the npm lockfile."""

    request: NpmLockRequest


@dataclass(frozen=True)
class NpmResolvesRequest:
    """The resolves of these folders, or of the whole workspace if there are no `folders`."""

    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class NpmResolves:
    """The npm lockfiles by the names of their resolves, sorted."""

    by_name: tuple[tuple[str, NpmLockRequest], ...]


@rule
async def find_npm_resolves(request: NpmResolvesRequest) -> NpmResolves:
    users = await Get(LockUsers, LockUsersRequest(request.folders))
    targets = await Get(
        DeclaredTargets,
        DeclaredTargetsRequest((NpmLockField, PackageJsonField), around=users.folders),
    )
    found: Dict[str, NpmLockRequest] = {}
    for target in targets:
        path = target[NpmLockField].path or ""
        if not request.folders or os.path.dirname(path) in request.folders:
            found.setdefault(
                resolve_name(path),
                NpmLockRequest(path, target[PackageJsonField].file_path, str(target.address)),
            )
    return NpmResolves(tuple(sorted(found.items(), key=lambda item: item[0])))


@rule
async def known_npm_resolves(
    _: KnownNpmResolvesRequest, goal: GenerateLockfilesSubsystem
) -> KnownUserResolveNames:
    # Named resolves must not depend on the BUILD files of other applications. If a name is unknown, Pants
    # lists the known names, so they must be all.
    folders = folders_of_resolves(goal.resolve)
    resolves = await Get(NpmResolves, NpmResolvesRequest(folders))
    if len(resolves.by_name) < len(folders):
        resolves = await Get(NpmResolves, NpmResolvesRequest())
    return KnownUserResolveNames(
        names=tuple(name for name, _ in resolves.by_name),
        option_name="the lockfile fields of node_app_bundle targets",
        requested_resolve_names_cls=RequestedNpmResolves,
    )


@rule
async def requested_npm_resolves(requested: RequestedNpmResolves) -> UserGenerateLockfiles:
    resolves = await Get(NpmResolves, NpmResolvesRequest(folders_of_resolves(requested)))
    by_name = dict(resolves.by_name)
    return UserGenerateLockfiles(
        GenerateFetchLock(
            resolve_name=name,
            lockfile_dest=os.path.join(os.path.dirname(by_name[name].path), FILE_NAME),
            diff=False,
            request=by_name[name],
        )
        for name in sorted(requested)
    )


@rule(desc="Write npm fetch lock")
async def generate_fetch_lock(wanted: GenerateFetchLock) -> GenerateLockfileResult:
    read = await Get(ReadNpmLock, NpmLockRequest, wanted.request)
    old = await Get(DigestContents, PathGlobs([wanted.lockfile_dest]))
    files = [FileContent(_LOCK, read.whole.text.encode())]
    files.extend(FileContent(_OLD, file.content) for file in old)
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            generate_lock.PROGRAM(
                generate_lock.Arguments(lock=_LOCK, path=read.lock.path, old=_OLD)
            ),
            inputs=await Get(Digest, CreateDigest(files)),
            description=f"Write {wanted.lockfile_dest}",
            project=read.lock.folder,
        ),
    )
    if result.stderr.strip():
        logger.warning(f"{result.stderr.strip()}")
    written = await outputs.read_content(result.digest, generate_lock.LOCK)
    assert written is not None
    digest = await Get(Digest, CreateDigest([FileContent(wanted.lockfile_dest, written)]))
    return GenerateLockfileResult(digest, wanted.resolve_name, wanted.lockfile_dest)


def rules() -> Rules:
    return [
        *collect_rules(),
        UnionRule(KnownUserResolveNamesRequest, KnownNpmResolvesRequest),
        UnionRule(RequestedUserResolveNames, RequestedNpmResolves),
        UnionRule(GenerateLockfile, GenerateFetchLock),
    ]
