"""Dependencies for which a lockfile still has the package of another name or source.

npm compares an alias only by version: after `"once": "^1.4.0"` became `"once": "npm:other@^1.0.0"`, it
keeps the package once@1.4.0 in the lockfile and records the new specifier. The release would contain
another package than package.json names. The same holds for a dependency that was a `file:` before.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Set, Tuple

from slipway.core.json_text import load_object
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package
from slipway.npm.lockfiles.v3 import find_from

_KINDS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_LOCAL = (npm_spec.FOLDER, npm_spec.FILE_TARBALL)


@dataclass(frozen=True)
class Dependency:
    """A dependency of the package at `folder`, with the package that the lockfile has for it.

    `kind` is the name of the table in package.json, or `requires` in a version 1 lockfile.
    """

    folder: str
    kind: str
    name: str
    spec: str
    package: Package

    @property
    def is_of_application(self) -> bool:
        return self.folder == ""


@dataclass(frozen=True)
class Swap:
    """A dependency with the wrong package: the reason, and what to do about it."""

    reason: str
    next: str


def find(lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]]) -> List[Swap]:
    """The dependencies with another package than their specifier names.

    `manifests` are the package.json files of the application and of its linked folders, by path.
    """
    dependencies = list(_dependencies(lock, manifests))
    named: Dict[str, Set[Tuple[str, str]]] = {}
    for dependency in dependencies:
        spec = npm_spec.parse(dependency.spec)
        named.setdefault(dependency.package.path, set()).add((spec.kind, spec.name or ""))
    places = {package.path: package for package in lock.packages}
    overridden = set(_overridden(manifests["package.json"].get("overrides")))
    return [
        _swap(dependency, lock, manifests["package.json"])
        for dependency in dependencies
        if _is_swapped(dependency, named[dependency.package.path], places)
        # An override may name another package than the specifier.
        and (dependency.is_of_application or dependency.name not in overridden)
    ]


def _is_swapped(
    dependency: Dependency, named: Set[Tuple[str, str]], places: Mapping[str, Package]
) -> bool:
    spec, package = npm_spec.parse(dependency.spec), dependency.package
    if spec.kind not in (npm_spec.REGISTRY, npm_spec.ALIAS):
        return False
    if package.kind in (npm_package.FILE_TARBALL, npm_package.LINK):
        # npm also uses a workspace, and what another dependency has from a folder.
        target = places.get(package.target or "")
        is_workspace = target is not None and target.kind == npm_package.WORKSPACE
        return (
            dependency.is_of_application
            and not is_workspace
            and not any(kind in _LOCAL for kind, _ in named)
        )
    if package.kind not in (npm_package.REGISTRY, npm_package.ALIAS):
        return False
    if spec.kind == npm_spec.ALIAS:
        return package.name != spec.name
    if package.kind == npm_package.REGISTRY:
        return False
    # npm gives the alias of one package to others that depend on a plain range, such as
    # preact/compat in place of react.
    return dependency.is_of_application or (npm_spec.ALIAS, package.name) not in named


def _swap(dependency: Dependency, lock: NpmLock, root: Mapping[str, Any]) -> Swap:
    package = dependency.package
    manifest = f"{dependency.folder}/package.json".lstrip("/")
    at = dependency.folder if _is_installed(dependency.folder) else manifest
    local = f"file:{package.source or package.target}"
    is_local = package.kind in (npm_package.FILE_TARBALL, npm_package.LINK)
    reason = (
        f"{at}: {dependency.kind}: {dependency.name} {dependency.spec}: the lockfile has "
        f"{local if is_local else f'{package.name}@{package.version}'} in {package.path}"
    )
    rewrite = npm_lock.rewrite_lock(lock.path)
    if dependency.is_of_application and dependency.kind != "peerDependencies":
        wanted = shlex.quote(f"{dependency.name}@{dependency.spec.strip()}")
        command, shrinkwrap, more = rewrite.partition(" && npm shrinkwrap")
        return Swap(reason, f"{command} {wanted}{shrinkwrap}{more}")
    if package.path == f"node_modules/{dependency.name}" and any(
        dependency.name in npm_package.text_map(root.get(kind)) for kind in _KINDS
    ):
        # npm would choose the application's package again: its version fits.
        return Swap(
            reason,
            f'npm uses the application\'s dependency "{dependency.name}" for it; give that '
            f'dependency another name in package.json: "<name>": "npm:{package.name}@<range>"\n'
            f"and run: {rewrite}",
        )
    return Swap(reason, f'remove the entry "{package.path}" from {lock.path}, and run: {rewrite}')


def _is_installed(folder: str) -> bool:
    return "node_modules" in folder.split("/")


def _dependencies(
    lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]]
) -> Iterator[Dependency]:
    """All dependencies that the lockfile has a package for."""
    places = {package.path: package for package in lock.packages}
    for folder, tables in _tables(lock, manifests):
        for kind, table in tables.items():
            for name, spec in npm_package.text_map(table).items():
                place = find_from(folder, name, places)
                if place is not None:
                    yield Dependency(folder, kind, name, spec, places[place])


def _tables(
    lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]]
) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    """The tables of dependencies, by name, of each folder and package."""
    for path, manifest in manifests.items():
        yield path.rpartition("/")[0], {kind: manifest.get(kind) for kind in _KINDS}
    document = load_object(lock.text, lock.path, next="")
    if lock.version == 1:
        yield from _tables_of_version_1(document, "")
        return
    for path, entry in document["packages"].items():
        if _is_installed(path):
            # The lockfile lists dev dependencies of packages, but npm does not install them.
            yield path, {kind: entry.get(kind) for kind in _KINDS if kind != "devDependencies"}


def _tables_of_version_1(
    table: Mapping[str, Any], folder: str
) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    for name, entry in table.get("dependencies", {}).items():
        path = f"{folder}/node_modules/{name}".lstrip("/")
        spec = npm_spec.parse(str(entry.get("version", "")))
        if spec.kind == npm_spec.FOLDER:
            path = npm_package.inside(spec.target) or ""
        elif entry.get("requires"):
            yield path, {"requires": entry["requires"]}
        yield from _tables_of_version_1(entry, path)


def _overridden(overrides: Any) -> Iterable[str]:
    """The names of packages in the `overrides` of package.json, at any depth."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            at = key.find("@", 1)
            yield key if at < 0 else key[:at]
            yield from _overridden(value)
