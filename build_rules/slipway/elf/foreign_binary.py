"""Programs of other systems than Linux, known by how they begin.

Packages carry prebuilt binaries for every system that they support.  Sources: the PE format
specification (a DOS header, and at offset 0x3C the place of "PE") and Apple's mach-o/loader.h and
fat.h.
"""

from __future__ import annotations

import struct

_MACH_O = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
_UNIVERSAL = b"\xca\xfe\xba\xbe"
# A Java class begins as a universal binary does; its version, at the same place, is 45 at least.
_MOST_ARCHITECTURES = 44
_PE_OFFSET_AT = 0x3C


def system_of(head: bytes) -> str:
    """The system that a file with this beginning, of some hundred bytes, is a program of."""
    if head.startswith(_MACH_O):
        return "macOS"
    if head.startswith(_UNIVERSAL) and len(head) >= 8:
        return "macOS" if struct.unpack_from(">I", head, 4)[0] <= _MOST_ARCHITECTURES else ""
    if head.startswith(b"MZ") and len(head) >= _PE_OFFSET_AT + 4:
        at = struct.unpack_from("<I", head, _PE_OFFSET_AT)[0]
        return "Windows" if head[at : at + 4] == b"PE\0\0" else ""
    return ""
