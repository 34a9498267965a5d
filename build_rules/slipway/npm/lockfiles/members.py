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
    needed = _reachable(table, ["", member], _ALL)
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

    These are the paths of `npm ci --omit=dev --workspace=<member>`, without dev dependencies of the member
    that npm installs because another member needs them in production.
    """
    table = load_object(lock.text, lock.path, next="")["packages"]
    return _reachable(table, [lock.member], _PRODUCTION)


def _reachable(
    table: Mapping[str, Any], starts: Iterable[str], kinds: Sequence[str]
) -> FrozenSet[str]:
    """The paths of `starts`, of all that they depend on, and of the links to folders among these.

    `kinds` are the tables of a package.json to follow.
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
        names = {name: None for kind in kinds for name in text_map(table[path].get(kind))}
        places = (find_from(path, name, table) for name in names)
        left.extend(place for place in places if place is not None)
    return frozenset(found | {path for path, target in links.items() if target in found})


def _target(link: Mapping[str, Any]) -> str:
    written = str(link.get("resolved"))
    return inside(unquote(written[5:] if written.startswith("file:") else written)) or ""
