"""Defines what each layer of a release may contain, and checks finished layers.

The step that writes a layer runs scripts of packages, or its result comes from a remote cache. So
every layer is read again before Slipway assembles a release. It must have the format that Slipway
writes, contain only entries of its scope, and list each file with its hash. The ABI audit must have
seen each of its ELF files.
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
RUNTIME_FOLDER = "node_runtime"
LAUNCHER = "bin/app"
MANIFEST = "release.json"
_MOST_NAMED = 20


@dataclass(frozen=True)
class Scope:
    """The entries that the layer `name` may contain.

    `path` is the folder of a package or of the static files. `foreign` are folders of packages in
    `node_modules`, which do not belong to the application's layer.
    """

    name: str
    kind: str
    path: str = ""
    foreign: FrozenSet[str] = frozenset()

    def fault_of(self, name: str, kind: Kind) -> str:
        """Why the layer must not contain an entry; empty if it may."""
        if kind is Kind.FOLDER and self._leads_to(name):
            return ""
        return "" if self._contains(name) else "it does not belong in this layer"

    def _leads_to(self, folder: str) -> bool:
        """Whether the layer may have entries below a folder."""
        if self.kind in (DEPENDENCIES, APP):
            return folder != LAUNCHER and folder.split("/", maxsplit=1)[0] not in _RESERVED
        return (self._top + "/").startswith(folder + "/")

    @property
    def _top(self) -> str:
        return RUNTIME_FOLDER if self.kind == RUNTIME else self.path

    def _contains(self, name: str) -> bool:
        parts = name.split("/")
        if self.kind == RUNTIME:
            return parts[0] == RUNTIME_FOLDER and len(parts) > 1
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


_RESERVED = (RUNTIME_FOLDER, LISTING_FOLDER)


@dataclass(frozen=True)
class CheckedLayer:
    """A checked layer: its hash and size, the kinds of its entries, the targets of its links."""

    sha256: str
    size: int
    kinds: Mapping[str, Kind]
    links: Mapping[str, str]


def checked_of(name: str) -> ReportFile[CheckedLayer]:
    """The output with the result of the check of a layer."""
    return ReportFile(f"{name}.checked.json", CheckedLayer)


def read_checked(folder: str, name: str) -> CheckedLayer:
    """Reads the result of the check of a layer; raises SlipwayError if it is not valid."""
    report = checked_of(name)
    path = os.path.join(folder, report)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return report.read(text)
    except WrongRecord as error:
        raise _contradiction(
            f'"{path}" is not a valid result of the check of a layer', str(error)
        ) from None


def check_entries(entries: Iterable[Entry], scope: Scope, label: str, next: str) -> None:
    """Raises SlipwayErrors if the layer of the package `label` must not contain its entries."""
    faults = []
    for entry in entries:
        kind = {"folder": Kind.FOLDER, "link": Kind.SYMLINK}.get(entry.kind, Kind.FILE)
        fault = scope.fault_of(entry.name, kind)
        if not fault and kind is Kind.SYMLINK and leaves(entry.name, entry.target, {}):
            fault = f'a symlink out of the release: "{entry.target}"'
        if fault:
            faults.append(f'"{entry.name}": {fault}')
    if faults:
        raise SlipwayErrors(
            f'"{label}" has files that its layer of a release must not contain',
            [*faults[:_MOST_NAMED], *(["…"] if len(faults) > _MOST_NAMED else [])],
            next=next,
        )


def check_layer(path: str, scope: Scope, facts: Sequence[ElfFacts]) -> CheckedLayer:
    """Checks the layer at `path`; `facts` are from the ABI audit. Raises SlipwayError."""
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
            raise unpacking.refused(self._path, self._listing, "the list of files is missing")
        self._check_folders()

    def _fault_of(self, member: Member) -> str:
        if self._is_listed:
            return "it comes after the list of files"
        if member.mtime != layers.MTIME:
            return "its time differs from the fixed time of a release"
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
                self._path, member.name, "it does not match the files of the layer"
            )
        self._is_listed = True

    def _check_folders(self) -> None:
        """Layers of packages have no empty folders."""
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
                raise unpacking.refused(self._path, name, "an empty folder")


def _check_facts(binaries: Mapping[str, str], facts: Sequence[ElfFacts], path: str) -> None:
    """Raises SlipwayError unless the ABI audit has seen exactly the binaries of the layer."""
    audited = {fact.path: fact.sha256 for fact in facts if fact.sha256 and INSIDE not in fact.path}
    for name in sorted({*binaries, *audited}):
        if name not in audited:
            raise unpacking.refused(path, name, "a binary that the ABI audit has not seen")
        if name not in binaries:
            raise unpacking.refused(path, name, "the ABI audit has seen it, but it is missing")
        if binaries[name] != audited[name]:
            raise unpacking.refused(path, name, "the ABI audit has seen another binary here")


def check_together(checked: Sequence[Tuple[str, CheckedLayer]]) -> None:
    """Checks the layers of a release together; raises SlipwayError.

    No two layers may have the same file, and no symlink may lead out of the release.
    """
    owners: Dict[str, Tuple[str, Kind]] = {}
    links: Dict[str, str] = {}
    for layer, result in checked:
        for name, kind in result.kinds.items():
            other, other_kind = owners.setdefault(name, (layer, kind))
            if other != layer and not (kind is other_kind is Kind.FOLDER):
                raise _contradiction(
                    f'"{name}" is in the layers "{other}" and "{layer}"',
                    f"a {other_kind.value} in the first, a {kind.value} in the second",
                )
        links.update(result.links)
    for layer, result in checked:
        for name, target in result.links.items():
            if leaves(name, target, links):
                raise _contradiction(
                    f'the layer "{layer}" has a symlink that leads out of the release',
                    f'"{name}" -> "{target}"',
                )


def _misplaced(scope: Scope, name: str) -> SlipwayError:
    mistake = "remove it from the fields runtime_sources and build_outputs, or rename it"
    return SlipwayError(
        f'the layer "{scope.name}" of a release has an entry that does not belong in it',
        found=unpacking.shown(name),
        next=mistake if scope.kind in (APP, STATIC) else unpacking.BUILD_AGAIN,
    )


def _contradiction(what: str, found: str) -> SlipwayError:
    return SlipwayError(
        what,
        found=found,
        next="correct the build script or the field of the bundle that adds this entry;\n"
        "otherwise, " + unpacking.BUILD_AGAIN,
    )
