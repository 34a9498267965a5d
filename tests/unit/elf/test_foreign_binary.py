"""Programs for other systems, recognized by their first bytes."""

from __future__ import annotations

import struct

import pytest

from slipway.elf.foreign_binary import system_of

WINDOWS = b"MZ" + bytes(58) + struct.pack("<I", 0x80) + bytes(64) + b"PE\0\0" + bytes(20)


@pytest.mark.parametrize(
    ("head", "system"),
    [
        (WINDOWS, "Windows"),
        (b"\xcf\xfa\xed\xfe" + bytes(28), "macOS"),
        (b"\xfe\xed\xfa\xce" + bytes(28), "macOS"),
        (b"\xca\xfe\xba\xbe" + struct.pack(">I", 2), "macOS"),
        (b"\xca\xfe\xba\xbe" + struct.pack(">HH", 0, 52), ""),  # a Java class
        (b"\xca\xfe\xba\xbe", ""),
        (b"MZ and more text, as long as it takes to reach the place of the header", ""),
        (b"MZ", ""),
        (b"\x7fELF", ""),
        (b"#!/bin/sh\n", ""),
        (b"", ""),
    ],
)
def test_the_first_bytes_tell_the_system(head: bytes, system: str) -> None:
    assert system_of(head) == system
