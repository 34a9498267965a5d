"""Reading gzip and xz data from elsewhere, up to a limit, with words when it is damaged.

Only reading: compressed bytes of a release come from the root file system's own zlib, never from
the runner's Python.
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
_XZ_MEMORY = 256 << 20  # four times what `xz -9` asks for


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with `head` has to be unpacked before it can be read."""
    return head.startswith((_GZIP, _XZ, _ZSTD))


def unpacked_chunks(data: Iterable[bytes], label: str, most: int) -> Iterator[bytes]:
    """The content of `data`, unpacked if it is gzip or xz.

    `label` names the file in messages; more than `most` bytes are refused.
    """
    chunks = iter(data)
    first = next(chunks, b"")
    chunks = itertools.chain([first] if first else [], chunks)
    if first.startswith(_ZSTD):
        raise SlipwayError(
            f'"{label}" is compressed with zstd, which cannot be read here',
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
                f'"{label}" holds too much', found=f"more than {most} bytes when unpacked"
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
        import lzma  # noqa: PLC0415  (missing in a Python that was built without it)
    except ImportError:
        raise SlipwayError(
            f'"{label}" is compressed with xz, and this Python was built without lzma',
            next="let ./pants use another CPython 3.7 to 3.9, built with liblzma",
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
        raise SlipwayError(f'"{label}" is cut off')
    return data


def _next_stream(rest: bytes, packed: Iterator[bytes]) -> bytes:
    """A compressed file may be several streams in a row, and end in padding."""
    return (rest or next(packed, b"")).lstrip(b"\0")


def _damaged(label: str, error: Exception) -> SlipwayError:
    return SlipwayError(f'"{label}" is damaged', found=str(error))


class Stream:
    """What chunks hold, as a file that can only be read forwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._used = 0  # of what is held
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
