"""Layers: deterministic tar archives, compressed as self-contained gzip members.

RFC 1952 lets a gzip file have several members, so a release is the concatenation of layers that
were compressed once each.  A layer ends without tar's end-of-archive blocks; the last member of a
release brings them (see `end_member`).  Bytes depend on names, contents, executable bits and links
alone: entries are sorted, owner, group and time are fixed, modes are 755 or 644.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zlib
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    BinaryIO,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    cast,
)

from slipway.archive import tar_writing
from slipway.archive.tar_writing import TarWriter
from slipway.archive.unpacking import GZIP_HEADER
from slipway.core.errors import SlipwayError

if TYPE_CHECKING:  # not in the `typing` of CPython 3.7
    from typing import Protocol
else:
    Protocol = object

MTIME = 499162500
"""1985-10-26 08:15 UTC, the time that npm gives every file of a package."""

END_OF_ARCHIVE = bytes(1024)
LISTING_FOLDER = ".release"
"""Where a release keeps the lists of its files, one for each layer."""

MOST_DEPTH = 200
"""Folders one in the other, in a tree that a layer is made of."""

MOST_BYTES = 16 << 30
"""Of all files of such a tree."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One member: a folder, a file (by `source` on disk or by `content`) or a symbolic link."""

    name: str
    kind: str  # "folder", "file" or "link"
    executable: bool = False
    source: Optional[str] = None
    content: bytes = b""
    target: str = ""


class Writer(Protocol):
    def write(self, data: bytes) -> object: ...


class GzipMember:
    """Compresses what is written to it as one gzip member, the same bytes each time."""

    def __init__(self, out: Writer, level: int = 6) -> None:
        self._out = out
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = 0
        self._size = 0
        out.write(GZIP_HEADER)

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._out.write(self._deflate.compress(data))

    def close(self) -> None:
        self._out.write(self._deflate.flush())
        self._out.write((self._crc & 0xFFFFFFFF).to_bytes(4, "little"))
        self._out.write((self._size & 0xFFFFFFFF).to_bytes(4, "little"))


class LayerTar:
    """Writes entries in the order given and remembers the SHA-256 of each file."""

    def __init__(self, out: Writer) -> None:
        self._tar = TarWriter(cast(BinaryIO, out), MTIME)
        self.hashes: Dict[str, str] = {}
        self.file_bytes = 0

    def add(self, entry: Entry) -> None:
        check_name(entry.name)
        check_name(entry.target)
        if entry.kind == "folder":
            self._tar.add(entry.name, tar_writing.FOLDER, 0o755)
        elif entry.kind == "link":
            self._tar.add(entry.name, tar_writing.SYMLINK, 0o777, target=entry.target)
        elif entry.source is None:
            self._file(entry, [entry.content], len(entry.content))
        else:
            with open(entry.source, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._file(entry, iter(lambda: file.read(_BLOCK), b""), size)

    def _file(self, entry: Entry, chunks: Iterable[bytes], size: int) -> None:
        hashed = hashlib.sha256()

        def seen() -> Iterator[bytes]:
            for chunk in chunks:
                hashed.update(chunk)
                yield chunk

        mode = 0o755 if entry.executable else 0o644
        self._tar.add(entry.name, tar_writing.FILE, mode, size=size, chunks=seen())
        self.hashes[entry.name] = hashed.hexdigest()
        self.file_bytes += size


def check_name(name: str) -> None:
    """Refuses names that a tar reader or a file list could misread."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise SlipwayError(
            "a file name is not UTF-8",
            found=repr(os.fsencode(name))[1:],
            next="rename the file, or have its package renamed",
        ) from None
    if any(character < " " or character == "\x7f" for character in name):
        raise SlipwayError(
            "a file name holds a control character",
            found=repr(name),
            next="rename the file, or have its package renamed",
        )


def walk(
    top: str,
    prefix: str = "",
    keep: Optional[Callable[[str], bool]] = None,
    executables: Optional[Collection[str]] = None,
) -> List[Entry]:
    """Entries of the tree below `top`, sorted, parents first, named below `prefix`.

    `keep` is asked with each path relative to `top`; a folder that it refuses is left out whole.
    `executables` are such paths too, for trees whose modes say nothing: the inputs of a step.
    Anything but folders, files and links is refused, and a tree that is too deep or too large: a
    file with a hole can have any size.
    """
    entries: List[Entry] = []
    total = 0

    def visit(folder: str, relative: str) -> None:
        nonlocal total
        if relative.count("/") > MOST_DEPTH:
            raise SlipwayError(
                f'"{relative[:80]}…" is a folder {MOST_DEPTH} levels deep, too deep for a release',
                next="have the script that makes it remove it",
            )
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            path = relative + child.name
            if keep is not None and not keep(path):
                continue
            if child.is_symlink():
                entries.append(Entry(prefix + path, "link", target=os.readlink(child.path)))
            elif child.is_dir():
                entries.append(Entry(prefix + path, "folder"))
                visit(child.path, path + "/")
            elif child.is_file():
                total += child.stat().st_size
                if total > MOST_BYTES:
                    raise SlipwayError(
                        f'"{path}" and what comes before it are larger than a release can be',
                        found=f"more than {MOST_BYTES >> 30} GiB, holes in files included",
                        next="have the script that makes it remove it",
                    )
                if executables is None:
                    executable = bool(child.stat().st_mode & stat.S_IXUSR)
                else:
                    executable = path in executables
                entries.append(Entry(prefix + path, "file", executable, source=child.path))
            else:
                raise SlipwayError(
                    f'"{path}" is no file, folder or link, and cannot be in a release',
                    next="have the build script remove it",
                )

    visit(top, "")
    return entries


def with_folders(entries: Iterable[Entry]) -> List[Entry]:
    """The entries, sorted, with the folders above them that are not among them."""
    by_name = {entry.name: entry for entry in entries}
    for name in list(by_name):
        parent = os.path.dirname(name)
        while parent and parent not in by_name:
            by_name[parent] = Entry(parent, "folder")
            parent = os.path.dirname(parent)
    # Compared by parts, so that a folder's entries follow it at once, as in a walk.
    return sorted(by_name.values(), key=lambda entry: entry.name.split("/"))


@dataclass(frozen=True)
class Layer:
    """What a written layer is: compressed SHA-256 and size, and bytes and number of its files."""

    sha256: str
    size: int
    file_bytes: int
    files: int


def write_layer(path: str, name: str, entries: Iterable[Entry]) -> Layer:
    """Writes one gzip member with the entries and, last, the layer's own file list."""
    with open(path, "wb") as raw:
        hashing = _Hashing(raw)
        member = GzipMember(hashing)
        tar = LayerTar(member)
        for entry in with_folders(entries):
            tar.add(entry)
        files = len(tar.hashes)
        listing = file_list(tar.hashes)
        tar.add(Entry(LISTING_FOLDER, "folder"))
        tar.add(Entry(f"{LISTING_FOLDER}/{name}.sha256", "file", content=listing))
        member.close()
    return Layer(hashing.sha256(), hashing.size, tar.file_bytes, files)


def write_tar(path: str, entries: Iterable[Entry]) -> None:
    """Writes a whole, uncompressed tar, for steps that read it again."""
    with open(path, "wb") as raw:
        tar = LayerTar(raw)
        for entry in with_folders(entries):
            tar.add(entry)
        raw.write(END_OF_ARCHIVE)


def write_whole(path: str, entries: Iterable[Entry]) -> Layer:
    """Writes one complete .tar.gz that stands by itself."""
    with open(path, "wb") as raw:
        hashing = _Hashing(raw)
        member = GzipMember(hashing)
        tar = LayerTar(member)
        for entry in with_folders(entries):
            tar.add(entry)
        member.write(END_OF_ARCHIVE)
        member.close()
    return Layer(hashing.sha256(), hashing.size, tar.file_bytes, len(tar.hashes))


def write_release(
    path: str, layers: Iterable[str], last: Iterable[Entry], expected: Mapping[str, str] = {}
) -> Tuple[str, int]:
    """Concatenates finished layers and an end member; gives SHA-256 and size of the whole.

    `expected` has the SHA-256 of layers that were checked, by path.
    """
    with open(path, "wb") as raw:
        hashing = _Hashing(raw)
        for layer in layers:
            found = hashlib.sha256()
            with open(layer, "rb") as file:
                for block in iter(lambda: file.read(_BLOCK), b""):
                    hashing.write(block)
                    found.update(block)
            if expected.get(layer, found.hexdigest()) != found.hexdigest():
                raise SlipwayError(
                    f'the layer "{layer}" is not the one that was checked',
                    found=f"its SHA-256 is {found.hexdigest()}, not {expected[layer]}",
                    next="package it again",
                )
        member = GzipMember(hashing)
        tar = LayerTar(member)
        for entry in last:
            tar.add(entry)
        member.write(END_OF_ARCHIVE)
        member.close()
    return hashing.sha256(), hashing.size


def file_list(hashes: Dict[str, str]) -> bytes:
    """Lines that `sha256sum -c` reads; a backslash in a name is marked as coreutils does it."""
    lines = []
    for name, digest in sorted(hashes.items()):
        escaped = name.replace("\\", "\\\\")
        lines.append(f"{chr(92) if escaped != name else ''}{digest}  {escaped}\n")
    return "".join(lines).encode()


def lay_out(entries: Iterable[Entry], target: str) -> None:
    """Copies entries with files of their own to a new folder `target`, writable as in a checkout."""
    os.mkdir(target)
    for entry in entries:
        place = os.path.join(target, entry.name)
        if entry.kind == "folder":
            os.mkdir(place)
        elif entry.kind == "link":
            os.symlink(entry.target, place)
        else:
            assert entry.source is not None, entry.name
            shutil.copyfile(entry.source, place)
            os.chmod(place, 0o755 if entry.executable else 0o644)


class _Hashing:
    """Passes what is written on, and knows its SHA-256 and size."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._raw.write(data)

    def sha256(self) -> str:
        return self._hash.hexdigest()
