"""Refuses patches of production packages, which a release would not contain."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, List, Tuple

from pants.engine.fs import PathGlobs, Paths
from pants.engine.rules import Get, collect_rules, rule

from slipway.bundle import patches
from slipway.bundle.rules.app import App, AppRequest
from slipway.core.errors import SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import LINK, Package, text_map
from slipway.npm.lockfiles.production import production_paths
from slipway.npm.rules.locks import resolve_name


@dataclass(frozen=True)
class UnpatchedPackages:
    """Proof that no patch of an application changes a package of its release."""


def production_packages(lock: NpmLock) -> Tuple[Package, ...]:
    """The installed packages of a release; with npm 6, possibly also dev dependencies of folders."""
    paths = production_paths(lock, npm_major=7)
    return tuple(
        package
        for package in lock.packages
        if package.in_node_modules and package.kind != LINK and package.path in paths
    )


@rule
async def require_unpatched(request: AppRequest) -> UnpatchedPackages:
    app = await Get(App, AppRequest, request)
    top, patched = app.read.lock.folder, {}
    # In npm workspaces, the package.json above the members has most patches.
    for path in dict.fromkeys(("package.json", os.path.join(app.read.lock.member, "package.json"))):
        manifest, folder = app.read.loaded_manifests[path], os.path.join(top, os.path.dirname(path))
        place = patches.patch_folder(text_map(manifest.get("scripts")))
        if place:
            found = await Get(Paths, PathGlobs([os.path.join(folder, place, "**", "*.patch")]))
            for file in found.files:
                patched[os.path.relpath(file, top or ".")] = patches.package_of_patch(file)
        patched.update(patches.patched_by_npm(manifest))
    by_name: Dict[str, List[Package]] = {}
    for package in production_packages(app.read.lock):
        by_name.setdefault(package.name, []).append(package)
    affected = {file: by_name[name][0] for file, name in patched.items() if name in by_name}
    if affected:
        first = next(iter(affected.values()))
        raise SlipwayErrors(
            "patches change production packages, and the release would not contain the changes",
            [f"{file}: {one.name}@{one.version}" for file, one in affected.items()],
            where=app.manifest.path,
            next=patches.way_out(first.path, first.name, first.version)
            + f"\n./pants generate-lockfiles --resolve={resolve_name(app.read.lock.path)}",
        )
    return UnpatchedPackages()


def rules() -> Rules:
    return collect_rules()
