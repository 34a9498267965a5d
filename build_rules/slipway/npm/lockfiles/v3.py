"""The table `packages` of lockfile versions 2 and 3.

It has one entry per path; a link and its target are separate entries.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional
from urllib.parse import unquote

from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles.package import FaultList, Package

_WRITTEN_BY_HAND = "restore the lockfile from version control, or regenerate it"
_REMOTE = re.compile(r"^https?://", re.IGNORECASE)


def packages(document: Mapping[str, Any], faults: FaultList) -> List[Package]:
    """The packages of a lockfile in its order; adds errors to `faults`."""
    table = document.get("packages")
    if not isinstance(table, Mapping) or not isinstance(table.get(""), Mapping):
        faults.add("packages", 'has no "packages" table with an entry ""', _WRITTEN_BY_HAND)
        return []
    workspaces = _workspace_folders(table)
    remote = _addresses(table)
    gathered: List[Package] = []
    for path, entry in table.items():
        if path == "":
            continue
        if not isinstance(entry, Mapping):
            faults.add(path, "is not an object", _WRITTEN_BY_HAND)
        elif _check_path(path, table, faults):
            package = _package(path, entry, table, workspaces, remote, faults)
            if package:
                gathered.append(package)
    return gathered


def find_from(folder: str, name: str, table: Mapping[str, Any]) -> Optional[str]:
    """The path at which Node finds `name` from `folder`, among the paths of a lockfile."""
    segments = folder.split("/") if folder else []
    for length in range(len(segments), -1, -1):
        if length and segments[length - 1] == "node_modules":
            continue
        path = "/".join(segments[:length] + ["node_modules", name])
        if path in table:
            return path
    return None


def _check_path(path: str, table: Mapping[str, Any], faults: FaultList) -> bool:
    reason = npm_package.bad_path(path)
    if reason:
        if path.startswith("../") and "node_modules" not in path:
            faults.add(path, *npm_package.leaves_the_app(path))
        else:
            faults.add(path, reason, _WRITTEN_BY_HAND)
        return False
    if path.rpartition("/")[2] == "node_modules":
        faults.add(path, "does not name a package", _WRITTEN_BY_HAND)
        return False
    parts = ("/" + path).split("/node_modules/")
    for name in parts[1:]:
        if not npm_spec.is_valid_name(name):
            faults.add(path, f'"{name}" is not a valid npm package name', _WRITTEN_BY_HAND)
            return False
    for end in range(2, len(parts)):
        above = "/node_modules/".join(parts[:end])[1:]
        entry = table.get(above)
        if isinstance(entry, Mapping) and entry.get("link"):
            faults.add(path, f'is inside the link "{above}"', _WRITTEN_BY_HAND)
            return False
    return True


def _package(
    path: str,
    entry: Mapping[str, Any],
    table: Mapping[str, Any],
    workspaces: Mapping[str, None],
    remote: Mapping[str, str],
    faults: FaultList,
) -> Optional[Package]:
    resolved = entry.get("resolved")
    resolved = resolved if isinstance(resolved, str) else None
    in_node_modules = "node_modules" in path.split("/")
    folder_name = ("/" + path).rpartition("/node_modules/")[2].lstrip("/")
    name = entry.get("name")
    if not isinstance(name, str):
        name = folder_name if in_node_modules else path.rpartition("/")[2]
    if not npm_spec.is_valid_name(name):
        faults.add(path, f'"{name}" is not a valid npm package name', _WRITTEN_BY_HAND)
        return None
    kind, source, target = npm_package.REGISTRY, None, None
    if entry.get("link"):
        kind = npm_package.LINK
        target = _link_target(path, resolved, table, faults)
        if target is None:
            return None
        pointed = table.get(target)
        entry = dict(pointed if isinstance(pointed, Mapping) else {}, bin=None)
        name = str(entry.get("name") or folder_name)
    elif not in_node_modules:
        kind = npm_package.WORKSPACE if path in workspaces else npm_package.FOLDER
    elif (
        entry.get("inBundle")
        and not entry.get("integrity")
        and npm_package.is_in_another_package(path)
    ):
        # Packages that the application itself bundles are fetched as usual.
        kind = npm_package.BUNDLED
    elif resolved and npm_spec.parse(resolved).kind == npm_package.GIT:
        kind, source = npm_package.GIT, resolved
    elif resolved and resolved.lower().startswith("file:"):
        kind = npm_package.FILE_TARBALL
        source = npm_package.inside(unquote(resolved[5:]))
        if source is None:
            faults.add(path, *npm_package.leaves_the_app(resolved))
            return None
    elif path in remote and resolved and _REMOTE.match(resolved):
        kind, source = npm_package.REMOTE_TARBALL, resolved
    elif in_node_modules and name != folder_name:
        kind = npm_package.ALIAS
    version = entry.get("version")
    version = version if isinstance(version, str) else ""
    if kind in (
        npm_package.REGISTRY,
        npm_package.ALIAS,
        npm_package.REMOTE_TARBALL,
    ) and not _is_word(version):
        _add_version_fault(path, version, bool(entry.get("optional")), faults)
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
        dev_optional=bool(entry.get("devOptional")),
        peer=bool(entry.get("peer")),
        extraneous=bool(entry.get("extraneous")),
        has_install_script=bool(entry.get("hasInstallScript")) and kind != npm_package.LINK,
        os=npm_package.text_list(entry.get("os")),
        cpu=npm_package.text_list(entry.get("cpu")),
        libc=npm_package.text_list(entry.get("libc")),
        engines=tuple(sorted(npm_package.text_map(entry.get("engines")).items())),
        bin=npm_package.bin_map(name, entry.get("bin")),
    )


def _add_version_fault(path: str, version: str, optional: bool, faults: FaultList) -> None:
    if optional and not version:
        # npm 11 writes such entries for packages of other systems (npm/cli#9342, #9846).
        faults.add(path, "is an optional package without a version", faults.without_entry(path))
    else:
        faults.add(path, f"has no usable version ({version!r})", _WRITTEN_BY_HAND)


def _is_word(version: str) -> bool:
    # The version becomes a column of the fetch lock and part of a URL.
    return bool(re.match(r"^[0-9A-Za-z][0-9A-Za-z.+\-]*\Z", version))


def _link_target(
    path: str, resolved: Optional[str], table: Mapping[str, Any], faults: FaultList
) -> Optional[str]:
    if resolved is None:
        faults.add(path, "is a link without a target", _WRITTEN_BY_HAND)
        return None
    written = resolved[5:] if resolved.startswith("file:") else resolved
    target = npm_package.inside(unquote(written) if "%" in written else written)
    if target is None:
        faults.add(path, *npm_package.leaves_the_app(resolved))
        return None
    if "node_modules" in target.split("/"):
        faults.add(path, f'links into node_modules ("{target}")', _WRITTEN_BY_HAND)
        return None
    if target not in table:
        faults.add(path, f'links to "{target}", which has no entry', _WRITTEN_BY_HAND)
        return None
    return target


def _workspace_folders(table: Mapping[str, Any]) -> Dict[str, None]:
    """Folders that are linked as a workspace, and not through a `file:` dependency."""
    root = table[""]
    if not root.get("workspaces"):
        return {}
    by_file = set()
    for path, entry in table.items():
        for name, spec in _dependencies(entry).items():
            parsed = npm_spec.parse(spec)
            if parsed.kind == npm_spec.FOLDER:
                place = find_from(path, name, table)
                if place:
                    by_file.add(str(table[place].get("resolved")))
    return {
        str(entry.get("resolved")): None
        for entry in table.values()
        if isinstance(entry, Mapping)
        and entry.get("link")
        and str(entry.get("resolved")) not in by_file
    }


def _addresses(table: Mapping[str, Any]) -> Dict[str, str]:
    """Paths of packages that a dependency requests by URL instead of a version range."""
    by_path: Dict[str, str] = {}
    for path, entry in table.items():
        for name, spec in _dependencies(entry).items():
            if not _REMOTE.match(spec) or npm_spec.parse(spec).kind != npm_spec.REMOTE_TARBALL:
                continue
            target = find_from(path, name, table)
            if target:
                by_path[target] = spec
    return by_path


def _dependencies(entry: Any) -> Dict[str, str]:
    if not isinstance(entry, Mapping):
        return {}
    specs: Dict[str, str] = {}
    for kind in ("peerDependencies", "devDependencies", "dependencies", "optionalDependencies"):
        specs.update(npm_package.text_map(entry.get(kind)))
    return specs
