"""Reading gzip and xz data from elsewhere, up to a limit, with words when it is damaged.

Only reading: compressed bytes of a release come from the root file system's own zlib, never from
the runner's Python.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO, Iterator

from build_rules.lib.errors import SlipwayError

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_XZ_MEMORY = 256 << 20  # four times what `xz -9` asks for


def unpacked_chunks(file: BinaryIO, label: str, most: int) -> Iterator[bytes]:
    """The content of `file`, from its position on, unpacked if it is gzip or xz.

    `label` names the file in messages; more than `most` bytes are refused.
    """
    start = file.tell()
    magic = file.read(6)
    file.seek(start)
    if magic.startswith(ZSTD_MAGIC):
        raise SlipwayError(
            f'"{label}" is compressed with zstd, which cannot be read here',
            next="compress it with gzip",
        )
    chunks: Iterator[bytes]
    if magic.startswith(GZIP_MAGIC):
        chunks = _gzip_chunks(file, label)
    elif magic.startswith(XZ_MAGIC):
        chunks = _xz_chunks(file, label)
    else:
        chunks = iter(lambda: file.read(_CHUNK), b"")
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise SlipwayError(
                f'"{label}" holds too much', found=f"more than {most} bytes when unpacked"
            )
        yield chunk


def _gzip_chunks(file: BinaryIO, label: str) -> Iterator[bytes]:
    data = _more(file, label)
    while data:
        stream = zlib.decompressobj(31)
        while not stream.eof:
            try:
                yield stream.decompress(data or _more(file, label), _CHUNK)
            except zlib.error as error:
                raise _damaged(label, error) from None
            data = stream.unconsumed_tail
        data = _next_stream(stream.unused_data, file)


def _xz_chunks(file: BinaryIO, label: str) -> Iterator[bytes]:
    try:
        import lzma  # noqa: PLC0415  (missing in a Python that was built without it)
    except ImportError:
        raise SlipwayError(
            f'"{label}" is compressed with xz, and this Python was built without lzma',
            next="let ./pants use another CPython 3.7 to 3.9, built with liblzma",
        ) from None
    data = _more(file, label)
    while data:
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not stream.eof:
            if stream.needs_input and not data:
                data = _more(file, label)
            try:
                yield stream.decompress(data, _CHUNK)
            except lzma.LZMAError as error:
                raise _damaged(label, error) from None
            data = b""
        data = _next_stream(stream.unused_data, file)


def _more(file: BinaryIO, label: str) -> bytes:
    data = file.read(_CHUNK)
    if not data:
        raise SlipwayError(f'"{label}" is cut off')
    return data


def _next_stream(rest: bytes, file: BinaryIO) -> bytes:
    """A compressed file may be several streams in a row, and end in padding."""
    return (rest or file.read(_CHUNK)).lstrip(b"\0")


def _damaged(label: str, error: Exception) -> SlipwayError:
    return SlipwayError(f'"{label}" is damaged', found=str(error))
