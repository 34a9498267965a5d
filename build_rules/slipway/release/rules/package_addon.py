"""`package` of a native addon: an archive of its binaries for each Node, after the ABI check."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    DigestEntries,
    FileEntry,
    MergeDigests,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.engine.unions import UnionRule
from pants.util.frozendict import FrozenDict

from slipway.abi import waivers as abi_waivers
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.core.targets import entries_of
from slipway.npm.rules.addon import Addon, AddonRequest, NodeAddonFieldSet
from slipway.release.rules.abi_gate import Audited, LayersAuditRequest
from slipway.release.rules.tarball import file_name
from slipway.runtime.rules.layer import Layer
from slipway.runtime.rules.make import (
    PLATFORM,
    RuntimeLayerRequest,
    Runtimes,
    RuntimesNamed,
)
from slipway.runtime.rules.node import Runtime


@dataclass(frozen=True)
class AddonArchiveRequest:
    field_set: NodeAddonFieldSet
    runtime: Runtime


@dataclass(frozen=True)
class AddonArchive:
    """`digest` contains the archive `name`; its binaries passed the ABI check."""

    digest: Digest
    name: str


@rule
async def name_archive(request: AddonArchiveRequest) -> AddonArchive:
    field_set, runtime, origin = request.field_set, request.runtime, request.field_set.origin
    # An addon also links against symbols of the node executable, so audit it together with the runtime.
    addon, node = await MultiGet(
        Get(Addon, AddonRequest(field_set, runtime)),
        Get(Layer, RuntimeLayerRequest(runtime, origin)),
    )
    audited = await Get(
        Audited,
        LayersAuditRequest(
            origin,
            addon.toolchain,
            await Get(Digest, MergeDigests([node.facts, addon.facts])),
            (node.name, "addon"),
            FrozenDict({}),
        ),
    )
    waivers = entries_of(field_set.abi_waivers)
    abi_waivers.judge(audited.files, waivers, origin, (), of="the addon")
    stem = f"{file_name(addon.manifest.name)}-v{addon.manifest.version}"
    name = f"{stem}-node-v{addon.modules}-{PLATFORM}.tar.gz"
    (made,) = await Get(DigestEntries, Digest, addon.binaries)
    assert isinstance(made, FileEntry)
    digest = await Get(Digest, CreateDigest([FileEntry(name, made.file_digest)]))
    return AddonArchive(digest, name)


@rule(desc="Package native addon")
async def package_addon(field_set: NodeAddonFieldSet) -> BuiltPackage:
    origin, field = field_set.origin, field_set.runtimes
    if not field.value:
        raise SlipwayError(
            f'the addon "{origin}" has no runtimes',
            where=f"{origin}, field runtimes",
            next='set runtimes=["//toolchains/node:16.20.2"]',
        )
    named = RuntimesNamed(
        field.to_unparsed_address_inputs(), "the runtimes of an addon", f"{origin}, field runtimes"
    )
    found = await Get(Runtimes, RuntimesNamed, named)
    archives = await MultiGet(
        Get(AddonArchive, AddonArchiveRequest(field_set, one)) for one in found.runtimes
    )
    _require_different(archives, origin)
    folder = field_set.output_path.value_or_default(file_ending=None)
    every = await Get(Digest, MergeDigests(one.digest for one in archives))
    return BuiltPackage(
        await Get(Digest, AddPrefix(every, folder)),
        tuple(BuiltPackageArtifact(os.path.join(folder, one.name)) for one in archives),
    )


def _require_different(archives: tuple[AddonArchive, ...], origin: str) -> None:
    names = [one.name for one in archives]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SlipwayError(
            "several runtimes of an addon have the same binary interface number",
            where=f"{origin}, field runtimes",
            found=", ".join(doubled),
            next="list only one Node version per major version",
        )


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PackageFieldSet, NodeAddonFieldSet)]
