"""The goal `toolchain-archive`: writes the Debian packages of images into a folder.

./pants toolchain-archive //toolchains/gcc48
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pants.base.build_environment import get_buildroot
from pants.engine.console import Console
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    DigestEntries,
    FileEntry,
    MergeDigests,
    Workspace,
)
from pants.engine.goal import Goal, GoalSubsystem
from pants.engine.rules import Get, MultiGet, collect_rules, goal_rule, rule
from pants.engine.target import Targets
from pants.option.option_types import StrOption
from pants.util.strutil import softwrap

from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.debian.lock import DebianLock
from slipway.step.rules.locked_files import FetchedFiles, FetchRequest, LockedFiles
from slipway.toolchain.rules.image import (
    ImageBelow,
    ImageBelowRequest,
    PackagedImageRequest,
    ToolchainFieldSet,
)
from slipway.toolchain.rules.packaged_image import PackageList, locked


class ToolchainArchiveSubsystem(GoalSubsystem):
    name = "toolchain-archive"
    help = "Writes the Debian packages of toolchain images into a folder, for when mirrors delete them."

    into = StrOption(
        default="dist/toolchain-archive",
        help=softwrap(
            """
            The folder, relative to the build root. Copy it to a place that your team keeps, and name
            that place in `[slipway] debian_archives`.

            Example: `--into=dist/toolchain-archive`.
            """
        ),
    )


class ToolchainArchive(Goal):
    subsystem_cls = ToolchainArchiveSubsystem
    environment_behavior = Goal.EnvironmentBehavior.LOCAL_ONLY


@dataclass(frozen=True)
class ImagePackagesRequest:
    """Requests the packages of an image and of the images below it."""

    field_set: ToolchainFieldSet


@dataclass(frozen=True)
class ImagePackages:
    """The packages as files of a mirror, such as `pool/main/t/tool/tool_1.0_amd64.deb`."""

    digest: Digest


async def _as_on_a_mirror(lock: DebianLock) -> Digest:
    files = LockedFiles(tuple(locked(package) for package in lock.packages))
    fetched = await Get(FetchedFiles, FetchRequest(files))
    by_hash = {
        entry.file_digest.fingerprint: entry.file_digest
        for entry in await Get(DigestEntries, Digest, fetched.digest)
        if isinstance(entry, FileEntry)
    }
    return await Get(
        Digest,
        CreateDigest(FileEntry(one.filename, by_hash[one.sha256]) for one in lock.packages),
    )


@rule
async def gather_packages(request: ImagePackagesRequest) -> ImagePackages:
    field_set = request.field_set
    if field_set.is_ready:
        raise SlipwayError(
            f'the image "{field_set.address}" is not made of Debian packages',
            where=f"{field_set.address}, field image",
            found=field_set.archive.value or field_set.image.value or "",
            next="keep a copy of the ready image itself",
        )
    listed, below = await MultiGet(
        Get(PackageList, PackagedImageRequest(field_set)),
        Get(ImageBelow, ImageBelowRequest(field_set)),
    )
    own = await _as_on_a_mirror(listed.lock)
    if below.field_set is None:
        return ImagePackages(own)
    others = await Get(ImagePackages, ImagePackagesRequest(below.field_set))
    return ImagePackages(await Get(Digest, MergeDigests([own, others.digest])))


@goal_rule
async def archive_toolchains(
    console: Console, goal: ToolchainArchiveSubsystem, targets: Targets, workspace: Workspace
) -> ToolchainArchive:
    chosen = [one for one in targets if ToolchainFieldSet.is_applicable(one)]
    if not chosen:
        raise SlipwayError(
            "./pants toolchain-archive needs a node_toolchain",
            found="no node_toolchain among the targets",
            next="./pants toolchain-archive //toolchains/gcc48",
        )
    into = os.path.relpath(os.path.join(get_buildroot(), goal.into), get_buildroot())
    if into == ".." or into.startswith("../"):
        raise SlipwayError(
            f'the folder "{goal.into}" is not in the workspace',
            where="option --into",
            next="give a folder relative to the build root, such as: --into=dist/toolchain-archive",
        )
    gathered = await MultiGet(
        Get(ImagePackages, ImagePackagesRequest(ToolchainFieldSet.create(one))) for one in chosen
    )
    digest = await Get(Digest, MergeDigests([one.digest for one in gathered]))
    entries = await Get(DigestEntries, Digest, digest)
    workspace.write_digest(await Get(Digest, AddPrefix(digest, into)))
    size = sum(
        one.file_digest.serialized_bytes_length for one in entries if isinstance(one, FileEntry)
    )
    console.print_stdout(f"{into}: {len(entries)} packages, {size / 1e6:.1f} MB")
    return ToolchainArchive(exit_code=0)


def rules() -> Rules:
    return collect_rules()
