"""Writes layer tars whose bytes depend only on their entries.

This module builds the headers itself, because those of `tarfile` can change between Python
versions. The runner may be CPython 3.7, 3.8 or 3.9, and the same lock must give the same layer.
The format is GNU tar, because every tool that unpacks images reads it.
"""

from __future__ import annotations

from typing import BinaryIO, Iterable, List

_BLOCK = 512
_RECORD = 20 * _BLOCK
_NAME = 100

FILE = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
FOLDER = b"5"


class TarWriter:
    """Writes entries in the order of the calls, all owned by root and with the same time."""

    def __init__(self, out: BinaryIO, mtime: int) -> None:
        self._out = out
        self._mtime = mtime
        self._written = 0

    def add(
        self,
        name: str,
        kind: bytes,
        mode: int,
        *,
        target: str = "",
        size: int = 0,
        chunks: Iterable[bytes] = (),
    ) -> None:
        """Writes an entry; raises ValueError if `chunks` do not have `size` bytes in total."""
        self._write(member_header(name, kind, mode, self._mtime, target=target, size=size))
        self._write_padded(chunks, size)

    def close(self) -> None:
        """Ends the archive: two empty blocks, then padding to a full record as GNU tar does."""
        self._write(b"\0" * (2 * _BLOCK))
        self._write(b"\0" * (-self._written % _RECORD))

    def _write_padded(self, chunks: Iterable[bytes], size: int) -> None:
        written = 0
        for chunk in chunks:
            self._write(chunk)
            written += len(chunk)
        if written != size:
            raise ValueError(f"an entry of {size} bytes came with {written}")
        self._write(b"\0" * (-size % _BLOCK))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._written += len(data)


def member_header(
    name: str, kind: bytes, mode: int, mtime: int, *, target: str = "", size: int = 0
) -> bytes:
    """The blocks before an entry's content: headers for a long target and name, then its own."""
    raw, raw_target = _raw(name) + (b"/" if kind == FOLDER else b""), _raw(target)
    blocks: List[bytes] = []
    for field, longest in ((raw_target, b"K"), (raw, b"L")):
        if len(field) > _NAME:
            blocks.append(_header(b"././@LongLink", longest, 0o644, 0, b"", len(field) + 1))
            blocks.append(field + b"\0" + b"\0" * (-(len(field) + 1) % _BLOCK))
    blocks.append(_header(raw[:_NAME], kind, mode, mtime, raw_target[:_NAME], size))
    return b"".join(blocks)


def _header(name: bytes, kind: bytes, mode: int, mtime: int, target: bytes, size: int) -> bytes:
    before = b"".join(
        [
            name.ljust(_NAME, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,
            _size_field(size),
            b"%011o\0" % mtime,
        ]
    )
    after = kind + target.ljust(_NAME, b"\0") + b"ustar  \0" + b"\0" * 247
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return before + b"%06o\0 " % checksum + after


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _size_field(size: int) -> bytes:
    if size < 8**11:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")
