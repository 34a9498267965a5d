"""Reads and writes `ar` archives: Debian packages and static libraries. See deb(5) and ar(5).

A written archive has a symbol index, because linkers require it. Dates, owners and modes are fixed,
so that the same members give the same bytes on every machine.
"""

from __future__ import annotations

import re
import struct
from typing import Iterator, List, Sequence, Tuple

from slipway.core.errors import SlipwayError

MAGIC = b"!<arch>\n"
_HEADER = 60
_INDEX, _LONG_NAMES = "/", "//"
_SHORT = 15  # bytes of a name; a header has 16, and the GNU format ends the name with "/"


def members(content: bytes, label: str) -> Iterator[Tuple[str, bytes]]:
    """Names and contents of the members, without the symbol index.

    `label` is the archive's name in messages. Raises SlipwayError if the archive is damaged.
    """
    if not content.startswith(MAGIC):
        raise SlipwayError(f'"{label}" is not an ar archive', found=repr(content[:16]))
    long_names, at = b"", len(MAGIC)
    while at < len(content):
        header = content[at : at + _HEADER]
        size = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != b"`\n" or not size.isdigit():
            raise SlipwayError(f'"{label}" has a damaged ar header', where=f"{label}, byte {at}")
        start = at + _HEADER
        end = start + int(size)
        if end > len(content):
            raise SlipwayError(f'"{label}" is truncated', where=f"{label}, byte {at}")
        name = header[:16].decode("ascii", "replace").rstrip(" ")
        if name == _LONG_NAMES:
            long_names = content[start:end]
        elif name != _INDEX:
            if re.fullmatch(r"/[0-9]+", name):
                name = long_names[int(name[1:]) :].partition(b"\n")[0].decode("ascii", "replace")
            yield name.rstrip("/"), content[start:end]
        at = end + end % 2


def write(files: Sequence[Tuple[str, bytes]], index: Sequence[Sequence[str]]) -> bytes:
    """The archive as bytes; `index` lists for each file the symbols that linkers find in it."""
    symbols = [(number, name) for number, names in enumerate(index) for name in names]
    texts = b"".join(name.encode() + b"\0" for _, name in symbols)
    table_size = 4 + 4 * len(symbols) + len(texts)
    long_names = "".join(f"{name}/\n" for name, _ in files if len(name) > _SHORT).encode()
    at = len(MAGIC) + _HEADER + _even(table_size)
    if long_names:
        at += _HEADER + _even(len(long_names))
    places: List[int] = []
    for _, content in files:
        places.append(at)
        at += _HEADER + _even(len(content))
    parts = [MAGIC, _header(_INDEX, table_size), struct.pack(">I", len(symbols))]
    parts.extend(struct.pack(">I", places[number]) for number, _ in symbols)
    parts.append(_padded(texts, table_size))
    if long_names:
        parts += [_header(_LONG_NAMES, len(long_names)), _padded(long_names, len(long_names))]
    for name, content in files:
        short = f"{name}/"
        if len(name) > _SHORT:
            short = f"/{long_names.index(short.encode())}"
        parts += [_header(short, len(content)), _padded(content, len(content))]
    return b"".join(parts)


def _header(name: str, size: int) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{size:<10}`\n".encode()


def _padded(content: bytes, size: int) -> bytes:
    return content + b"\n" * (size % 2)


def _even(size: int) -> int:
    return size + size % 2
