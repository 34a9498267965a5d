"""Decompresses gzip and xz data up to a limit, and reports damaged data.

Slipway never compresses a release with the runner's Python, because its zlib differs from machine
to machine. The zlib of the steps' root file system does that, so this module only decompresses.
"""

from __future__ import annotations

import itertools
import zlib
from typing import Iterable, Iterator, List

from slipway.core.errors import SlipwayError

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_XZ_MEMORY = 256 << 20  # bytes; `xz -9` needs 65 MiB to decompress, and a hostile header any amount


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with `head` is compressed with gzip, xz or zstd."""
    return head.startswith((_GZIP, _XZ, _ZSTD))


def unpacked_chunks(data: Iterable[bytes], label: str, most: int) -> Iterator[bytes]:
    """The content of `data`, decompressed if it is gzip or xz.

    `label` is the file's name in messages. Raises SlipwayError for damaged data, for zstd, and for
    more than `most` bytes of content.
    """
    chunks = iter(data)
    first = next(chunks, b"")
    chunks = itertools.chain([first] if first else [], chunks)
    if first.startswith(_ZSTD):
        raise SlipwayError(
            f'"{label}" is compressed with zstd, which Slipway does not support',
            next="compress it with gzip instead",
        )
    if first.startswith(_GZIP):
        chunks = _gzip_chunks(chunks, label)
    elif first.startswith(_XZ):
        chunks = _xz_chunks(chunks, label)
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise SlipwayError(
                f'"{label}" is too large', found=f"more than {most} bytes after decompression"
            )
        yield chunk


def _gzip_chunks(packed: Iterator[bytes], label: str) -> Iterator[bytes]:
    data = _more(packed, label)
    while data:
        stream = zlib.decompressobj(31)
        while not stream.eof:
            try:
                yield stream.decompress(data or _more(packed, label), _CHUNK)
            except zlib.error as error:
                raise _damaged(label, error) from None
            data = stream.unconsumed_tail
        data = _next_stream(stream.unused_data, packed)


def _xz_chunks(packed: Iterator[bytes], label: str) -> Iterator[bytes]:
    try:
        import lzma  # noqa: PLC0415  (a Python that was built without liblzma has no such module)
    except ImportError:
        raise SlipwayError(
            f'"{label}" is compressed with xz, but this Python was built without lzma',
            next="export SLIPWAY_PYTHON=<a CPython 3.7 to 3.9 that was built with liblzma>",
        ) from None
    data = _more(packed, label)
    while data:
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not stream.eof:
            if stream.needs_input and not data:
                data = _more(packed, label)
            try:
                yield stream.decompress(data, _CHUNK)
            except lzma.LZMAError as error:
                raise _damaged(label, error) from None
            data = b""
        data = _next_stream(stream.unused_data, packed)


def _more(packed: Iterator[bytes], label: str) -> bytes:
    data = next(packed, b"")
    if not data:
        raise SlipwayError(f'"{label}" is truncated')
    return data


def _next_stream(rest: bytes, packed: Iterator[bytes]) -> bytes:
    """The start of the next stream; empty at the end of the file.

    gzip and xz files may contain several streams in a row, and xz allows zero bytes between them.
    """
    return (rest or next(packed, b"")).lstrip(b"\0")


def _damaged(label: str, error: Exception) -> SlipwayError:
    return SlipwayError(f'"{label}" is damaged', found=str(error))


class Stream:
    """Chunks of bytes as a file that can only be read forwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._used = 0  # bytes of `_held` that were read already
        self._position = 0

    def seek(self, at: int) -> int:
        left = at - self._position
        if left < 0:
            raise ValueError(f"a stream at {self._position} cannot go back to {at}")
        while left:
            step = min(left, self._available())
            if not step:
                break
            self._used += step
            self._position += step
            left -= step
        return self._position

    def read(self, size: int) -> bytes:
        parts: List[bytes] = []
        while size:
            step = min(size, self._available())
            if not step:
                break
            parts.append(self._held[self._used : self._used + step])
            self._used += step
            self._position += step
            size -= step
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _available(self) -> int:
        while self._used == len(self._held):
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._held, self._used = chunk, 0
        return len(self._held) - self._used
