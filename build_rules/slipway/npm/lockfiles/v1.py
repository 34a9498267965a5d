"""The nested `dependencies` tables of lockfile version 1, which npm 5 and 6 write and read.

The `version` of an entry also shows its kind: a plain version, `npm:` for an alias, `file:` for a
folder or a tarball, a URL for a remote tarball, or a git URL.
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Optional

from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.package import FaultList, Package

_WRITTEN_BY_HAND = "restore the lockfile from version control, or regenerate it"
_VERSION = re.compile(r"^[0-9A-Za-z][0-9A-Za-z.+\-]*\Z")


def packages(document: Mapping[str, Any], faults: FaultList) -> List[Package]:
    """The packages of a lockfile, parents before children; adds errors to `faults`."""
    gathered: List[Package] = []
    _gather(document, "", gathered, faults)
    return gathered


def _gather(
    table: Mapping[str, Any], folder: str, gathered: List[Package], faults: FaultList
) -> None:
    dependencies = table.get("dependencies", {})
    prefix = f"{folder}/" if folder else ""
    if not isinstance(dependencies, Mapping):
        faults.add(f"{prefix}dependencies", "is not an object", _WRITTEN_BY_HAND)
        return
    for name, entry in dependencies.items():
        path = f"{prefix}node_modules/{name}"
        if not npm_spec.is_valid_name(name):
            faults.add(path, f'"{name}" is not a valid npm package name', _WRITTEN_BY_HAND)
        elif not isinstance(entry, Mapping):
            faults.add(path, "is not an object", _WRITTEN_BY_HAND)
        else:
            package = _package(path, name, entry, faults)
            if package:
                gathered.append(package)
                # The dependencies of a link are installed in the folder that it points to.
                below = path if package.target is None else package.target
                _gather(entry, below, gathered, faults)


def _package(
    path: str, name: str, entry: Mapping[str, Any], faults: FaultList
) -> Optional[Package]:
    written = entry.get("version")
    written = written if isinstance(written, str) else ""
    spec = npm_spec.parse(written)
    kind, version = spec.kind, written
    source: Optional[str] = None
    target: Optional[str] = None
    if (
        entry.get("bundled")
        and not entry.get("integrity")
        and npm_package.is_in_another_package(path)
    ):
        kind = npm_package.BUNDLED
    elif kind == npm_package.ALIAS:
        name, version = spec.name or "", spec.target
        if not npm_spec.is_valid_name(name):
            faults.add(path, f'"{name}" is not a valid npm package name', _WRITTEN_BY_HAND)
            return None
    elif kind in (npm_package.FOLDER, npm_package.FILE_TARBALL):
        plain = npm_package.inside(spec.target)
        if plain is None:
            faults.add(path, *npm_package.leaves_the_app(written))
            return None
        version = ""
        if kind == npm_package.FOLDER:
            kind, target = npm_package.LINK, plain
        else:
            source = plain
    elif kind == npm_package.REMOTE_TARBALL:
        version, source = version_of_address(written, name), written
    elif kind == npm_package.GIT:
        version, source = "", written
    if kind in (npm_package.REGISTRY, npm_package.ALIAS) and not _VERSION.match(version):
        faults.add(path, f"has no usable version ({written!r})", _WRITTEN_BY_HAND)
        return None
    return Package(
        path=path,
        name=name,
        version=version,
        kind=kind,
        integrity=npm_package.integrity_of(entry),
        source=source,
        target=target,
        dev=bool(entry.get("dev")),
        optional=bool(entry.get("optional")),
    )


def version_of_address(address: str, name: str) -> str:
    """A version to show for a remote tarball; version 1 lockfiles have only its URL."""
    bare = re.escape(name.rpartition("/")[2])
    matched = re.search(rf"/{bare}-v?([0-9][0-9A-Za-z.\-]*?)\.(?:tgz|tar\.gz|tar)$", address)
    return matched.group(1) if matched else "0"
