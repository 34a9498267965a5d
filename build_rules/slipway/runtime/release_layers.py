"""What each layer of a release may hold, and finished layers held against it.

The step that writes a layer runs scripts of packages, or its result came from a remote cache.  So
before a release is put together, every layer is read again: it is in the form in which Slipway
writes layers, has only entries that belong to it, lists each file with its hash, and each of its
ELF files is among the facts that the ABI gate judged.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, Iterator, Mapping, Sequence, Tuple

from slipway.archive import layers, unpacking
from slipway.archive.decompression import Stream
from slipway.archive.inner_links import leaves
from slipway.archive.layers import LISTING_FOLDER, Entry
from slipway.archive.tar_reading import Kind, Member
from slipway.archive.unpacking import Archive, Form
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.elf.facts import INSIDE, ElfFacts
from slipway.elf.reader import MAGIC
from slipway.step.interface import ReportFile
from slipway.step.records import WrongRecord

RUNTIME, DEPENDENCIES, PACKAGE, APP, STATIC = "runtime", "dependencies", "package", "app", "static"

_MODULES = "node_modules"
_RUNTIME_FOLDER = "node_runtime"
LAUNCHER = "bin/app"
MANIFEST = "release.json"
_MOST_NAMED = 20


@dataclass(frozen=True)
class Scope:
    """What may be in the layer `name`.

    `path` is the folder of a package, or of the static files; `foreign` are folders of packages in
    `node_modules`, which are not the application's.
    """

    name: str
    kind: str
    path: str = ""
    foreign: FrozenSet[str] = frozenset()

    def fault_of(self, name: str, kind: Kind) -> str:
        """Why an entry does not belong into the layer; empty if it does."""
        if kind is Kind.FOLDER and self._leads_to(name):
            return ""
        return "" if self._holds(name) else "it does not belong into this layer"

    def _leads_to(self, folder: str) -> bool:
        """Whether the layer's own place may be below a folder."""
        if self.kind in (DEPENDENCIES, APP):
            return folder != LAUNCHER and folder.split("/", maxsplit=1)[0] not in _RESERVED
        return (self._top + "/").startswith(folder + "/")

    @property
    def _top(self) -> str:
        return _RUNTIME_FOLDER if self.kind == RUNTIME else self.path

    def _holds(self, name: str) -> bool:
        parts = name.split("/")
        if self.kind == RUNTIME:
            return parts[0] == _RUNTIME_FOLDER and len(parts) > 1
        if parts[0] in _RESERVED or name in (LAUNCHER, MANIFEST):
            return False
        if self.kind == DEPENDENCIES:
            return _MODULES in parts[:-1]
        if self.kind == APP:
            return not any(
                "/".join(parts[:end]) in self.foreign for end in range(1, len(parts) + 1)
            )
        if self.kind == STATIC and name == self.path:
            return True
        return bool(self.path) and name.startswith(self.path + "/")


_RESERVED = (_RUNTIME_FOLDER, LISTING_FOLDER)


@dataclass(frozen=True)
class CheckedLayer:
    """A layer that was read: what it is, the kinds of its entries, and its links' targets."""

    sha256: str
    size: int
    kinds: Mapping[str, Kind]
    links: Mapping[str, str]


def checked_of(name: str) -> ReportFile[CheckedLayer]:
    """What is left of the check of a layer."""
    return ReportFile(f"{name}.checked.json", CheckedLayer)


def read_checked(folder: str, name: str) -> CheckedLayer:
    """What the check of a layer left."""
    report = checked_of(name)
    path = os.path.join(folder, report)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return report.read(text)
    except WrongRecord as error:
        raise _contradiction(
            f'"{path}" is not what the check of a layer leaves', str(error)
        ) from None


def check_entries(entries: Iterable[Entry], scope: Scope, label: str, next: str) -> None:
    """Refuses what the scripts of the package `label` left, if its layer cannot hold it."""
    faults = []
    for entry in entries:
        kind = {"folder": Kind.FOLDER, "link": Kind.SYMLINK}.get(entry.kind, Kind.FILE)
        fault = scope.fault_of(entry.name, kind)
        if not fault and kind is Kind.SYMLINK and leaves(entry.name, entry.target, {}):
            fault = f'a link out of the release, to "{entry.target}"'
        if fault:
            faults.append(f'"{entry.name}": {fault}')
    if faults:
        raise SlipwayErrors(
            f'"{label}" leaves what cannot be in its layer of a release',
            [*faults[:_MOST_NAMED], *(["…"] if len(faults) > _MOST_NAMED else [])],
            next=next,
        )


def check_layer(path: str, scope: Scope, facts: Sequence[ElfFacts]) -> CheckedLayer:
    """Reads the layer at `path`; `facts` are those of the ABI gate."""
    hashed, size = hashlib.sha256(), 0

    def blocks() -> Iterator[bytes]:
        nonlocal size
        for block in unpacking.blocks_of(file):
            hashed.update(block)
            size += len(block)
            yield block

    with open(path, "rb") as file:
        reading = _LayerReading(path, scope)
        reading.read(Stream(unpacking.inflated(blocks(), path, Form.LAYER)))
    _check_facts(reading.binaries, facts, path)
    return CheckedLayer(hashed.hexdigest(), size, reading.kinds, reading.links)


class _LayerReading:
    def __init__(self, path: str, scope: Scope) -> None:
        self._path = path
        self._scope = scope
        self._listing = f"{LISTING_FOLDER}/{scope.name}.sha256"
        self._hashes: Dict[str, str] = {}
        self._is_listed = False
        self.kinds: Dict[str, Kind] = {}
        self.links: Dict[str, str] = {}
        self.binaries: Dict[str, str] = {}

    def read(self, stream: Stream) -> None:
        archive = Archive(stream, None, self._path, Form.LAYER)
        for member in archive.members():
            fault = self._fault_of(member)
            if fault:
                raise unpacking.refused(self._path, member.name, fault)
            self.kinds[member.name] = member.kind
            if member.kind is Kind.SYMLINK:
                self.links[member.name] = member.target
            elif member.name == self._listing:
                self._check_listing(member, archive)
            elif member.kind is Kind.FILE:
                self._hash(member, archive)
        if not self._is_listed:
            raise unpacking.refused(self._path, self._listing, "the list of its files is not there")
        self._check_folders()

    def _fault_of(self, member: Member) -> str:
        if self._is_listed:
            return "it comes after the list of the files"
        if member.mtime != layers.MTIME:
            return "its time is not that of all files of a release"
        if (member.name, member.kind) in (
            (LISTING_FOLDER, Kind.FOLDER),
            (self._listing, Kind.FILE),
        ):
            return ""
        if self._scope.fault_of(member.name, member.kind):
            raise _misplaced(self._scope, member.name)
        return ""

    def _hash(self, member: Member, archive: Archive) -> None:
        hashed, head = hashlib.sha256(), b""
        for chunk in archive.file(member):
            head = head or chunk[: len(MAGIC)]
            hashed.update(chunk)
        self._hashes[member.name] = hashed.hexdigest()
        if head == MAGIC:
            self.binaries[member.name] = hashed.hexdigest()

    def _check_listing(self, member: Member, archive: Archive) -> None:
        expected = layers.file_list(self._hashes)
        if member.size != len(expected) or archive.file(member).read() != expected:
            raise unpacking.refused(
                self._path, member.name, "it does not list the files of the layer with their hashes"
            )
        self._is_listed = True

    def _check_folders(self) -> None:
        """Packages bring folders only around their files."""
        if self._scope.kind not in (DEPENDENCIES, PACKAGE):
            return
        needed = {""}
        for name, kind in self.kinds.items():
            above = os.path.dirname(name)
            while kind is not Kind.FOLDER and above not in needed:
                needed.add(above)
                above = os.path.dirname(above)
        for name, kind in self.kinds.items():
            if kind is Kind.FOLDER and name not in needed:
                raise unpacking.refused(self._path, name, "a folder without files")


def _check_facts(binaries: Mapping[str, str], facts: Sequence[ElfFacts], path: str) -> None:
    """Nothing that a host loads passes the ABI gate unseen, and nothing is made up for it."""
    judged = {one.path: one.sha256 for one in facts if one.sha256 and INSIDE not in one.path}
    for name in sorted({*binaries, *judged}):
        if name not in judged:
            raise unpacking.refused(path, name, "a binary that the ABI gate has not seen")
        if name not in binaries:
            raise unpacking.refused(path, name, "the ABI gate has seen it, but it is not there")
        if binaries[name] != judged[name]:
            raise unpacking.refused(path, name, "the ABI gate has seen another binary of that name")


def check_together(checked: Sequence[Tuple[str, CheckedLayer]]) -> None:
    """Layers, by their names in the order of the release: no name twice, no link that leaves it."""
    owners: Dict[str, Tuple[str, Kind]] = {}
    links: Dict[str, str] = {}
    for layer, found in checked:
        for name, kind in found.kinds.items():
            other, other_kind = owners.setdefault(name, (layer, kind))
            if other != layer and not (kind is other_kind is Kind.FOLDER):
                raise _contradiction(
                    f'"{name}" is in the layers "{other}" and "{layer}"',
                    f"a {other_kind.value} in the first, a {kind.value} in the second",
                )
        links.update(found.links)
    for layer, found in checked:
        for name, target in found.links.items():
            if leaves(name, target, links):
                raise _contradiction(
                    f'the layer "{layer}" has a link that leads out of the release',
                    f'"{name}" -> "{target}"',
                )


def _misplaced(scope: Scope, name: str) -> SlipwayError:
    mistake = (
        "leave it out of the fields runtime_sources and build_outputs, or let it have another name"
    )
    return SlipwayError(
        f'the layer "{scope.name}" of a release holds what does not belong into it',
        found=unpacking.shown(name),
        next=mistake if scope.kind in (APP, STATIC) else unpacking.BUILD_AGAIN,
    )


def _contradiction(what: str, found: str) -> SlipwayError:
    return SlipwayError(
        what,
        found=found,
        next="correct the build script or the field of the bundle that brings it; else\n"
        + unpacking.BUILD_AGAIN,
    )
