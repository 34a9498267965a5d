"""`generate-lockfiles` for toolchain images: resolves the wanted packages into the lock.

Only by name: a bare `generate-lockfiles` renews locks of applications, never the machine that they
are built in.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from pants.engine.target import AllTargets
from pants.engine.unions import UnionRule

from build_rules.target_types import ImageField, PackagesLockField
from build_rules.toolchain.network_step import NetworkStep, NetworkStepResult


class KnownToolchainResolvesRequest(KnownUserResolveNamesRequest):
    pass


class RequestedToolchainResolves(RequestedUserResolveNames):
    pass


@dataclass(frozen=True)
class GeneratePackagesLock(GenerateLockfile):
    image: str


@dataclass(frozen=True)
class ToolchainResolves:
    """Every image of the workspace: resolve name, image file, lock."""

    images: tuple[tuple[str, str, str], ...]


def resolve_name(target_name: str) -> str:
    return f"toolchain:{target_name}"


@rule
async def find_toolchain_resolves(targets: AllTargets) -> ToolchainResolves:
    return ToolchainResolves(
        tuple(
            (
                resolve_name(target.address.target_name),
                target[ImageField].file_path,
                target[PackagesLockField].path or "",
            )
            for target in targets
            if target.has_fields([ImageField, PackagesLockField])
        )
    )


@rule
async def known_toolchain_resolves(
    _: KnownToolchainResolvesRequest, resolves: ToolchainResolves
) -> KnownUserResolveNames:
    return KnownUserResolveNames(
        names=tuple(name for name, _, _ in resolves.images),
        option_name="node_toolchain targets",
        requested_resolve_names_cls=RequestedToolchainResolves,
    )


@rule
async def requested_toolchain_resolves(
    requested: RequestedToolchainResolves,
    resolves: ToolchainResolves,
    goal: GenerateLockfilesSubsystem,
) -> UserGenerateLockfiles:
    named = set(requested) & set(goal.resolve)
    return UserGenerateLockfiles(
        GeneratePackagesLock(resolve_name=name, lockfile_dest=lock, diff=False, image=image)
        for name, image, lock in resolves.images
        if name in named
    )


@rule(desc="Resolve toolchain packages")
async def generate_packages_lock(wanted: GeneratePackagesLock) -> GenerateLockfileResult:
    spec = await Get(DigestContents, PathGlobs([wanted.image]))
    files = [FileContent("image.json", file.content) for file in spec]
    result = await Get(
        NetworkStepResult,
        NetworkStep(
            program="resolve_packages",
            argv=("--spec=image.json", f"--spec-path={wanted.image}", "--out=new.lock"),
            inputs=await Get(Digest, CreateDigest(files)),
            description=f"Resolve the packages of {wanted.image}",
            output_files=("new.lock",),
        ),
    )
    written = await Get(DigestContents, Digest, result.digest)
    digest = await Get(
        Digest, CreateDigest([FileContent(wanted.lockfile_dest, written[0].content)])
    )
    return GenerateLockfileResult(digest, wanted.resolve_name, wanted.lockfile_dest)


def rules():
    return [
        *collect_rules(),
        UnionRule(KnownUserResolveNamesRequest, KnownToolchainResolvesRequest),
        UnionRule(RequestedUserResolveNames, RequestedToolchainResolves),
        UnionRule(GenerateLockfile, GeneratePackagesLock),
    ]
