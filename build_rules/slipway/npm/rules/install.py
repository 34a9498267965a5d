"""Unpacks an application's packages once, for the build and for the release.

The cache key contains only what an offline `npm ci` reads: the reduced lockfile and manifests, the
hashes of tarballs, and the runtime. Slipway fetches tarballs only if the install is not cached.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterable, Mapping, Optional, Tuple

from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
    PathGlobs,
    Paths,
    RemovePrefix,
    Snapshot,
)
from pants.engine.rules import Get, collect_rules, rule
from pants.util.frozendict import FrozenDict

from slipway.core.errors import SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.npm.install_report import InstallReport
from slipway.npm.installed_tree import LockedPackage
from slipway.npm.lockfiles import engines, fetch_lock, lost_bins, manifest, normalise, tree_settings
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles.engines import Engines
from slipway.npm.lockfiles.fetch_lock import CachedTarball, FetchLock
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import LINK, Package
from slipway.npm.lockfiles.production import production_paths
from slipway.npm.programs import install
from slipway.npm.programs.install import Arguments, Tarball
from slipway.npm.rules.locks import FetchLockRequest, ReadNpmLock
from slipway.npm.scripts import decisions as script_decisions
from slipway.npm.scripts.decisions import Decision, Rule
from slipway.runtime.rules.layer import Layer, take_layer
from slipway.runtime.rules.node import Runtime
from slipway.step.rules import outputs
from slipway.step.rules.build_step import Step, StepResult
from slipway.step.rules.locked_files import LockedFile, LockedFiles
from slipway.toolchain.rules.image import BaseRoot, ToolchainFieldSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstallRequest:
    """A request to install an application's packages.

    `decisions` say which install scripts run, in the image of `toolchain`, which may be missing if none
    runs; `network` gives these scripts network access.
    """

    read: ReadNpmLock
    runtime: Runtime
    decisions: Tuple[Rule, ...]
    drop_foreign: bool
    toolchain: Optional[ToolchainFieldSet]
    origin: str = field(compare=False)
    network: bool = False

    def decided(self) -> Dict[str, Optional[Decision]]:
        """The decision for each package, by path; None if there is no decision.

        Without linked folders: they are part of the application, and their scripts never run.
        """
        return {
            one.path: script_decisions.decide(self.decisions, one)
            for one in self.read.lock.packages
            if one.in_node_modules and one.kind != LINK
        }

    def taking_prebuilt(self, package: Package) -> InstallRequest:
        """The same install with the decision `prebuilt` for this package."""
        others = [one for one in self.decisions if one.name != package.name]
        taking = Rule(package.name, str(package.version), Decision.PREBUILT)
        return dataclasses.replace(self, decisions=(*others, taking))


@dataclass(frozen=True)
class UnpackedPackages:
    """The packages that npm installed, before any script has run.

    `everything` contains `installed.tar`, and `layer` is the layer of a release. Packages whose scripts
    will run are in neither: `native` lists those that npm installs on this platform, and `closures`
    contains them as `<layer name>.tar`. `production` has the paths of a production install.
    """

    everything: Digest
    layer: Layer
    native: Tuple[Tuple[Package, Decision], ...]
    closures: Digest
    production: FrozenSet[str]
    report: InstallReport


async def _local_tarballs(lock: NpmLock) -> Digest:
    """The tarballs in the application's folder, at their paths."""
    paths = sorted({one.source for one in lock.local_tarballs if one.source})
    snapshot = await Get(Snapshot, PathGlobs([os.path.join(lock.folder, path) for path in paths]))
    digest = await Get(Digest, RemovePrefix(snapshot.digest, lock.folder))
    there = {os.path.relpath(path, lock.folder or ".") for path in snapshot.files}
    missing = [path for path in paths if path not in there]
    if missing:
        raise SlipwayErrors(
            f'tarballs of the lockfile "{lock.path}" are missing',
            [os.path.join(lock.folder, path) for path in missing],
            where=lock.path,
            next="add the files, or remove the dependencies",
        )
    return digest


async def _bins_of_folders(read: ReadNpmLock) -> Digest:
    """Empty files in place of the bins of linked folders.

    npm creates a link only if its target exists; the content does not affect the install.
    """
    wanted = [
        os.path.join(read.lock.folder, folder, file)
        for folder in read.lock.link_targets
        for file in normalise.bin_files(
            manifest.load(read.manifests[f"{folder}/package.json"], folder)
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


@rule(desc="Unpack npm packages")
async def unpack_packages(request: InstallRequest, base: BaseRoot) -> UnpackedPackages:
    lock, runtime = request.read.lock, request.runtime
    decided = request.decided()
    native = _native(lock.packages, decided)
    manifest.require_npm(lock, runtime.npm_version)
    major = manifest.npm_major(runtime.npm_version)
    tree_settings.refuse(lock, request.read.npmrc, major)
    pinned = Engines(runtime.version, runtime.npm_version)
    if major >= 7:  # npm 6 does not check engines when it installs from a lockfile
        engines.refuse_if_strict(
            lock, request.read.loaded_manifests, pinned, request.read.npmrc, request.origin
        )
    fetched = await Get(FetchLock, FetchLockRequest(request.read.whole))
    tarballs = fetch_lock.cached_tarballs(lock, fetched, major)
    normalised = normalise.normalise(
        lock, fetched, request.read.manifests, runtime.npm_version, request.read.npmrc
    )
    files = await Get(
        Digest,
        CreateDigest([FileContent(path, content) for path, content in normalised.files]),
    )
    closures = [install.closure_of(package.path) for package in native]
    local, bins = await _local_tarballs(lock), await _bins_of_folders(request.read)
    inputs = await Get(
        Digest, AddPrefix(await Get(Digest, MergeDigests([files, local, bins])), "install")
    )
    result = await Get(
        StepResult,
        Step(
            install.PROGRAM(_arguments(request, native, tarballs, major)),
            trees=(*base.trees, runtime.tree),
            outputs=(*install.OUTPUTS, *closures),
            description=f"Install {len(tarballs)} npm packages of {lock.folder or 'the workspace'}",
            origin=request.origin,
            inputs=inputs,
            locked=LockedFiles(tuple(as_input(one) for one in tarballs), project=lock.folder),
            words=words_of_locks(lock, fetched),
        ),
    )
    left = install.OUTPUTS
    report = await outputs.read_report(result.digest, left.report)
    for warning in (
        engines.warning(lock, request.read.loaded_manifests, pinned, report.absent),
        lost_bins.warning(lock, report.unlinked, major),
    ):
        if warning:
            logger.warning(f"{request.origin}: {warning}")
    return UnpackedPackages(
        await outputs.take(result.digest, left.installed),
        await take_layer(result.digest, install.LAYER),
        # A version 1 lockfile has no version for tarballs in the application's folder.
        tuple(
            (dataclasses.replace(package, version=report.native[package.path]), decision)
            for package, decision in native.items()
            if package.path in report.native
        ),
        await outputs.take(result.digest, *closures),
        production_paths(lock, major),
        report,
    )


def _native(
    packages: Iterable[Package], decided: Mapping[str, Optional[Decision]]
) -> Dict[Package, Decision]:
    """The packages whose install scripts will run."""
    decisions = {package: decided.get(package.path) for package in packages}
    return {
        package: decision
        for package, decision in decisions.items()
        if decision is not None and decision is not Decision.SKIP
    }


def _arguments(
    request: InstallRequest,
    native: Iterable[Package],
    tarballs: Iterable[CachedTarball],
    npm_major: int,
) -> Arguments:
    lock = request.read.lock
    return Arguments(
        packages={
            package.path: LockedPackage(package.name, package.version)
            for package in lock.packages
            if package.in_node_modules
        },
        production=tuple(sorted(production_paths(lock, npm_major))),
        native=tuple(package.path for package in native),
        tarballs=tuple(as_argument(cached) for cached in tarballs),
        npm_major=npm_major,
        drop_foreign=request.drop_foreign,
        member=lock.member,
    )


def words_of_locks(lock: NpmLock, fetched: FetchLock) -> FrozenDict[str, str]:
    """The values of placeholders in messages of programs that read tarballs."""
    return FrozenDict(
        npm_lock=lock.path,
        rewrite_lock=npm_lock.rewrite_lock(lock.path),
        fetch_lock=fetched.path,
        # Indented like the text after "next:" in a message.
        renew_fetch_lock=fetch_lock.start_over(fetched.path).replace("\n", "\n" + " " * 9),
    )


def as_argument(cached: CachedTarball) -> Tarball:
    """The tarball as an argument of a program, for which it is an input."""
    # Check both hashes: a tarball from the store was only compared with the SHA-256 of the fetch lock.
    hashes = {cached.tarball.integrity, cached.integrity} - {""}
    return Tarball(
        path=f"in/cache/{cached.path}",
        package=f"{cached.tarball.name}@{cached.tarball.version}",
        integrities=tuple(sorted(hashes)),
    )


def as_input(one: CachedTarball) -> LockedFile:
    source: Dict[str, str] = {
        "kind": "npm",
        "name": one.tarball.name,
        "version": one.tarball.version,
        "integrity": one.tarball.integrity,
    }
    if one.tarball.url:
        source["kind"], source["url"] = "url", one.tarball.url
    return LockedFile(f"cache/{one.path}", one.sha256, one.size, FrozenDict(source))


def rules() -> Rules:
    return collect_rules()
