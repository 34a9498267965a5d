"""What an offline `npm ci --ignore-scripts` reads of package.json and lock, and nothing else.

The install's cache key is made of these bytes. Editing a version, a script or a description, or
moving to another registry host, must leave them as they were; anything that could change the
installed tree must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from slipway.core.json_text import canonical, load_object
from slipway.npm.lockfiles import manifest as npm_manifest
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec
from slipway.npm.lockfiles.fetch_lock import FetchLock, installed_hash, key
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package, Tarball
from slipway.npm_registry import npmrc
from slipway.npm_registry.names import tarball_path

# npm wants an address even where it then finds the content by its hash. No host can have this name.
NO_HOST = "https://registry.invalid/"

# npm's tree builder reads these of any package.json, the root's or a link target's. What the root
# bundles matters when it is packed; here it would make npm ask the registry, by name alone, for
# what a bundled package bundles itself.
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
# What a project's .npmrc may say that changes which tree `npm ci` makes, or whether it makes one.
_TREE_SETTINGS = (
    "bin-links",
    "engine-strict",
    "force",
    "global-style",
    "install-links",
    "install-strategy",
    "legacy-bundling",
    "legacy-peer-deps",
    "strict-peer-deps",
)
# A folder that is linked into node_modules has a name, may satisfy a range, and its bins are linked.
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
    """The files of an install, by their path in the lock's folder, and the lock's name in it."""

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
    """The package.json files and the lock, reduced to what this npm reads of them.

    The lock comes out as package-lock.json whatever it was called. `manifests` as for
    `npm_manifest.require_in_step`. Of the project's .npmrc, given as text, only settings about the
    tree remain, and no .npmrc comes out where there are none.
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
    settings = _tree_settings(project_npmrc)
    if settings:
        files[".npmrc"] = settings
    return NormalisedInstall(tuple(sorted(files.items())))


def _tree_settings(text: str) -> bytes:
    parsed = npmrc.parse(text, ".npmrc", {})
    chosen = {key: parsed[key].value for key in _TREE_SETTINGS if key in parsed}
    return "".join(f"{key}={value}\n" for key, value in chosen.items()).encode("utf-8")


def bin_files(manifest: Mapping[str, Any]) -> Tuple[str, ...]:
    """The files of a link target that npm links into .bin, if they are there at install time."""
    named = npm_package.bin_map(str(manifest.get("name", "")), manifest.get("bin"))
    return tuple(sorted({file for _, file in named}))


def _only(document: Mapping[str, Any], fields: Tuple[str, ...]) -> Dict[str, Any]:
    return {name: document[name] for name in fields if name in document}


def _lock_for_npm_7(
    document: Mapping[str, Any], lock: NpmLock, fetch_lock: FetchLock
) -> Dict[str, Any]:
    """npm 7 and later read the `packages` table alone, so that version 2 becomes version 3."""
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
    if package.kind == npm_package.BUNDLED or package.integrity is None:
        return {}
    tarball = _tarball(package)
    found = index[key(tarball.name, tarball.version, tarball.integrity)]
    address = NO_HOST + tarball_path(package.name, package.version)
    if package.kind == npm_package.REMOTE_TARBALL:
        # The address is what the dependency asks for; npm compares the two.
        address = str(entry["resolved"])
    return {"resolved": address, "integrity": str(installed_hash(tarball, found, 7))}


def _lock_for_npm_6(
    document: Mapping[str, Any], lock: NpmLock, fetch_lock: FetchLock
) -> Dict[str, Any]:
    """npm 6 writes `resolved` and `integrity` into each package.json that it installs.

    To give the tree that `npm ci` gives, both stay as they are, less any login in the address.
    """
    return {
        "lockfileVersion": 1,
        "requires": True,
        "dependencies": _nested(document.get("dependencies", {})),
    }


def _nested(dependencies: Mapping[str, Any]) -> Dict[str, Any]:
    reduced: Dict[str, Any] = {}
    for name, entry in dependencies.items():
        kept = dict(entry)
        resolved: Optional[str] = kept.get("resolved")
        if isinstance(resolved, str):
            kept["resolved"] = spec.without_login(resolved)
        if "dependencies" in kept:
            kept["dependencies"] = _nested(kept["dependencies"])
        reduced[name] = kept
    return reduced


def _tarball(package: Package) -> Tarball:
    return Tarball(package.name, package.version, package.integrity or "", None)
