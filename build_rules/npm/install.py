"""Installs an application's packages once, for the build and for the release.

The key is made of what an offline `npm ci` reads: locks and manifests reduced to that, hashes of
tarballs, the runtime.  Tarballs are fetched only when the install has to run.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List

from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    DigestContents,
    DigestSubset,
    FileContent,
    MergeDigests,
    PathGlobs,
    Paths,
    RemovePrefix,
    Snapshot,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict

from build_rules.lib import fetch_lock, npm_lock, npm_manifest, npm_normalise
from build_rules.lib.errors import SlipwayErrors
from build_rules.lib.fetch_lock import CachedTarball, FetchLock
from build_rules.lib.npm_lock import NpmLock
from build_rules.lib.npm_production import production_paths
from build_rules.npm.locks import FetchLockRequest, ReadNpmLock
from build_rules.runtime.make import Runtime
from build_rules.toolchain.image import BaseRoot
from build_rules.toolchain.locked_files import LockedFile, LockedFiles
from build_rules.toolchain.step import Step, StepResult, as_arguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstallRequest:
    read: ReadNpmLock
    runtime: Runtime
    origin: str = field(compare=False)


@dataclass(frozen=True)
class InstalledPackages:
    """`everything` holds `installed.tar`, `layer` holds `dependencies.layer`; `report` is JSON."""

    everything: Digest
    layer: Digest
    report: str


async def _local_tarballs(lock: NpmLock) -> Digest:
    """Tarballs that the application itself keeps, at their places."""
    paths = sorted({one.source for one in lock.local_tarballs if one.source})
    snapshot = await Get(Snapshot, PathGlobs([os.path.join(lock.folder, path) for path in paths]))
    digest = await Get(Digest, RemovePrefix(snapshot.digest, lock.folder))
    there = {os.path.relpath(path, lock.folder or ".") for path in snapshot.files}
    missing = [path for path in paths if path not in there]
    if missing:
        raise SlipwayErrors(
            f'the lock "{lock.path}" names tarballs that are not there',
            [os.path.join(lock.folder, path) for path in missing],
            where=lock.path,
            next="put them there, or remove the dependency",
        )
    return digest


async def _bins_of_folders(read: ReadNpmLock) -> Digest:
    """Empty files in place of the programs of folders that npm links: it links only what is there,
    and their contents are no matter of the install."""
    wanted = [
        os.path.join(read.lock.folder, folder, file)
        for folder in read.lock.link_targets
        for file in npm_normalise.bin_files(
            npm_manifest.load(read.manifests[f"{folder}/package.json"], folder)
        )
    ]
    there = await Get(Paths, PathGlobs(wanted))
    return await Get(
        Digest,
        CreateDigest(
            [
                FileContent(os.path.relpath(path, read.lock.folder or "."), b"")
                for path in there.files
            ]
        ),
    )


@rule(desc="Install npm packages")
async def install_packages(request: InstallRequest, base: BaseRoot) -> InstalledPackages:
    lock, runtime = request.read.lock, request.runtime
    npm_manifest.require_npm(lock, runtime.npm_version)
    fetched = await Get(FetchLock, FetchLockRequest(lock))
    major = npm_manifest.npm_major(runtime.npm_version)
    tarballs = fetch_lock.cached_tarballs(lock, fetched, major)
    normalised = npm_normalise.normalise(
        lock, fetched, request.read.manifests, runtime.npm_version, request.read.npmrc
    )
    files = await Get(
        Digest,
        CreateDigest([FileContent(path, content) for path, content in normalised.files]),
    )
    local, bins = await _local_tarballs(lock), await _bins_of_folders(request.read)
    inputs = await Get(
        Digest, AddPrefix(await Get(Digest, MergeDigests([files, local, bins])), "install")
    )
    result = await Get(
        StepResult,
        Step(
            program="install_packages",
            trees=(*base.trees, runtime.tree),
            outputs=("installed.tar", "dependencies.layer", "install.json"),
            description=f"Install {len(tarballs)} npm packages of {lock.folder or 'the workspace'}",
            origin=request.origin,
            arguments=_arguments(lock, tarballs, major),
            inputs=inputs,
            locked=LockedFiles(tuple(_locked(one) for one in tarballs), project=lock.folder),
            words=FrozenDict(npm_lock=lock.path, rewrite_lock=npm_lock.rewrite_lock(lock.path)),
        ),
    )
    everything, layer, report = await MultiGet(
        Get(Digest, DigestSubset(result.digest, PathGlobs(["installed.tar"]))),
        Get(Digest, DigestSubset(result.digest, PathGlobs(["dependencies.layer"]))),
        Get(DigestContents, DigestSubset(result.digest, PathGlobs(["install.json"]))),
    )
    text = report[0].content.decode()
    _report_install_scripts(json.loads(text)["install_scripts"], request.origin)
    return InstalledPackages(everything, layer, text)


def _report_install_scripts(packages: List[Dict[str, Any]], origin: str) -> None:
    if packages:
        names = ", ".join(
            f"{one['name']}@{one['version']}" + ("" if one["production"] else " (dev)")
            for one in packages
        )
        logger.warning(
            f"{origin}: install scripts of dependencies do not run, so not that of {names}"
        )


def _arguments(lock: NpmLock, tarballs: list[CachedTarball], npm_major: int) -> str:
    return as_arguments(
        {
            "npm_major": npm_major,
            "packages": {
                package.path: {"name": package.name, "version": package.version}
                for package in lock.packages
                if package.in_node_modules
            },
            "production": sorted(production_paths(lock, npm_major)),
            "tarballs": {
                f"in/cache/{one.path}": f"{one.tarball.name}@{one.tarball.version}"
                for one in tarballs
            },
        }
    )


def _locked(one: CachedTarball) -> LockedFile:
    source: Dict[str, str] = {
        "kind": "npm",
        "name": one.tarball.name,
        "version": one.tarball.version,
        "integrity": one.tarball.integrity,
    }
    if one.tarball.url:
        source["kind"], source["url"] = "url", one.tarball.url
    return LockedFile(f"cache/{one.path}", one.sha256, one.size, FrozenDict(source))


def rules():
    return collect_rules()
