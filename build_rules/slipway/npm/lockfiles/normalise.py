"""The parts of package.json and the lockfile that an offline `npm ci --ignore-scripts` reads.

These bytes go into the cache key of the install. A new version, script or description, or another
registry host, must not change the bytes. Anything that could change the installed tree must change them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.core.json_text import canonical, load_object
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import manifest as npm_manifest
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec, tree_settings
from slipway.npm.lockfiles.fetch_lock import FetchEntry, FetchLock, installed_hash, key
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package, Tarball
from slipway.npm_registry.names import tarball_path

# npm requires a URL even if it finds the content in its cache by hash. The domain .invalid is reserved, so
# no host can have this name.
NO_HOST = "https://registry.invalid/"

# npm's tree builder reads these fields of the root's and a link target's package.json. The root's
# `bundleDependencies` are left out: they matter only when the root is packed, and here they would make
# npm query the registry for the dependencies of bundled packages.
_READ = (
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "workspaces",
    "overrides",
    "engines",
    "os",
    "cpu",
    "libc",
)
# For a folder that is linked into node_modules, npm also reads its name and version, and links its bins.
_READ_OF_TARGETS = (
    "name",
    "version",
    "bin",
    "directories",
    "bundleDependencies",
    "bundledDependencies",
    *_READ,
)
_NOT_READ_OF_ENTRIES = ("resolved", "integrity", "deprecated", "funding", "license")


@dataclass(frozen=True)
class NormalisedInstall:
    """The input files of an install, by path relative to the lockfile's folder."""

    files: Tuple[Tuple[str, bytes], ...]

    def as_dict(self) -> Dict[str, bytes]:
        return dict(self.files)


def normalise(
    lock: NpmLock,
    fetch_lock: FetchLock,
    manifests: Mapping[str, str],
    npm_version: str,
    project_npmrc: str = "",
) -> NormalisedInstall:
    """The package.json files and the lockfile, reduced to the parts that this npm reads.

    The lockfile is always named package-lock.json in the result. `manifests` is the same as for
    `npm_manifest.require_in_step`. `project_npmrc` is the text of the project's .npmrc; the result has a
    .npmrc only if that text has settings about the tree.
    """
    major = npm_manifest.npm_major(npm_version)
    prefix = f"{lock.folder}/" if lock.folder else ""
    self_linked = "" in {p.target for p in lock.packages if p.kind == npm_package.LINK}
    files: Dict[str, bytes] = {}
    for path in lock.manifests:
        manifest = npm_manifest.load(manifests[path], prefix + path)
        is_root = path == "package.json" and not self_linked
        files[path] = canonical(_only(manifest, _READ if is_root else _READ_OF_TARGETS))
    document = load_object(lock.text, lock.path, next="")
    if major < 7:
        reduced = _lock_for_npm_6(document, lock, fetch_lock)
    else:
        reduced = _lock_for_npm_7(document, lock, fetch_lock)
    files["package-lock.json"] = canonical(reduced)
    settings = tree_settings.passed(project_npmrc)
    if settings:
        files[".npmrc"] = settings
    return NormalisedInstall(tuple(sorted(files.items())))


def bin_files(manifest: Mapping[str, Any]) -> Tuple[str, ...]:
    """The files of a link target that npm links into .bin if they exist during the install."""
    named = npm_package.bin_map(str(manifest.get("name", "")), manifest.get("bin"))
    return tuple(sorted({file for _, file in named}))


def _only(document: Mapping[str, Any], fields: Tuple[str, ...]) -> Dict[str, Any]:
    return {name: document[name] for name in fields if name in document}


def _lock_for_npm_7(
    document: Mapping[str, Any], lock: NpmLock, fetch_lock: FetchLock
) -> Dict[str, Any]:
    """npm 7 and later read only the table `packages`, so a version 2 lockfile becomes version 3."""
    places = {package.path: package for package in lock.packages}
    index = fetch_lock.index()
    packages: Dict[str, Any] = {}
    for path, entry in document["packages"].items():
        package = places.get(path)
        if package is None:
            packages[path] = _only(entry, _READ)
        elif package.kind in (npm_package.FOLDER, npm_package.WORKSPACE):
            packages[path] = _only(entry, (*_READ_OF_TARGETS, *_FLAGS))
        else:
            packages[path] = dict(
                {k: v for k, v in entry.items() if k not in _NOT_READ_OF_ENTRIES},
                **_address_and_hash(package, entry, index),
            )
    return {"lockfileVersion": 3, "requires": True, "packages": packages}


_FLAGS = ("dev", "optional", "devOptional", "peer", "extraneous")


def _address_and_hash(package: Package, entry: Mapping[str, Any], index: Any) -> Dict[str, Any]:
    if package.kind in (npm_package.LINK, npm_package.FILE_TARBALL):
        return {k: entry[k] for k in ("resolved", "integrity") if k in entry}
    if package.kind == npm_package.BUNDLED:
        return {}
    address = NO_HOST + tarball_path(package.name, package.version)
    if package.kind == npm_package.REMOTE_TARBALL:
        # npm compares the URL with the specifier of the dependency, so keep it.
        address = str(entry["resolved"])
    integrity = _hash(package, index, 7)
    return {"resolved": address, **({"integrity": integrity} if integrity else {})}


def _hash(package: Package, index: Mapping[Tuple[str, str, str], FetchEntry], major: int) -> str:
    """The integrity of a package in the lockfile that npm reads; empty without any.

    An optional package that the registry does not have keeps its integrity: npm finds no such content
    in its cache, and skips the package.
    """
    tarball = Tarball(package.name, package.version, package.integrity or "")
    fetched = index.get(key(tarball.name, tarball.version, tarball.integrity))
    return str(installed_hash(tarball, fetched, major)) if fetched else tarball.integrity


def _lock_for_npm_6(
    document: Mapping[str, Any], lock: NpmLock, fetch_lock: FetchLock
) -> Dict[str, Any]:
    """The lockfile for npm 6, which writes `resolved` and `integrity` into each package.json.

    Both stay unchanged, so that the tree is the same as after a plain `npm ci`; only a login in the URL is
    removed. An entry without integrity gets the hash of the fetch lock, by which npm finds the tarball.
    """
    index = fetch_lock.index()
    hashes = {
        package.path: _hash(package, index, 6)
        for package in lock.packages
        if package.kind in npm_lock.FETCHED and package.integrity is None
    }
    return {
        "lockfileVersion": 1,
        "requires": True,
        "dependencies": _nested(document.get("dependencies", {}), "", hashes),
    }


def _nested(
    dependencies: Mapping[str, Any], folder: str, hashes: Mapping[str, str]
) -> Dict[str, Any]:
    reduced: Dict[str, Any] = {}
    for name, entry in dependencies.items():
        kept = dict(entry)
        path = f"{folder}node_modules/{name}"
        if not npm_package.integrity_of(kept) and hashes.get(path):
            kept["integrity"] = hashes[path]
        written = spec.parse(str(kept.get("version", "")))
        if written.kind == spec.FOLDER:
            # The dependencies of a link are installed in the folder that it points to.
            path = npm_package.inside(written.target) or ""
        resolved: Optional[str] = kept.get("resolved")
        if isinstance(resolved, str):
            kept["resolved"] = spec.without_login(resolved)
        if "dependencies" in kept:
            kept["dependencies"] = _nested(kept["dependencies"], f"{path}/" if path else "", hashes)
        reduced[name] = kept
    return reduced
