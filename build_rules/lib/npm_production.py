"""Which part of a full install is what `npm ci --omit=dev` would have installed.

The release carries the production subset, hard-linked out of the full install instead of being
installed a second time; the lock's own flags say what belongs to it.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple

from build_rules.lib.npm_lock import NpmLock


def production_paths(lock: NpmLock) -> FrozenSet[str]:
    """The paths of the lock that are not for development only.

    Some may be absent from an install: optional packages for another system.
    """
    return frozenset(p.path for p in lock.packages if not p.dev and not p.extraneous)


def owner(paths: Iterable[str], file: str) -> Optional[str]:
    """The package path, among `paths`, that a file of the tree belongs to."""
    known = paths if isinstance(paths, (set, frozenset)) else set(paths)
    while file:
        if file in known:
            return file
        file = file.rpartition("/")[0]
    return None


def bin_folder(path: str) -> Optional[str]:
    """Where npm links the bins of the package at `path`; None for what is in no node_modules."""
    before, slash, _ = ("/" + path).rpartition("/node_modules/")
    return f"{before}/node_modules/.bin"[1:] if slash else None


def bin_links(bins: Mapping[str, Iterable[Tuple[str, str]]]) -> Dict[str, str]:
    """The .bin links of the packages in `bins` (path -> bin pairs): link path -> link text.

    Where two packages of one folder have a bin of the same name, the first by path keeps it, as
    in npm 7 and later.
    """
    links: Dict[str, str] = {}
    for path in sorted(bins, key=_npm_order):
        folder = bin_folder(path)
        if folder is None:
            continue
        inner = path[len(folder) - len(".bin") :]
        for name, file in bins[path]:
            links.setdefault(f"{folder}/{name}", f"../{inner}/{file}")
    return links


def _npm_order(path: str) -> Tuple[int, List[str]]:
    return path.count("node_modules/"), path.lower().split("/")
