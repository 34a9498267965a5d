"""Packages that do not support the Node of a runtime, by their field `engines`.

npm warns about them, leaves optional ones out of the tree, and fails if the project sets
`engine-strict`. Slipway says the same about its pinned Node, because users do not see npm's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from slipway.core import semver
from slipway.core.errors import SlipwayErrors
from slipway.core.printable import one_line
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles import platform
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package
from slipway.npm_registry import npmrc

_MOST_NAMED = 20


@dataclass(frozen=True)
class Engines:
    """The versions of Node and npm that install an application; without an npm, `npm` is empty."""

    node: str
    npm: str

    def rejected_by(self, ranges: Mapping[str, str]) -> Dict[str, str]:
        """The entries of `engines` that exclude these versions."""
        versions = {"node": self.node, "npm": self.npm}
        return {
            engine: ranges[engine]
            # npm accepts a prerelease if its release is in the range.
            for engine, version in versions.items()
            if version
            and ranges.get(engine)
            and semver.satisfies(version.partition("-")[0], ranges[engine]) is False
        }


def warning(
    lock: NpmLock,
    manifests: Mapping[str, Mapping[str, Any]],
    engines: Engines,
    absent: Collection[str],
) -> Optional[str]:
    """A text about packages that do not support these engines; None if all do.

    `manifests` are the package.json files of the application and of its linked folders, by path.
    `absent` are the paths of packages in the lockfile that npm did not install. Version 1 lockfiles do
    not list the engines of packages.
    """
    used = [
        _line(label, rejected["node"])
        for label, package, rejected in _unsupported(lock, manifests, engines)
        if "node" in rejected and (package is None or package.path not in absent)
    ]
    left_out = [
        _line(label, " and ".join(f"{engine} {wanted}" for engine, wanted in rejected.items()))
        for label, package, rejected in _unsupported(lock, manifests, engines)
        if package and package.optional and package.path in absent and platform.fits(package)
    ]
    blocks = []
    if used:
        blocks += [f"Node {engines.node} is not in engines.node of these packages:", *_some(used)]
    if left_out:
        versions = f"Node {engines.node} or npm {engines.npm}"
        head = f"npm left out these optional packages, whose engines exclude {versions}:"
        blocks += [head, *_some(left_out)]
    return "\n".join(blocks) or None


def refuse_if_strict(
    lock: NpmLock,
    manifests: Mapping[str, Mapping[str, Any]],
    engines: Engines,
    project_npmrc: str,
    origin: str,
) -> None:
    """Raises SlipwayErrors for the packages that npm rejects with the setting `engine-strict`."""
    path = f"{lock.folder}/.npmrc".lstrip("/")
    settings = npmrc.parse(project_npmrc, path, {})
    strict, force = settings.get("engine-strict"), settings.get("force")
    if not strict or strict.value != "true":
        return
    forced = force is not None and force.value == "true"
    rejecting = [
        (label, package, "node" if "node" in rejected else "npm", rejected)
        for label, package, rejected in _unsupported(lock, manifests, engines)
        if not (package and package.optional) and not (forced and "npm" not in rejected)
    ]
    if not rejecting:
        return
    # A package that package.json names is the one that a user can change.
    label, package, engine, rejected = min(
        rejecting, key=lambda found: not _is_named(found[1], manifests)
    )
    wanted = one_line(rejected[engine])
    other = f"correct engines in {label}"
    if package is not None:
        known = f"{engine} {engines.node if engine == 'node' else engines.npm}"
        other = f"depend on a version of {package.name} that supports {known}"
        if not _is_named(package, manifests):
            enter = f"cd {lock.folder} && " if lock.folder else ""
            other += f"; what depends on it: {enter}npm ls --package-lock-only {package.name}"
    raise SlipwayErrors(
        f"packages do not support Node {engines.node} and npm {engines.npm}, and engine-strict=true "
        "rejects them",
        _some(
            _line(label, " and ".join(f"{name} {wanted}" for name, wanted in rejected.items()))
            for label, _, _, rejected in rejecting
        ),
        where=f"{origin}, field runtime, and {strict.source}",
        next=f'set runtime to a node_runtime with {engine} "{wanted}"\nor {other}\n'
        f"or remove engine-strict from {path}",
    )


def _unsupported(
    lock: NpmLock, manifests: Mapping[str, Mapping[str, Any]], engines: Engines
) -> Iterator[Tuple[str, Optional[Package], Mapping[str, str]]]:
    """Labels, packages, and the entries of `engines` that exclude these versions."""
    for path, manifest in manifests.items():
        rejected = engines.rejected_by(npm_package.text_map(manifest.get("engines")))
        if rejected:
            yield f"{lock.folder}/{path}".lstrip("/"), None, rejected
    for package in lock.packages:
        # Links and their folders are among the manifests.
        if package.in_node_modules and package.kind != npm_package.LINK:
            rejected = engines.rejected_by(dict(package.engines))
            if rejected:
                dev = " (dev)" if package.dev else ""
                yield f"{package.name}@{package.version}{dev}", package, rejected


def _is_named(package: Optional[Package], manifests: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a package.json of the application names the package."""
    return package is None or any(
        package.path.endswith(f"node_modules/{name}")
        for manifest in manifests.values()
        for kind in ("dependencies", "devDependencies", "peerDependencies")
        for name in npm_package.text_map(manifest.get(kind))
    )


def _line(label: str, wanted: str) -> str:
    return one_line(f"{label}: {wanted}")


def _some(lines: Iterable[str]) -> List[str]:
    """Each line once, because several paths can have one package; at most 20."""
    distinct = sorted(set(lines))
    more = len(distinct) - _MOST_NAMED
    return distinct[:_MOST_NAMED] + ([f"… and {more} more"] if more > 0 else [])
