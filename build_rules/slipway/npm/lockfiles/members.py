"""One member of npm workspaces: the part of their lockfile that the member needs.

npm writes one lockfile for all members, beside the package.json of the workspaces. A release contains one
member with its production packages, so that a change of another member does not change it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Sequence, Set, Tuple
from urllib.parse import unquote

from slipway.core.json_text import canonical, load_object, loads
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import inside, text_map
from slipway.npm.lockfiles.v3 import find_from

_PRODUCTION = ("dependencies", "optionalDependencies", "peerDependencies")
_ALL = (*_PRODUCTION, "devDependencies")


def members_in(text: str) -> Tuple[str, ...]:
    """The members and linked folders in the text of a lockfile, sorted; none if it is not valid."""
    try:
        document = loads(text)
    except ValueError:
        return ()
    packages = document.get("packages") if isinstance(document, dict) else None
    paths = packages if isinstance(packages, dict) else ()
    return tuple(sorted(path for path in paths if path and "node_modules" not in path.split("/")))


def lock_of_member(lock: NpmLock, member: str) -> NpmLock:
    """The lockfile without packages that neither the folder `member` nor the top folder needs.

    Dev dependencies count, also those of other members that `member` uses: they build it. The top folder
    usually has the tools of all builds. The lockfile must link the folder `member`.
    """
    document = load_object(lock.text, lock.path, next="")
    table = document["packages"]
    needed = _reachable(table, ["", member], _ALL, optional_peers=True)
    document["packages"] = {path: entry for path, entry in table.items() if path in needed}
    # Only npm 6, which has no workspaces, reads this table.
    document.pop("dependencies", None)
    return dataclasses.replace(
        lock,
        text=canonical(document).decode(),
        packages=tuple(one for one in lock.packages if one.path in needed),
        member=member,
    )


def production_of_member(lock: NpmLock) -> FrozenSet[str]:
    """The paths that the member of this lockfile needs in production.

    These are the paths of `npm ci --omit=dev --workspace=<member>`, without dev dependencies and optional
    peers of the member that npm installs because another member needs them in production.
    """
    return _production(lock, lock.member)


def needed_by_the_top(lock: NpmLock) -> FrozenSet[str]:
    """The paths that the folder of the lockfile needs in production, by its dependencies alone."""
    return _production(lock, "")


def _production(lock: NpmLock, start: str) -> FrozenSet[str]:
    table = load_object(lock.text, lock.path, next="")["packages"]
    return _reachable(table, [start], _PRODUCTION, optional_peers=False)


def _reachable(
    table: Mapping[str, Any], starts: Iterable[str], kinds: Sequence[str], *, optional_peers: bool
) -> FrozenSet[str]:
    """The paths of `starts`, of all that they depend on, and of the links to folders among these.

    `kinds` are the tables of a package.json to follow, and `optional_peers` belong to the peers.
    """
    links = {path: _target(entry) for path, entry in table.items() if entry.get("link")}
    bundled: Dict[str, List[str]] = {}
    for path, entry in table.items():
        if entry.get("inBundle"):
            bundled.setdefault(path.rpartition("/node_modules/")[0], []).append(path)
    found: Set[str] = set()
    left: List[str] = list(starts)
    while left:
        path = left.pop()
        if path in found or path not in table:
            continue
        found.add(path)
        if path in links:
            left.append(links[path])
            continue
        left.extend(bundled.get(path, ()))
        names = _names(table[path], kinds, optional_peers)
        places = (find_from(path, name, table) for name in names)
        left.extend(place for place in places if place is not None)
    return frozenset(found | {path for path, target in links.items() if target in found})


def _names(entry: Mapping[str, Any], kinds: Sequence[str], optional_peers: bool) -> Dict[str, None]:
    meta = entry.get("peerDependenciesMeta")
    facts = meta if isinstance(meta, dict) and not optional_peers else {}
    left_out = {
        name for name, one in facts.items() if isinstance(one, dict) and one.get("optional")
    }
    names: Dict[str, None] = {}
    for kind in kinds:
        own = text_map(entry.get(kind))
        skipped = left_out if kind == "peerDependencies" else frozenset()
        names.update((name, None) for name in own if name not in skipped)
    return names


def _target(link: Mapping[str, Any]) -> str:
    written = str(link.get("resolved"))
    return inside(unquote(written[5:] if written.startswith("file:") else written)) or ""
