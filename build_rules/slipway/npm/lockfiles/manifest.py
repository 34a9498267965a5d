"""Whether a lockfile is up to date with its package.json files.

npm checks this too, but only after Slipway has fetched everything. Slipway also selects production
packages by the lockfile's flags, which are only right if both files agree. Like npm, this check accepts
an edited range if the locked version still satisfies it.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional

from slipway.core import semver
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.json_text import load_object
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import spec as npm_spec
from slipway.npm.lockfiles import swapped
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package
from slipway.npm.lockfiles.v3 import find_from

_KINDS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")


def load(text: str, path: str) -> Dict[str, Any]:
    """The package.json in `text`."""
    return load_object(text, path, next=f"correct {path}")


def dependencies(manifest: Mapping[str, Any]) -> Dict[str, Dict[str, str]]:
    """The dependency tables of a package.json.

    As in npm, an optional dependency counts only in `optionalDependencies`.
    """
    tables = {kind: npm_package.text_map(manifest.get(kind)) for kind in _KINDS}
    for name in tables["optionalDependencies"]:
        tables["dependencies"].pop(name, None)
    return tables


def workspaces(manifest: Mapping[str, Any]) -> List[str]:
    """The patterns of the `workspaces` field, which is a list or a table with `packages`."""
    value = manifest.get("workspaces")
    if isinstance(value, Mapping):
        value = value.get("packages")
    return list(npm_package.text_list(value)) if isinstance(value, list) else []


def require_in_step(lock: NpmLock, manifests: Mapping[str, str]) -> None:
    """Raises SlipwayErrors with all differences between the lockfile and the package.json files.

    `manifests` has the text of each of `lock.manifests`, by path relative to the lockfile's folder.
    """
    prefix = f"{lock.folder}/" if lock.folder else ""
    missing = [path for path in lock.manifests if path not in manifests]
    if missing:
        raise SlipwayErrors(
            f'package.json files of the lockfile "{lock.path}" are missing',
            [f"{prefix}{path}" for path in missing],
            where=lock.path,
            next=npm_lock.rewrite_lock(lock.path),
        )
    parsed = {path: load(manifests[path], prefix + path) for path in lock.manifests}
    reasons = _reasons_v1(lock, parsed) if lock.version == 1 else _reasons_v3(lock, parsed)
    swaps = swapped.find(lock, parsed)
    # A reason for a changed specifier of the same dependency only repeats the swap.
    reasons = [
        reason
        for reason in reasons
        if not any(swap.reason.startswith(f"{reason.rpartition(': ')[0]}: ") for swap in swaps)
    ]
    if reasons or swaps:
        ways_out = [npm_lock.rewrite_lock(lock.path)] if reasons else []
        raise SlipwayErrors(
            f'the lockfile "{lock.path}" is out of date with package.json',
            [*reasons, *(swap.reason for swap in swaps)],
            where=lock.path,
            next="\n".join(dict.fromkeys([*ways_out, *(swap.next for swap in swaps)])),
        )


def require_npm(lock: NpmLock, npm_version: str) -> None:
    """Raises SlipwayError if this npm version cannot install this lockfile offline."""
    major = npm_major(npm_version)
    if lock.version == 1 and major >= 7:
        raise SlipwayError(
            f'npm {npm_version} cannot install the version 1 lockfile "{lock.path}" offline '
            "(it would query the registry for data that is not in the lockfile)",
            where=f"{lock.path}: lockfileVersion",
            found="1",
            next=f"{npm_lock.rewrite_lock(lock.path)} --lockfile-version=3\n"
            'or set npm_version = "6.14.18" on the runtime',
        )
    if lock.version == 3 and major < 7:
        raise SlipwayError(
            f'npm {npm_version} cannot read the version 3 lockfile "{lock.path}"',
            where=f"{lock.path}: lockfileVersion",
            found="3",
            next=f"{npm_lock.rewrite_lock(lock.path)} --lockfile-version=1\n"
            'or set npm_version = "8.19.4" on the runtime',
        )
    if (
        lock.version == 2
        and major < 7
        and any(p.kind == npm_package.WORKSPACE for p in lock.packages)
    ):
        raise SlipwayError(
            f'npm {npm_version} does not support the workspaces in the lockfile "{lock.path}"',
            where=f"{lock.path}: packages",
            found=", ".join(p.path for p in lock.packages if p.kind == npm_package.WORKSPACE),
            next='set npm_version = "8.19.4" on the runtime',
        )
    if lock.version == 2 and major < 7:
        npm_lock.require_equal_tables(lock)


def npm_major(version: str) -> int:
    return int(version.split(".", 1)[0])


def _reasons_v3(lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]]) -> List[str]:
    table = load_object(lock.text, lock.path, next="")["packages"]
    places = {package.path: package for package in lock.packages}
    reasons: List[str] = []
    for path, manifest in manifests.items():
        folder = path.rpartition("/")[0]
        entry = table[folder]
        locked, wanted = dependencies(entry), dependencies(manifest)
        for kind in _KINDS:
            for name, spec in wanted[kind].items():
                if name not in locked[kind]:
                    elsewhere = [k for k in _KINDS if name in locked[k] and name not in wanted[k]]
                    locked_as = (
                        f"the lockfile has it in {elsewhere[0]}"
                        if elsewhere
                        else "missing from the lockfile"
                    )
                    reasons.append(f"{path}: {kind}: {name} {spec}: {locked_as}")
                elif locked[kind][name] != spec:
                    place = find_from(folder, name, places)
                    verdict = _fits(places[place], spec, folder) if place else False
                    if verdict is False:
                        reasons.append(
                            f"{path}: {kind}: {name} {spec}: the lockfile was made for "
                            f"{locked[kind][name]}"
                        )
            for name in locked[kind]:
                if all(name not in wanted[other] for other in _KINDS):
                    reasons.append(f"{path}: {kind}: {name}: only in the lockfile")
    reasons.extend(_reasons_of_overrides(lock, manifests["package.json"]))
    if sorted(workspaces(manifests["package.json"])) != sorted(workspaces(table[""])):
        reasons.append(
            f"package.json: workspaces {workspaces(manifests['package.json'])}: the lockfile was "
            f"made for {workspaces(table[''])}"
        )
    return reasons


def _reasons_of_overrides(lock: NpmLock, root: Mapping[str, Any]) -> Iterator[str]:
    """Locked versions that the overrides of package.json exclude.

    The lockfile does not record overrides, so npm keeps the versions of an older lockfile until an
    install (npm/cli#4942). Only overrides of a package everywhere are compared; npm compares all.
    """
    overrides = root.get("overrides")
    for name, value in overrides.items() if isinstance(overrides, Mapping) else ():
        wanted = value.get(".") if isinstance(value, Mapping) else value
        if not isinstance(wanted, str) or "@" in name[1:] or wanted.startswith("$"):
            continue
        spec = npm_spec.parse(wanted)
        for package in lock.packages:
            at_name = package.path.endswith(f"node_modules/{name}")
            if not at_name or package.kind != npm_package.REGISTRY:
                continue
            if spec.kind == npm_spec.REGISTRY and _allows(spec.target, package.version) is False:
                yield (
                    f"package.json: overrides: {name} {wanted}: the lockfile has {_shown(package)} "
                    f"in {package.path}"
                )


def _reasons_v1(lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]]) -> List[str]:
    """A version 1 lockfile records only the resolved versions, not the requested ranges."""
    places = {package.path: package for package in lock.packages}
    tables = dependencies(manifests["package.json"])
    reasons: List[str] = []
    for kind in _KINDS[:3]:
        for name, spec in tables[kind].items():
            locked = places.get(f"node_modules/{name}")
            if locked is None:
                if kind != "optionalDependencies":
                    reasons.append(
                        f"package.json: {kind}: {name} {spec}: missing from the lockfile"
                    )
            elif _fits(locked, spec, "") is False:
                reasons.append(
                    f"package.json: {kind}: {name} {spec}: the lockfile has {_shown(locked)}"
                )
            elif kind == "dependencies" and locked.dev:
                reasons.append(
                    f"package.json: {kind}: {name}: the lockfile has it only as dev dependency"
                )
    return reasons


def _fits(package: Package, spec: str, folder: str) -> Optional[bool]:
    """Whether a locked package satisfies a specifier; None if only npm can decide."""
    wanted = npm_spec.parse(spec)
    if wanted.kind == npm_spec.REGISTRY:
        if package.kind in (npm_package.LINK, npm_package.BUNDLED):
            # npm uses a workspace for a range that the version in its package.json satisfies.
            return None
        return package.kind == npm_package.REGISTRY and _allows(wanted.target, package.version)
    if wanted.kind == npm_spec.ALIAS:
        return package.name == wanted.name and _allows(wanted.target, package.version)
    expected = {
        npm_spec.FILE_TARBALL: (npm_package.FILE_TARBALL, package.source),
        npm_spec.FOLDER: (npm_package.LINK, package.target),
        npm_spec.REMOTE_TARBALL: (npm_package.REMOTE_TARBALL, package.source),
    }.get(wanted.kind)
    if expected is None:
        return None
    is_remote = wanted.kind == npm_spec.REMOTE_TARBALL
    target = wanted.target if is_remote else _below(folder, wanted.target)
    return (package.kind, target) == expected


def _below(folder: str, path: str) -> Optional[str]:
    return npm_package.inside(f"{folder}/{path}" if folder else path)


def _allows(spec: str, version: str) -> Optional[bool]:
    if spec.strip() in ("", "*", "x", "X", "latest"):
        return None
    return semver.satisfies(version, spec)


def _shown(package: Package) -> str:
    if package.kind == npm_package.LINK:
        return f"file:{package.target}"
    return package.source or f"{package.name}@{package.version}"
