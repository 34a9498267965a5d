"""The tree that npm installed: all of it, its production subset, and what each package weighs."""

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
from slipway.npm.lockfiles.production import owner, production_bins
from slipway.step import left_files
from slipway.step.left_files import NotAFile

# npm's own record of the tree and tools' caches: neither is a part of any package.
_LEFT_OUT = ("node_modules/.package-lock.json", "node_modules/.cache")


@dataclass(frozen=True)
class LockedPackage:
    """A package by its lock; a version 1 lock has no version of an application's own tarballs."""

    name: str
    version: Optional[str] = None


class InstalledTree:
    """The `node_modules` folders below `top`, which nothing changes any more; `packages` maps the
    lock's paths to versions."""

    def __init__(self, top: str, packages: Mapping[str, LockedPackage]) -> None:
        self._top = top
        self._packages = packages
        self._manifests: Optional[Dict[str, Dict[str, Any]]] = None

    def entries(self) -> List[Entry]:
        """Files and links below any `node_modules`, without npm's own record."""
        return [
            entry
            for entry in layers.walk(self._top, keep=lambda path: path not in _LEFT_OUT)
            if entry.kind != "folder" and "node_modules" in entry.name.split("/")
        ]

    def production(
        self, entries: Iterable[Entry], paths: FrozenSet[str], npm_major: int
    ) -> List[Entry]:
        """What `npm ci --omit=dev` would have installed, `paths` being the lock's own word."""
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
        """Those of the packages at `paths`, with the .bin links to them."""
        known = frozenset(self._packages)
        return [entry for entry in entries if owner(known, _file_of(entry)) in paths]

    def without(self, entries: Iterable[Entry], paths: Collection[str]) -> List[Entry]:
        """Those of all other packages; .bin links stay."""
        if not paths:
            return list(entries)
        known = frozenset(self._packages)
        return [entry for entry in entries if owner(known, entry.name) not in paths]

    def manifests(self) -> Mapping[str, Dict[str, Any]]:
        """The package.json of each package of the lock that is there, by its path, in order."""
        if self._manifests is None:
            self._manifests = dict(self._read_manifests())
        return self._manifests

    def _read_manifests(self) -> Iterator[Tuple[str, Dict[str, Any]]]:
        for path in sorted(self._packages):
            try:
                place = os.path.join(self._top, path, "package.json")
                manifest = loads(left_files.read(place, self._top))
            except (NotAFile, ValueError):
                continue  # not installed here: optional, for another system
            if isinstance(manifest, dict):
                yield path, manifest

    def sizes(self, entries: Iterable[Entry]) -> List[InstalledPackage]:
        """Bytes per package, nested packages counted by themselves, by path."""
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
    """The file that a .bin link leads to, or the entry's own name."""
    folder = os.path.dirname(entry.name)
    if entry.kind != "link" or not folder.endswith("node_modules/.bin"):
        return entry.name
    return os.path.normpath(os.path.join(folder, entry.target))
