"""Which part of a full install is what `npm ci --omit=dev` would have installed.

The release carries the production subset, hard-linked out of the full install instead of being
installed a second time; the lock's own flags say what belongs to it.
"""

from __future__ import annotations

import posixpath
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterable,
    Mapping,
    Optional,
    Set,
    Tuple,
)

from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package


def production_paths(lock: NpmLock, npm_major: int) -> FrozenSet[str]:
    """The paths of the lock that a production install has.

    Some may be absent from an install: optional packages for another system. npm 7 and later omit
    development packages only from the application's own node_modules, not from those of its
    workspaces and folders.
    """
    return frozenset(p.path for p in lock.packages if not _is_omitted(p, npm_major))


def _is_omitted(package: Package, npm_major: int) -> bool:
    if package.extraneous:
        return True
    return package.dev and (npm_major < 7 or package.path.startswith("node_modules/"))


def owner(paths: Iterable[str], file: str) -> Optional[str]:
    """The package path, among `paths`, that a file of the tree belongs to."""
    known = paths if isinstance(paths, (set, frozenset)) else set(paths)
    while file:
        if file in known:
            return file
        file = file.rpartition("/")[0]
    return None


def production_bins(
    packages: Collection[str],
    kept: Collection[str],
    npm_major: int,
    links: Mapping[str, str],
    manifest_of: Callable[[str], Mapping[str, Any]],
    is_file: Callable[[str], bool],
) -> Dict[str, str]:
    """The .bin links of the production subset: path -> link text.

    `packages` are all paths of the lock, `kept` the production ones, `links` the .bin links of the
    full install. `manifest_of` gives the installed package.json of a path, empty if there is none;
    `is_file` tells whether a path is there: npm links no bin that its package lacks.

    Where a development package and another have a bin of one name, npm 6 gives it to the other,
    as if the first had never been. npm 7 and later clear away all bin names of the packages that
    they omit, and so leave the other without its link; the subset follows them in that too.
    """
    kept = frozenset(kept)
    everything = frozenset(packages)
    found: Dict[str, str] = {}
    freed: Set[str] = set()
    for link, text in links.items():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), text))
        if owner(everything, target) in kept:
            found[link] = text
        else:
            freed.add(link)
    if npm_major >= 7:
        omitted = {path: _bins(manifest_of(path)) for path in everything - kept}
        cleared = bin_links(omitted)
        return {link: text for link, text in found.items() if link not in cleared}
    heirs = {path: _bins(manifest_of(path)) for path in kept}
    for link, text in bin_links(heirs).items():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), text))
        if link in freed and is_file(target):
            found[link] = text
    return found


def _bins(manifest: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    return npm_package.bin_map(str(manifest.get("name", "")), manifest.get("bin"))


def bin_links(bins: Mapping[str, Iterable[Tuple[str, str]]]) -> Dict[str, str]:
    """The .bin links of the packages in `bins` (path -> bin pairs): link path -> link text.

    Where two packages of one folder have a bin of the same name, the first by path has it.
    """
    links: Dict[str, str] = {}
    for path in sorted(bins):
        folder = bin_folder(path)
        if folder is None:
            continue
        inner = path[len(folder) - len(".bin") :]
        for name, file in bins[path]:
            links.setdefault(f"{folder}/{name}", f"../{inner}/{file}")
    return links


def bin_folder(path: str) -> Optional[str]:
    """Where npm links the bins of the package at `path`; None for what is in no node_modules."""
    before, slash, _ = ("/" + path).rpartition("/node_modules/")
    return f"{before}/node_modules/.bin"[1:] if slash else None
