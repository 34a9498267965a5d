"""Layers: deterministic tar archives, compressed as self-contained gzip members.

RFC 1952 lets a gzip file have several members. A release is therefore the concatenation of layers,
and Slipway compresses each layer only once. A layer has no end-of-archive blocks; the last member
of a release has them (see `write_release`). The bytes of a layer depend only on names, contents,
executable bits and link targets: entries are sorted, owner, group and time are fixed, and modes
are 755 or 644.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    BinaryIO,
    Callable,
    Collection,
    Deque,
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
"""1985-10-26 08:15 UTC in seconds, the time that npm gives to every file of a package."""

END_OF_ARCHIVE = bytes(1024)
LISTING_FOLDER = ".release"
"""The folder of a release with its file lists, one list for each layer."""

MOST_DEPTH = 200
"""The maximum depth of nested folders in the tree of a layer."""

MOST_BYTES = 16 << 30
"""The maximum total size of all files in the tree of a layer."""

_BLOCK = 1 << 20
_WINDOW = 1 << zlib.MAX_WBITS
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Entry:
    """A tar member: a folder, a symlink, or a file with its `source` on disk or its `content`."""

    name: str
    kind: str  # "folder", "file" or "link"
    executable: bool = False
    source: Optional[str] = None
    content: bytes = b""
    target: str = ""


class Writer(Protocol):
    def write(self, data: bytes) -> object: ...


class GzipMember:
    """Compresses written data as a single gzip member; the same data gives the same bytes.

    Blocks of fixed size are compressed in threads, each with the end of the block before it as its
    dictionary. The bytes therefore depend neither on the number of threads nor on the sizes of writes.
    """

    def __init__(self, out: Writer, level: int = 6, workers: Optional[int] = None) -> None:
        self._out = out
        self._level = level
        self._count = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
        self._workers: Optional[ThreadPoolExecutor] = None
        self._compressing: Deque[Future[bytes]] = deque()
        self._block, self._before = bytearray(), b""
        self._crc = 0
        self._size = 0
        out.write(GZIP_HEADER)

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._block += data
        while len(self._block) > _BLOCK:
            self._start(bytes(self._block[:_BLOCK]))
            del self._block[:_BLOCK]

    def close(self) -> None:
        last = _deflated(bytes(self._block), self._before, self._level, zlib.Z_FINISH)
        while self._compressing:
            self._out.write(self._compressing.popleft().result())
        if self._workers is not None:
            self._workers.shutdown()
        self._out.write(last)
        self._out.write((self._crc & 0xFFFFFFFF).to_bytes(4, "little"))
        self._out.write((self._size & 0xFFFFFFFF).to_bytes(4, "little"))

    def _start(self, block: bytes) -> None:
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._count)
        if len(self._compressing) > 2 * self._count:
            self._out.write(self._compressing.popleft().result())
        job = (block, self._before, self._level, zlib.Z_SYNC_FLUSH)
        self._compressing.append(self._workers.submit(_deflated, *job))
        self._before = block[-_WINDOW:]


def _deflated(block: bytes, before: bytes, level: int, ending: int) -> bytes:
    """The block as a part of a deflate stream, in which `before` precedes it."""
    options = (zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY)
    deflate = (
        zlib.compressobj(level, *options, before) if before else zlib.compressobj(level, *options)
    )
    return deflate.compress(block) + deflate.flush(ending)


class LayerTar:
    """Writes entries in the given order, and keeps the SHA-256 of each file in `hashes`."""

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
    """Raises SlipwayError for names that a tar reader or a file list could misread."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise SlipwayError(
            "a file name is not UTF-8",
            found=repr(os.fsencode(name))[1:],
            next="rename the file, or have its package renamed",
        ) from None
    if name == "-":
        raise SlipwayError(
            'a file is named "-", and sha256sum would read standard input instead',
            found=name,
            next="rename the file, or exclude it",
        )
    if any(character < " " or character == "\x7f" for character in name):
        raise SlipwayError(
            "a file name contains a control character",
            found=repr(name),
            next="rename the file, or have its package renamed",
        )


def walk(
    top: str,
    prefix: str = "",
    keep: Optional[Callable[[str], bool]] = None,
    executables: Optional[Collection[str]] = None,
) -> List[Entry]:
    """Entries of the tree below `top`, sorted, parents first, with `prefix` before their names.

    `keep` decides for each path relative to `top`; a rejected folder is skipped with its content.
    `executables` lists such paths for trees without reliable modes, such as the inputs of a step.
    Raises SlipwayError for anything but folders, files and symlinks, and for a tree that is too
    deep or too large. Sizes are checked because a sparse file can have any size.
    """
    entries: List[Entry] = []
    total = 0

    def visit(folder: str, relative: str) -> None:
        nonlocal total
        if relative.count("/") > MOST_DEPTH:
            raise SlipwayError(
                f'folders are nested more than {MOST_DEPTH} levels deep in "{relative[:80]}…"',
                next="change the script that creates these folders, so that it removes them",
            )
        with os.scandir(folder) as scan:
            children = sorted(scan, key=lambda child: child.name)
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
                        f'the files up to "{path}" are too large for a release',
                        found=f"more than {MOST_BYTES >> 30} GiB, including holes in sparse files",
                        next="change the script that creates this file, so that it removes it",
                    )
                if executables is None:
                    executable = bool(child.stat().st_mode & stat.S_IXUSR)
                else:
                    executable = path in executables
                entries.append(Entry(prefix + path, "file", executable, source=child.path))
            else:
                raise SlipwayError(
                    f'"{path}" is not a file, folder or symlink, and cannot be in a release',
                    next="change the build script, so that it removes this entry",
                )

    visit(top, "")
    return entries


def with_folders(entries: Iterable[Entry]) -> List[Entry]:
    """The entries, sorted, with the parent folders that are missing among them."""
    by_name = {entry.name: entry for entry in entries}
    for name in list(by_name):
        parent = os.path.dirname(name)
        while parent and parent not in by_name:
            by_name[parent] = Entry(parent, "folder")
            parent = os.path.dirname(parent)
    # Compared by path parts, because "a-b" sorts between "a" and "a/c" as text. This way the
    # entries of a folder directly follow the folder, as in walk().
    return sorted(by_name.values(), key=lambda entry: entry.name.split("/"))


@dataclass(frozen=True)
class Layer:
    """A written layer: SHA-256 and size of the compressed file; bytes and count of its files."""

    sha256: str
    size: int
    file_bytes: int
    files: int


def write_layer(path: str, name: str, entries: Iterable[Entry]) -> Layer:
    """Writes a single gzip member with the entries, and the layer's file list as the last."""
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
    """Writes a complete, uncompressed tar, for later steps to read."""
    with open(path, "wb") as raw:
        tar = LayerTar(raw)
        for entry in with_folders(entries):
            tar.add(entry)
        raw.write(END_OF_ARCHIVE)


def write_whole(path: str, entries: Iterable[Entry]) -> Layer:
    """Writes a complete .tar.gz with a single gzip member."""
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
    """Concatenates finished layers and an end member; returns SHA-256 and size of the release.

    `last` are the entries of the end member. `expected` maps paths of checked layers to their
    SHA-256. Raises SlipwayError if a layer differs from the checked layer.
    """
    with open(path, "wb") as raw:
        hashing = _Hashing(raw)
        for layer in layers:
            hasher = hashlib.sha256()
            with open(layer, "rb") as file:
                for block in iter(lambda: file.read(_BLOCK), b""):
                    hashing.write(block)
                    hasher.update(block)
            if expected.get(layer, hasher.hexdigest()) != hasher.hexdigest():
                raise SlipwayError(
                    f'the layer "{layer}" changed after it was checked',
                    found=f"SHA-256 {hasher.hexdigest()}, not {expected[layer]}",
                    next="run the same ./pants package command again",
                )
        member = GzipMember(hashing)
        tar = LayerTar(member)
        for entry in last:
            tar.add(entry)
        member.write(END_OF_ARCHIVE)
        member.close()
    return hashing.sha256(), hashing.size


def file_list(hashes: Dict[str, str]) -> bytes:
    """The input of `sha256sum -c`.

    Names are not escaped: coreutils would escape a backslash, which busybox does not understand, but it
    reads the plain name too. A release has no names with a line feed.
    """
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items())).encode()


def read_file_list(text: str) -> Dict[str, str]:
    """The SHA-256 of each file of a list that `file_list` wrote."""
    # Not splitlines: a name may contain a character that it takes for a line end.
    return {line[66:]: line[:64] for line in text.split("\n") if line}


def lay_out(entries: Iterable[Entry], target: str) -> None:
    """Copies entries to the new folder `target`, with file modes as in a checkout."""
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
    """Passes written data on, and computes its SHA-256 and size."""

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
