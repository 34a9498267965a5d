"""Warns about scoped packages that npm would fetch from another registry than the lockfile names.

Anyone can publish `@corp/x` at a public registry if nobody owns the scope there. Without a setting that
binds the scope to its registry, a team would install the package of an attacker.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, Set
from urllib.parse import urlsplit

from slipway.core import json_text
from slipway.npm.lockfiles.package import Tarball
from slipway.npm_registry.config import Registry


def doubts(
    lock_text: str,
    tarballs: Iterable[Tarball],
    is_bound: Callable[[str], bool],
    registry_for: Callable[[str], Registry],
) -> List[str]:
    """One warning for each unbound scope that the lockfile has from a separate host.

    `is_bound` says whether a setting names the registry of a scope. If the lockfile has all packages
    from one host, there is no warning: the registry may be a mirror of that host.
    """
    hosts = _hosts(json_text.loads(lock_text))
    names: Dict[str, Set[str]] = {}
    for tarball in tarballs:
        scope, slash, _ = tarball.name.partition("/")
        if slash and scope in hosts and tarball.url is None and not is_bound(scope):
            names.setdefault(scope, set()).add(tarball.name)
    warnings = []
    for scope in sorted(names):
        registry = registry_for(min(names[scope]))
        elsewhere = sorted(hosts[scope] - hosts.get("", set()) - {registry.host})
        if elsewhere:
            warnings.append(
                f"{', '.join(sorted(names[scope]))}: fetched from the registry of {registry.source}, "
                f"but the lockfile has {scope} from {', '.join(elsewhere)}; anyone who can publish "
                f"this name at that registry controls the package. To use the other registry, add to "
                f"~/.npmrc: {scope}:registry=https://{elsewhere[0]}/"
            )
    return warnings


def _hosts(lock: Mapping[str, Any]) -> Dict[str, Set[str]]:
    """The hosts in `resolved`, by scope; the key "" has packages without a scope."""
    by_scope: Dict[str, Set[str]] = {}

    def take(name: str, entry: Mapping[str, Any]) -> None:
        scope, slash, _ = str(entry.get("name") or name).partition("/")
        scope = scope if slash else ""
        resolved = entry.get("resolved")
        if not isinstance(resolved, str):
            return
        try:
            parts = urlsplit(resolved)
        except ValueError:
            return
        if parts.scheme in ("http", "https") and parts.netloc:
            by_scope.setdefault(scope, set()).add(parts.netloc.rsplit("@", 1)[-1])

    def take_nested(dependencies: Any) -> None:
        for name, entry in dependencies.items() if isinstance(dependencies, dict) else ():
            if isinstance(entry, dict):
                take(name, entry)
                take_nested(entry.get("dependencies"))

    packages = lock.get("packages")
    for path, entry in packages.items() if isinstance(packages, dict) else ():
        if isinstance(entry, dict):
            take(path.rpartition("node_modules/")[2], entry)
    take_nested(lock.get("dependencies"))
    return by_scope
