"""Which shared libraries an ELF file asks the loader for.

Cutting a package from an image is a promise that nothing in it needs that package's libraries; an
image is checked against that promise when it is made, not when a build step fails on it.
Only x86-64 is read; see elf(5).  What is no such file, or is damaged, asks for nothing.
"""

from __future__ import annotations

import struct
from typing import Dict, Iterator, List, Tuple

MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS = 1, 5
_LONGEST_NAME = 4096


def needed_libraries(data: bytes) -> List[str]:
    """The DT_NEEDED names of an executable or a shared library, in their order."""
    if not data.startswith(MAGIC):
        return []
    try:
        return list(_needed(data))
    except (struct.error, ValueError, OverflowError):  # an offset beyond the file, or any file
        return []


def _needed(data: bytes) -> Iterator[str]:
    loaded: List[Tuple[int, int, int]] = []
    dynamic: Dict[int, List[int]] = {}
    for kind, offset, address, size in _segments(data):
        if kind == _LOAD:
            loaded.append((address, size, offset))
        elif kind == _DYNAMIC and not dynamic:
            for at in range(offset, min(offset + size, len(data) - 15), 16):
                tag, value = struct.unpack_from("<qQ", data, at)
                if tag == 0:
                    break
                dynamic.setdefault(tag, []).append(value)
    if _NEEDED not in dynamic or _STRINGS not in dynamic:
        return
    strings = dynamic[_STRINGS][0]
    for address, size, offset in loaded:
        if address <= strings < address + size:
            start = strings - address + offset
            for name in dynamic[_NEEDED]:
                end = data.index(b"\0", start + name, start + name + _LONGEST_NAME)
                yield data[start + name : end].decode("ascii", "replace")


def _segments(data: bytes) -> Iterator[Tuple[int, int, int, int]]:
    """Kind, offset, address and size in the file of each segment."""
    table = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", data, table + i * size)
        yield kind, offset, address, in_file
