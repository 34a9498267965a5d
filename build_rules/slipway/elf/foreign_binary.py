"""Recognizes programs for macOS and Windows by their first bytes.

Packages contain prebuilt binaries for every system that they support. Sources: the PE format
specification (a DOS header, with the offset of "PE" at 0x3C); Apple's mach-o/loader.h and fat.h.
"""

from __future__ import annotations

import struct

_MACH_O = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
_UNIVERSAL = b"\xca\xfe\xba\xbe"
# A Java class file begins with the same four bytes as a universal binary. At the place of the
# number of architectures it has its version, which is at least 45.
_MOST_ARCHITECTURES = 44
_PE_OFFSET_AT = 0x3C


def system_of(head: bytes) -> str:
    """The system of a program with these first bytes; empty if unknown. Needs some 100 bytes."""
    if head.startswith(_MACH_O):
        return "macOS"
    if head.startswith(_UNIVERSAL) and len(head) >= 8:
        return "macOS" if struct.unpack_from(">I", head, 4)[0] <= _MOST_ARCHITECTURES else ""
    if head.startswith(b"MZ") and len(head) >= _PE_OFFSET_AT + 4:
        at = struct.unpack_from("<I", head, _PE_OFFSET_AT)[0]
        return "Windows" if head[at : at + 4] == b"PE\0\0" else ""
    return ""
