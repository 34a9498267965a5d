"""The goal `generate-lockfiles` for toolchain images: resolves the wanted packages.

The resolve must be named. `generate-lockfiles` without a name updates the locks of applications,
but never the image that they are built in.
"""

from __future__ import annotations

import logging
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
from pants.engine.env_vars import CompleteEnvironmentVars
from pants.engine.fs import (
    CreateDigest,
    Digest,
    DigestContents,
    FileContent,
    MergeDigests,
    PathGlobs,
    Snapshot,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST, EMPTY_SNAPSHOT
from pants.engine.internals.session import SessionValues
from pants.engine.rules import Get, MultiGet, _uncacheable_rule, collect_rules, rule
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.data import bundled
from slipway.debian import lock as debian_lock
from slipway.debian import signature
from slipway.step.rules import outputs
from slipway.step.rules.locked_files import FetchedFiles, FetchRequest, LockedFile, LockedFiles
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult
from slipway.toolchain.programs import generate_lock, lock_image
from slipway.toolchain.rules.image import ImageBelow, ImageBelowRequest, ToolchainFieldSet

logger = logging.getLogger(__name__)

_SPEC, _OLD = "image.json", "old.lock"
_RESOLVE = "toolchain:"
_VERIFIER = "archive_verifier.lock"
"""The lock of the packages that gpgv needs; the program `generate_lock` wrote it."""


class KnownToolchainResolvesRequest(KnownUserResolveNamesRequest):
    pass


class RequestedToolchainResolves(RequestedUserResolveNames):
    pass


@dataclass(frozen=True)
class GenerateToolchainLock(GenerateLockfile):
    image: ToolchainFieldSet


@dataclass(frozen=True)
class ToolchainResolves:
    """All images of the workspace, each with the name of its resolve."""

    images: tuple[tuple[str, ToolchainFieldSet], ...]


def resolve_name(target_name: str) -> str:
    return f"{_RESOLVE}{target_name}"


@rule
async def find_toolchain_resolves() -> ToolchainResolves:
    targets = await Get(DeclaredTargets, DeclaredTargetsRequest(ToolchainFieldSet.required_fields))
    return ToolchainResolves(
        tuple(
            (resolve_name(target.address.target_name), ToolchainFieldSet.create(target))
            for target in targets
        )
    )


@rule
async def known_toolchain_resolves(
    _: KnownToolchainResolvesRequest, goal: GenerateLockfilesSubsystem
) -> KnownUserResolveNames:
    # A named lock of an application must not depend on other BUILD files. If a name is of no known kind,
    # Pants lists all known names.
    if goal.resolve and all(":" in name and not _is_image(name) for name in goal.resolve):
        resolves = ToolchainResolves(())
    else:
        resolves = await Get(ToolchainResolves)
    return KnownUserResolveNames(
        names=tuple(name for name, _ in resolves.images),
        option_name="node_toolchain targets",
        requested_resolve_names_cls=RequestedToolchainResolves,
    )


@rule
async def requested_toolchain_resolves(
    requested: RequestedToolchainResolves, goal: GenerateLockfilesSubsystem
) -> UserGenerateLockfiles:
    named = set(requested) & set(goal.resolve)
    resolves = await Get(ToolchainResolves) if named else ToolchainResolves(())
    return UserGenerateLockfiles(
        GenerateToolchainLock(
            resolve_name=name, lockfile_dest=image.packages.path or "", diff=False, image=image
        )
        for name, image in resolves.images
        if name in named
    )


def _is_image(name: str) -> bool:
    return name.startswith(_RESOLVE)


@dataclass(frozen=True)
class LocksBelow:
    """The locks of the images below an image."""

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
class VerifierPackages:
    """The Debian packages with gpgv and Debian's keys, in a folder `verifier`.

    Empty on a machine that has both.
    """

    snapshot: Snapshot


# Uncacheable, because the result depends on programs of this machine, which Pants does not track.
@_uncacheable_rule
async def find_verifier(session: SessionValues) -> VerifierPackages:
    if signature.of_machine(session[CompleteEnvironmentVars]):
        return VerifierPackages(EMPTY_SNAPSHOT)
    text = bundled.read(_VERIFIER)
    assert text is not None
    lock = debian_lock.read_lock(text.decode(), _VERIFIER)
    files = tuple(
        LockedFile(
            path=f"verifier/{package.name}.deb",
            sha256=package.sha256,
            size=package.size,
            source=FrozenDict(kind="debian", name=package.name, filename=package.filename),
        )
        for package in lock.packages
    )
    fetched = await Get(FetchedFiles, FetchRequest(LockedFiles(files)))
    return VerifierPackages(await Get(Snapshot, Digest, fetched.digest))


@dataclass(frozen=True)
class PackagesStep:
    """The step that writes the lock of an image that is assembled from packages."""

    step: NetworkStep


@rule
async def find_packages_step(
    wanted: GenerateToolchainLock, verifier: VerifierPackages
) -> PackagesStep:
    path = wanted.image.image.file_path
    spec, below, old = await MultiGet(
        Get(DigestContents, PathGlobs([path])),
        Get(LocksBelow, ImageBelowRequest(wanted.image)),
        Get(DigestContents, PathGlobs([wanted.lockfile_dest])),
    )
    files = [FileContent(_SPEC, file.content) for file in spec]
    files.extend(FileContent(f"below/{n}.lock", lock) for n, lock in enumerate(below.locks))
    files.extend(FileContent(_OLD, file.content) for file in old)
    own = await Get(Digest, CreateDigest(files))
    return PackagesStep(
        NetworkStep(
            generate_lock.PROGRAM(
                generate_lock.Arguments(
                    spec=_SPEC,
                    path=path,
                    old=_OLD,
                    resolve=wanted.resolve_name,
                    below=tuple(f"below/{number}.lock" for number in range(len(below.locks))),
                    verifier=verifier.snapshot.files,
                )
            ),
            inputs=await Get(Digest, MergeDigests([own, verifier.snapshot.digest])),
            description=f"Resolve the packages of {path}",
        )
    )


def _parts_step(image: ToolchainFieldSet, reference: str) -> NetworkStep:
    where = f"{image.address}, field {image.image.alias}"
    return NetworkStep(
        lock_image.PROGRAM(lock_image.Arguments(reference, where)),
        inputs=EMPTY_DIGEST,
        description=f"List the parts of {reference}",
    )


@rule(desc="Resolve toolchain packages")
async def generate_toolchain_lock(wanted: GenerateToolchainLock) -> GenerateLockfileResult:
    reference = wanted.image.image.reference
    if reference:
        step, lock = _parts_step(wanted.image, reference), lock_image.LOCK
    else:
        lock = generate_lock.LOCK
        step = (await Get(PackagesStep, GenerateToolchainLock, wanted)).step
    result = await Get(NetworkStepResult, NetworkStep, step)
    if result.stderr.strip():
        logger.warning(f"{result.stderr.strip()}")
    written = await outputs.read_content(result.digest, lock)
    assert written is not None
    digest = await Get(Digest, CreateDigest([FileContent(wanted.lockfile_dest, written)]))
    return GenerateLockfileResult(digest, wanted.resolve_name, wanted.lockfile_dest)


def rules() -> Rules:
    return [
        *collect_rules(),
        UnionRule(KnownUserResolveNamesRequest, KnownToolchainResolvesRequest),
        UnionRule(RequestedUserResolveNames, RequestedToolchainResolves),
        UnionRule(GenerateLockfile, GenerateToolchainLock),
    ]
