"""The part of a full install that `npm ci --omit=dev` would have installed.

A release contains this production subset. Slipway takes it from the full install instead of installing
a second time. The flags in the lockfile define the subset.
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

from slipway.npm.lockfiles import members
from slipway.npm.lockfiles import package as npm_package
from slipway.npm.lockfiles.lock import NpmLock
from slipway.npm.lockfiles.package import Package

_MOST_NAMED = 10


def production_paths(lock: NpmLock, npm_major: int) -> FrozenSet[str]:
    """The paths of the lockfile that a production install has.

    Optional packages for another system may still be absent from an install. npm 7 and later omit dev
    dependencies only from the application's own node_modules, not from those of its workspaces and
    folders. The lockfile of a member of workspaces gives the paths that this member needs.
    """
    if lock.member:
        return members.production_of_member(lock)
    kept = frozenset(p.path for p in lock.packages if not _is_omitted(p, npm_major))
    return kept | frozenset(p.path for p in marked_as_dev(lock))


def marked_as_dev(lock: NpmLock) -> Tuple[Package, ...]:
    """Packages that production packages need, although the lockfile marks them as dev dependencies.

    Some versions of npm left such marks. npm 11 installs these packages, and npm 8 does not; a release
    without them would not work.
    """
    if lock.version == 1:
        return ()
    marked = [one for one in lock.packages if one.dev and not one.extraneous]
    if not marked:
        return ()
    needed = members.needed_by_the_top(lock)
    return tuple(one for one in marked if one.path in needed)


def marked_as_dev_warning(lock: NpmLock) -> str:
    """What to say about `marked_as_dev`; empty without such packages."""
    found = [] if lock.member else [f"{one.name}@{one.version}" for one in marked_as_dev(lock)]
    if not found:
        return ""
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return (
        f"{lock.path} marks packages as dev dependencies that production packages need; the release "
        f"contains them: {', '.join(found[:_MOST_NAMED])}{more}\n"
        "next: let npm 11 or later write the lockfile: npm install --package-lock-only"
    )


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
    """The .bin links of the production subset: path -> link target.

    `packages` are all paths of the lockfile, `kept` are the production paths, and `links` are the .bin
    links of the full install. `manifest_of` returns the installed package.json of a path, or an empty
    mapping. `is_file` says whether a path exists: npm creates no link to a bin that is missing from its
    package.

    If a dev dependency and a production package have a bin with the same name, npm 6 links the bin of
    the production package. npm 7 and later remove all bin names of the packages that they omit, so the
    production package has no link. The subset follows both.
    """
    kept = frozenset(kept)
    everything = frozenset(packages)
    bins_of_subset: Dict[str, str] = {}
    freed: Set[str] = set()
    for link, text in links.items():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), text))
        if owner(everything, target) in kept:
            bins_of_subset[link] = text
        else:
            freed.add(link)
    if npm_major >= 7:
        omitted = {path: _bins(manifest_of(path)) for path in everything - kept}
        cleared = bin_links(omitted)
        return {link: text for link, text in bins_of_subset.items() if link not in cleared}
    heirs = {path: _bins(manifest_of(path)) for path in kept}
    for link, text in bin_links(heirs).items():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), text))
        if link in freed and is_file(target):
            bins_of_subset[link] = text
    return bins_of_subset


def _bins(manifest: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    return npm_package.bin_map(str(manifest.get("name", "")), manifest.get("bin"))


def bin_links(bins: Mapping[str, Iterable[Tuple[str, str]]]) -> Dict[str, str]:
    """The .bin links of the packages in `bins` (path -> bin pairs): link path -> link target.

    If two packages in one folder have a bin with the same name, the first by path gets the link.
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
    """The folder of .bin links for the package at `path`; None outside of node_modules."""
    before, slash, _ = ("/" + path).rpartition("/node_modules/")
    return f"{before}/node_modules/.bin"[1:] if slash else None
