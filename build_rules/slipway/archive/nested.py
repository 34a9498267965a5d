"""Finds files by their content in archives that a package contains.

Some packages bring their binaries in an archive and unpack it at run time, so these binaries must
fit the oldest host too. This module reads zip and tar archives, also compressed with gzip or xz,
but no archives inside archives. It skips archives that are damaged, encrypted or too large.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from typing import Iterator, Tuple

from slipway.archive.decompression import is_compressed, unpacked_chunks
from slipway.core.errors import SlipwayError

HEAD = 512
"""The number of bytes that `is_archive` needs from the start of a file."""

_ZIP = b"PK\x03\x04"
_TAR, _TAR_AT = b"ustar", 257
_LARGEST = 1 << 30
_MOST_MEMBERS = 100_000


def is_archive(head: bytes) -> bool:
    return head.startswith(_ZIP) or _is_tar(head) or is_compressed(head)


def members(content: bytes, magic: bytes) -> Iterator[Tuple[str, bytes]]:
    """Name and content of each file in the archive that begins with `magic`."""
    try:
        if content.startswith(_ZIP):
            yield from _in_zip(content, magic)
        elif _is_tar(content[:HEAD]):
            yield from _in_tar(content, magic)
        elif is_compressed(content[:HEAD]):
            chunks = unpacked_chunks([content], "archive", _LARGEST)
            first = next(chunks, b"")
            if first.startswith(magic):
                yield "", first + b"".join(chunks)
            elif _is_tar(first[:HEAD]):
                yield from _in_tar(first + b"".join(chunks), magic)
    except (
        *(SlipwayError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
        *(OSError, EOFError, ValueError, NotImplementedError, RuntimeError),
    ):
        return


def _is_tar(head: bytes) -> bool:
    return head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def _in_zip(content: bytes, magic: bytes) -> Iterator[Tuple[str, bytes]]:
    left = _LARGEST
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist()[:_MOST_MEMBERS]:
            if info.is_dir() or info.flag_bits & 1:  # encrypted
                continue
            with archive.open(info) as file:
                head = file.read(len(magic))
                if head == magic:
                    rest = file.read(left + 1)
                    left -= len(rest)
                    if left < 0:
                        return
                    yield info.filename, head + rest


def _in_tar(content: bytes, magic: bytes) -> Iterator[Tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= _MOST_MEMBERS:
                return
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None and file.read(len(magic)) == magic:
                file.seek(0)
                yield member.name, file.read()
