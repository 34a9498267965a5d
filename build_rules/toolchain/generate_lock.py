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
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.target import AllTargets
from pants.engine.unions import UnionRule

from build_rules.toolchain.image import ImageBelow, ImageBelowRequest, ToolchainFieldSet
from build_rules.toolchain.network_step import NetworkStep, NetworkStepResult

_NEW = "new.lock"


class KnownToolchainResolvesRequest(KnownUserResolveNamesRequest):
    pass


class RequestedToolchainResolves(RequestedUserResolveNames):
    pass


@dataclass(frozen=True)
class GenerateToolchainLock(GenerateLockfile):
    image: ToolchainFieldSet


@dataclass(frozen=True)
class ToolchainResolves:
    """Every image of the workspace, with the name of its resolve."""

    images: tuple[tuple[str, ToolchainFieldSet], ...]


def resolve_name(target_name: str) -> str:
    return f"toolchain:{target_name}"


@rule
async def find_toolchain_resolves(targets: AllTargets) -> ToolchainResolves:
    return ToolchainResolves(
        tuple(
            (resolve_name(target.address.target_name), ToolchainFieldSet.create(target))
            for target in targets
            if ToolchainFieldSet.is_applicable(target)
        )
    )


@rule
async def known_toolchain_resolves(
    _: KnownToolchainResolvesRequest, resolves: ToolchainResolves
) -> KnownUserResolveNames:
    return KnownUserResolveNames(
        names=tuple(name for name, _ in resolves.images),
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
        GenerateToolchainLock(
            resolve_name=name, lockfile_dest=image.packages.path or "", diff=False, image=image
        )
        for name, image in resolves.images
        if name in named
    )


@dataclass(frozen=True)
class LocksBelow:
    """The locks of the images that one stands on."""

    locks: tuple[bytes, ...]


@rule
async def find_locks_below(request: ImageBelowRequest) -> LocksBelow:
    below = await Get(ImageBelow, ImageBelowRequest, request)
    if below.field_set is None:
        return LocksBelow(())
    more, own = await MultiGet(
        Get(LocksBelow, ImageBelowRequest(below.field_set)),
        Get(DigestContents, PathGlobs([below.field_set.packages.path or ""])),
    )
    return LocksBelow((*more.locks, *(file.content for file in own)))


@dataclass(frozen=True)
class PackagesStep:
    """The step that writes the lock of an image made of packages."""

    step: NetworkStep


@rule
async def find_packages_step(wanted: GenerateToolchainLock) -> PackagesStep:
    path = wanted.image.image.file_path
    spec, below = await MultiGet(
        Get(DigestContents, PathGlobs([path])),
        Get(LocksBelow, ImageBelowRequest(wanted.image)),
    )
    files = [FileContent("image.json", file.content) for file in spec]
    files.extend(FileContent(f"below/{n}.lock", lock) for n, lock in enumerate(below.locks))
    return PackagesStep(
        NetworkStep(
            program="resolve_packages",
            argv=(
                *("--spec=image.json", f"--spec-path={path}", f"--out={_NEW}"),
                *(f"--below=below/{number}.lock" for number in range(len(below.locks))),
            ),
            inputs=await Get(Digest, CreateDigest(files)),
            description=f"Resolve the packages of {path}",
            output_files=(_NEW,),
        )
    )


def _parts_step(image: ToolchainFieldSet, reference: str) -> NetworkStep:
    where = f"{image.address}, field {image.image.alias}"
    return NetworkStep(
        program="lock_image",
        argv=(f"--image={reference}", f"--where={where}", f"--out={_NEW}"),
        inputs=EMPTY_DIGEST,
        description=f"List the parts of {reference}",
        output_files=(_NEW,),
    )


@rule(desc="Resolve toolchain packages")
async def generate_toolchain_lock(wanted: GenerateToolchainLock) -> GenerateLockfileResult:
    reference = wanted.image.image.reference
    if reference:
        step = _parts_step(wanted.image, reference)
    else:
        step = (await Get(PackagesStep, GenerateToolchainLock, wanted)).step
    result = await Get(NetworkStepResult, NetworkStep, step)
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
        UnionRule(GenerateLockfile, GenerateToolchainLock),
    ]
