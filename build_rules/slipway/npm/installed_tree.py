"""The tree that npm installed: all files, the production subset, and the size of each package."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import (
    Any,
    Collection,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
)

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core.json_text import loads
from slipway.npm.install_report import InstalledPackage
from slipway.npm.lockfiles.package import bin_map
from slipway.npm.lockfiles.production import bin_folder, owner, production_bins
from slipway.step import left_files
from slipway.step.left_files import NotAFile

# npm's record of the installed tree, and caches of tools: neither belongs to a package.
_LEFT_OUT = ("node_modules/.package-lock.json", "node_modules/.cache")


@dataclass(frozen=True)
class LockedPackage:
    """A package in the lockfile.

    A version 1 lockfile has no version for tarballs in the application's folder.
    """

    name: str
    version: Optional[str] = None


class InstalledTree:
    """The `node_modules` folders below `top`, which must not change any more.

    `packages` maps the paths in the lockfile to the `name` and `version` of each package.
    """

    def __init__(self, top: str, packages: Mapping[str, LockedPackage]) -> None:
        self._top = top
        self._packages = packages
        self._manifests: Optional[Dict[str, Dict[str, Any]]] = None

    def entries(self) -> List[Entry]:
        """Files and symlinks in all `node_modules` folders, without npm's own record."""
        return [
            entry
            for entry in layers.walk(self._top, keep=lambda path: path not in _LEFT_OUT)
            if entry.kind != "folder" and "node_modules" in entry.name.split("/")
        ]

    def production(
        self, entries: Iterable[Entry], paths: FrozenSet[str], npm_major: int
    ) -> List[Entry]:
        """The entries that `npm ci --omit=dev` would have installed.

        `paths` are the paths of production packages according to the lockfile.
        """
        known = frozenset(self._packages)
        kept: List[Entry] = []
        links: Dict[str, str] = {}
        for entry in entries:
            folder, _, _ = entry.name.rpartition("/")
            if entry.kind == "link" and folder.endswith("node_modules/.bin"):
                links[entry.name] = entry.target
                continue
            belongs = owner(known, entry.name)
            if belongs is None or belongs in paths:
                kept.append(entry)
        manifests = self.manifests()
        bins = production_bins(
            known,
            paths & known,
            npm_major,
            links,
            manifest_of=lambda path: manifests.get(path, {}),
            is_file=lambda path: os.path.isfile(os.path.join(self._top, path)),
        )
        kept.extend(Entry(name, "link", target=target) for name, target in bins.items())
        return kept

    def only(self, entries: Iterable[Entry], paths: Collection[str]) -> List[Entry]:
        """The entries of the packages at `paths`, with the .bin links to them."""
        known = frozenset(self._packages)
        return [entry for entry in entries if owner(known, _file_of(entry)) in paths]

    def without(self, entries: Iterable[Entry], paths: Collection[str]) -> List[Entry]:
        """The entries of all packages except those at `paths`; keeps all .bin links."""
        if not paths:
            return list(entries)
        known = frozenset(self._packages)
        return [entry for entry in entries if owner(known, entry.name) not in paths]

    def manifests(self) -> Mapping[str, Dict[str, Any]]:
        """The package.json of each installed package of the lockfile, by path, in order."""
        if self._manifests is None:
            self._manifests = dict(self._read_manifests())
        return self._manifests

    def _read_manifests(self) -> Iterator[Tuple[str, Dict[str, Any]]]:
        for path in sorted(self._packages):
            try:
                place = os.path.join(self._top, path, "package.json")
                manifest = loads(left_files.read(place, self._top))
            except (NotAFile, ValueError):
                continue  # npm skips optional packages for other systems
            if isinstance(manifest, dict):
                yield path, manifest

    def unlinked_bins(self) -> Dict[str, Dict[str, str]]:
        """The commands without a link in .bin: the path of the package -> name -> existing file."""
        unlinked: Dict[str, Dict[str, str]] = {}
        for path, manifest in self.manifests().items():
            folder = bin_folder(path)
            for name, file in bin_map(str(manifest.get("name", "")), manifest.get("bin")):
                place = os.path.join(self._top, path, file)
                if os.path.isfile(place) and not os.path.lexists(f"{self._top}/{folder}/{name}"):
                    unlinked.setdefault(path, {})[name] = file
        return unlinked

    def sizes(self, entries: Iterable[Entry]) -> List[InstalledPackage]:
        """The bytes of each package, sorted by path; a nested package counts separately."""
        known = frozenset(self._packages)
        sizes: Dict[str, int] = {}
        for entry in entries:
            belongs = owner(known, entry.name)
            if belongs is not None and entry.source is not None:
                sizes[belongs] = sizes.get(belongs, 0) + os.stat(entry.source).st_size
        manifests = self.manifests()
        return [
            InstalledPackage(
                path,
                self._packages[path].name,
                self._packages[path].version or str(manifests.get(path, {}).get("version", "")),
                size,
            )
            for path, size in sorted(sizes.items())
        ]


def _file_of(entry: Entry) -> str:
    """The target of a .bin link; for other entries their name."""
    folder = os.path.dirname(entry.name)
    if entry.kind != "link" or not folder.endswith("node_modules/.bin"):
        return entry.name
    return os.path.normpath(os.path.join(folder, entry.target))
