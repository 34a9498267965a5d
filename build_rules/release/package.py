"""`package` of a release: its files, in a folder of their own below the distribution folder."""

from __future__ import annotations

import os

from pants.core.goals.package import BuiltPackage, BuiltPackageArtifact, PackageFieldSet
from pants.engine.fs import AddPrefix, CreateDigest, Digest, DigestEntries, FileEntry, MergeDigests
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.unions import UnionRule

from build_rules.release.release import Release, ReleaseRequest, ReleaseTarballFieldSet


@rule(desc="Package release")
async def package_release(field_set: ReleaseTarballFieldSet) -> BuiltPackage:
    release = await Get(Release, ReleaseRequest(field_set))
    static = [
        FileEntry(f"{release.stem}.static.tar.gz", entry.file_digest)
        for entry in await Get(DigestEntries, Digest, release.static)
        if isinstance(entry, FileEntry)
    ]
    named = await Get(Digest, CreateDigest(static))
    every = await Get(Digest, MergeDigests([release.digest, named, release.native]))
    folder = field_set.output_path.value_or_default(file_ending=None)
    files = [f"{release.stem}.tar.gz", *(entry.path for entry in static)]
    return BuiltPackage(
        await Get(Digest, AddPrefix(every, folder)),
        tuple(
            BuiltPackageArtifact(os.path.join(folder, name))
            for name in (*files, f"{release.stem}.release.json", f"{release.stem}.native.json")
        ),
    )


def rules():
    return [*collect_rules(), UnionRule(PackageFieldSet, ReleaseTarballFieldSet)]
