"""Archives in Slipway's format, valid and hostile, and how the standard library reads them."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import BinaryIO, Iterator, List, Sequence, Tuple, cast

from slipway.archive.layers import END_OF_ARCHIVE, GzipMember
from slipway.archive.tar_writing import FILE, FOLDER, HARD_LINK, SYMLINK, TarWriter

Item = Tuple[str, bytes, int, str, bytes]
"""Name, kind, mode, target and content."""

FIFO, CHARACTERS = b"6", b"3"


def file(name: str, content: bytes = b"x", mode: int = 0o644) -> Item:
    return name, FILE, mode, "", content


def folder(name: str, mode: int = 0o755) -> Item:
    return name, FOLDER, mode, "", b""


def link(name: str, target: str, mode: int = 0o777) -> Item:
    return name, SYMLINK, mode, target, b""


def hard_link(name: str, target: str, mode: int = 0o644) -> Item:
    return name, HARD_LINK, mode, target, b""


def special(name: str, kind: bytes = FIFO) -> Item:
    return name, kind, 0o644, "", b""


def own_tar(items: Sequence[Item], mtime: int = 499162500, end: bytes = END_OF_ARCHIVE) -> bytes:
    """A tar with headers in Slipway's format and any content."""
    out = io.BytesIO()
    writer = TarWriter(cast(BinaryIO, out), mtime)
    for name, kind, mode, target, content in items:
        writer.add(name, kind, mode, target=target, size=len(content), chunks=[content])
    return out.getvalue() + end


def own_gzip(content: bytes) -> bytes:
    out = io.BytesIO()
    member = GzipMember(out)
    member.write(content)
    member.close()
    return out.getvalue()


def patched(archive: bytes, at: int, new: bytes) -> bytes:
    """The archive with a changed field in its first header, and a correct checksum."""
    changed = bytearray(archive)
    changed[at : at + len(new)] = new
    total = sum(changed[:148]) + 8 * 32 + sum(changed[156:512])
    changed[148:156] = b"%06o\0 " % total
    return bytes(changed)


def read_entries(path: str) -> Iterator[Tuple[tarfile.TarInfo, bytes]]:
    """What Python's own reader finds in an archive or a layer, with the contents of files."""
    with open(path, "rb") as raw:
        data = raw.read()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data) + END_OF_ARCHIVE
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        found: List[Tuple[tarfile.TarInfo, bytes]] = []
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            found.append((info, content.read() if content else b""))
    return iter(found)
