"""A release as `package` wrote it, and the part of it that a host lacks.

The release.json beside a tarball describes the tarball; the file lists in the tarball name its files
with their hashes. A host sends its own lists for the layers that differ. The coordinator compares
them and sends the missing files as one archive, with the same bytes for every host that lacks the
same files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, Sequence, Tuple

from slipway.archive import layers, unpacking
from slipway.archive.inner_links import leaves
from slipway.archive.tar_reading import Kind, Member
from slipway.archive.unpacking import Form
from slipway.core.errors import SlipwayError

SUFFIX = ".release.json"
_LISTS = layers.LISTING_FOLDER + "/"
_MANIFEST = "release.json"
_NODE = "node_runtime/bin/node"
_BLOCK = 1 << 20
_LONGEST_LIST = 256 << 20
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.FOLDER: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
}
_ZSTD, _ZSTD_LEVEL = "zstd", "-12"


@dataclass(frozen=True)
class BaseFiles:
    """The files of a release on a host, from the requested lists: hashes, and executables."""

    hashes: Mapping[str, str]
    executables: FrozenSet[str]


@dataclass(frozen=True)
class Difference:
    """The files that a host lacks, and the files of the base that the release does not keep."""

    missing: FrozenSet[str]
    removed: Tuple[str, ...]


@dataclass
class ShippedRelease:
    """`lists` has the file list of each layer; `executables` has the executable files.

    `has_node` tells whether its runtime is Node, or may be called as Node.
    """

    folder: str
    facts: Mapping[str, Any]
    lists: Mapping[str, bytes]
    executables: FrozenSet[str]
    file_bytes: Mapping[str, int]
    has_node: bool
    _archives: Dict[Tuple[FrozenSet[str], str], bytes] = field(default_factory=dict)
    _packing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def tarball(self) -> str:
        return os.path.join(self.folder, self.facts["tarball"]["file"])

    @property
    def static(self) -> str:
        """The path of the static archive; empty if there is no static archive."""
        named = self.facts.get("static")
        return os.path.join(self.folder, named["file"]) if named else ""

    @property
    def digest(self) -> str:
        return str(self.facts["tarball"]["sha256"])

    def name(self, stamp: str) -> str:
        """The release's id on hosts; `stamp` is the time of this deploy, such as 20261121T090000Z."""
        version = "".join(
            letter if letter.isalnum() or letter in ".-_" else "-" for letter in self.version
        )
        return f"{stamp}-{version}-{self.server_env}-{self.digest[:8]}"

    @property
    def version(self) -> str:
        return str(self.facts["version"])

    @property
    def server_env(self) -> str:
        return str(self.facts["server_env"])

    def kept(self, there: Mapping[str, str]) -> List[str]:
        """The layers whose list is the same on the host; `there` has the hash of each layer's list."""
        return sorted(
            name
            for name, content in self.lists.items()
            if there.get(name) == hashlib.sha256(content).hexdigest()
        )

    def difference(self, base: BaseFiles, kept: Sequence[str]) -> Difference:
        """What to change in a base to get this release; the layers `kept` are equal in both."""
        new: Dict[str, str] = {}
        for name, content in self.lists.items():
            if name not in kept:
                new.update(layers.read_file_list(content.decode()))
        missing = {
            path
            for path, digest in new.items()
            if base.hashes.get(path) != digest
            or (path in self.executables) != (path in base.executables)
        }
        removed = (set(base.hashes) - set(new)) | missing
        return Difference(frozenset(missing), tuple(sorted(removed)))

    def archive(self, missing: FrozenSet[str], packed: str) -> bytes:
        """An archive of these files, compressed with gzip or zstd (`packed`).

        It also has all entries that no list names: links, folders, the manifest and the lists.
        """
        with self._packing:
            if (missing, packed) not in self._archives:
                self._archives[missing, packed] = self._pack(missing, packed)
            return self._archives[missing, packed]

    def _pack(self, missing: FrozenSet[str], how: str) -> bytes:
        packed = io.BytesIO()
        with unpacking.opened(self.tarball, Form.TARBALL) as source, tarfile.open(
            fileobj=packed, mode="w", format=tarfile.PAX_FORMAT
        ) as tar:
            for member in source.members():
                is_file = member.kind is Kind.FILE
                if is_file and member.name not in missing and not _is_unlisted(member.name):
                    continue
                tar.addfile(_info(member), source.file(member))  # type: ignore[arg-type]
        if how == "zstd":
            command = [_ZSTD, "-q", "-c", _ZSTD_LEVEL]
            return subprocess.run(
                command,
                input=packed.getvalue(),
                stdout=subprocess.PIPE,
                check=True,
                # A terminal sends SIGINT to its whole process group; only the coordinator handles it.
                start_new_session=True,
            ).stdout
        return gzip.compress(packed.getvalue(), compresslevel=6, mtime=0)


def _info(member: Member) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.name)
    info.type = _TYPES[member.kind]
    info.mode, info.mtime, info.size = member.mode, member.mtime, member.size
    info.linkname = member.target
    return info


def has_zstd() -> bool:
    return shutil.which(_ZSTD) is not None


def read_base(compressed: bytes) -> BaseFiles:
    """Reads the answer of the agent to `lists`."""
    lines = _lines(compressed)
    listed = "".join(f"{line}\n" for line in lines if not line.startswith("x "))
    executables = frozenset(line[2:] for line in lines if line.startswith("x "))
    return BaseFiles(layers.read_file_list(listed), executables)


def read_names(compressed: bytes) -> FrozenSet[str]:
    """Reads the answer of the agent to `changed`."""
    return frozenset(_lines(compressed))


def _lines(compressed: bytes) -> List[str]:
    # Linux allows any bytes except / and NUL in file names.
    return gzip.decompress(compressed).decode("utf-8", "surrogateescape").split("\n")[:-1]


def _is_unlisted(name: str) -> bool:
    return name == _MANIFEST or name.startswith(_LISTS)


def read(path: str) -> ShippedRelease:
    """Reads the release of a release.json and checks its files before any host sees them.

    Raises SlipwayError if a file is missing, has another hash, or could be misread on a host.
    """
    facts = _read_facts(path)
    folder = os.path.dirname(os.path.abspath(path))
    for key in ("tarball", "static"):
        if facts.get(key):
            _check(os.path.join(folder, facts[key]["file"]), facts[key], path)
    lists: Dict[str, bytes] = {}
    executables = set()
    sizes: Dict[str, int] = {}
    links: Dict[str, str] = {}
    tarball = os.path.join(folder, facts["tarball"]["file"])
    with unpacking.opened(tarball, Form.TARBALL) as archive:
        for member in archive.members():
            if member.kind is Kind.SYMLINK:
                links[member.name] = member.target
            if member.kind is not Kind.FILE:
                continue
            sizes[member.name] = member.size
            if member.mode & 0o100:
                executables.add(member.name)
            if member.name.startswith(_LISTS):
                name = member.name[len(_LISTS) : -len(".sha256")]
                lists[name] = archive.read(member, _LONGEST_LIST)
    odd = [name for name in sizes if "\\" in name]
    if odd:
        raise SlipwayError(
            "a file name in the release contains a backslash, which sha256sum on hosts escapes",
            where=tarball,
            found=odd[0],
            next="rename the file, or ask the author of its package to rename it",
        )
    outside = [name for name, target in links.items() if leaves(name, target, links)]
    if outside:
        raise SlipwayError(
            "a symlink in the release points outside the release",
            where=tarball,
            found=f"{outside[0]} -> {links[outside[0]]}",
            next="package the release again; ./pants package rejects such symlinks",
        )
    return ShippedRelease(
        folder, facts, lists, frozenset(executables), sizes, _NODE in sizes or _NODE in links
    )


def _read_facts(path: str) -> Mapping[str, Any]:
    next_step = "run ./pants package on the release_tarball, which writes this file"
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
        needed = ("app", "version", "server_env", "layers", "tarball")
        missing = [key for key in needed if not isinstance(facts, dict) or facts.get(key) is None]
    except OSError as error:
        raise SlipwayError(
            f'cannot read the release "{path}"', found=str(error.strerror), next=next_step
        ) from None
    except ValueError as error:
        raise SlipwayError(
            f'"{path}" is not valid JSON', found=str(error), next=next_step
        ) from None
    if missing:
        raise SlipwayError(
            f'"{path}" is not a release manifest: missing {", ".join(missing)}',
            where=path,
            next=f"pass the file beside the tarball whose name ends with {SUFFIX}",
        )
    return dict(facts)


def _check(path: str, described: Mapping[str, Any], manifest: str) -> None:
    try:
        digest, size = _digest(path)
    except OSError as error:
        raise SlipwayError(
            f'cannot read "{path}"',
            where=manifest,
            found=str(error.strerror),
            next="keep all files that ./pants package wrote in one folder",
        ) from None
    if (digest, size) != (described["sha256"], described["size"]):
        raise SlipwayError(
            f'hash mismatch: "{path}" is not the file that its release.json describes',
            where=manifest,
            found=f"{size} bytes with the SHA-256 {digest}",
            next="package the release again, or copy its files again",
        )


def _digest(path: str) -> Tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
