"""`package` of a release: writes its files to a folder in the distribution folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Tuple

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.fs import AddPrefix, CreateDigest, Digest, DigestEntries, FileEntry, MergeDigests
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.unions import UnionRule

from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.rules.registration import Rules
from slipway.release.rules.contents import (
    BundleOfRelease,
    ReleaseRequest,
    ReleaseTarballFieldSet,
)
from slipway.release.rules.packed_summary import PackedSummary, PackedSummaryRequest
from slipway.release.rules.tarball import Release
from slipway.runtime.rules.support import SupportRequest, SupportTold


@dataclass(frozen=True)
class StaticNamedRequest:
    release: Release


@dataclass(frozen=True)
class StaticNamed:
    """The static archive of a release under its name in release.json; empty if there is none."""

    digest: Digest
    names: Tuple[str, ...]


@rule
async def name_static(request: StaticNamedRequest) -> StaticNamed:
    entries = await Get(DigestEntries, Digest, request.release.static)
    named = [
        FileEntry(f"{request.release.stem}.static.tar.gz", entry.file_digest)
        for entry in entries
        if isinstance(entry, FileEntry)
    ]
    digest = await Get(Digest, CreateDigest(named))
    return StaticNamed(digest, tuple(one.path for one in named))


@rule(desc="Package release")
async def package_release(field_set: ReleaseTarballFieldSet) -> BuiltPackage:
    release = await Get(Release, ReleaseRequest(field_set))
    found = await Get(BundleOfRelease, ReleaseRequest(field_set))
    bundle = await Get(Bundle, BundleRequest(found.field_set))
    await Get(SupportTold, SupportRequest(bundle.runtime, str(field_set.address)))
    static = await Get(StaticNamed, StaticNamedRequest(release))
    every = await Get(Digest, MergeDigests([release.digest, static.digest, release.native]))
    folder = field_set.output_path.value_or_default(file_ending=None)
    files = [f"{release.stem}.tar.gz", *static.names]
    summary = await Get(
        PackedSummary,
        PackedSummaryRequest(field_set.address, every, release.stem, tuple(files)),
    )
    artifacts = [
        BuiltPackageArtifact(os.path.join(folder, name))
        for name in (*files, f"{release.stem}.release.json")
    ]
    # Attached to the last artifact: Pants logs both together, so no line of another target comes between.
    last = os.path.join(folder, f"{release.stem}.native.json")
    artifacts.append(BuiltPackageArtifact(last, summary.lines))
    return BuiltPackage(await Get(Digest, AddPrefix(every, folder)), tuple(artifacts))


def rules() -> Rules:
    return [*collect_rules(), UnionRule(PackageFieldSet, ReleaseTarballFieldSet)]
