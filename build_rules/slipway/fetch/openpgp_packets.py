"""Reads the two outer forms of OpenPGP data: packets, and the ASCII armor around them.

gpgv reads only binary keyrings, does not print the size of a key, and decompresses messages. So
Slipway reads keys and signatures here before gpgv does. RFC 9580 describes both forms. Only the
forms that keys and signatures have belong here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Iterator, List, NamedTuple, Tuple

SIGNATURE, SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY, PUBLIC_SUBKEY = 2, 5, 6, 7, 14
_BEGIN = re.compile(rb"-----BEGIN PGP ([A-Z ,/0-9]+)-----")
_HEADER = re.compile(rb"[A-Za-z0-9-]+: ?.*")
_SHOWN = 40


class Malformed(ValueError):
    """Data that is not OpenPGP, or is damaged; its text is a part of a message."""


class Packet(NamedTuple):
    """A packet: its tag, its body, and all its bytes with the header."""

    tag: int
    body: bytes
    whole: bytes


def read_packets(data: bytes) -> Iterator[Packet]:
    """The packets one by one; raises Malformed at a packet with a form that keys never have."""
    at = 0
    while at < len(data):
        head, first = data[at], int.from_bytes(data[at + 1 : at + 2], "big")
        if not head & 0x80:
            raise Malformed(f"byte {at} does not start an OpenPGP packet")
        if head & 0x40:
            tag, width, size = head & 0x3F, 1, first
            if 192 <= first < 224:
                width, size = 2, (first - 192 << 8) + sum(data[at + 2 : at + 3]) + 192
            elif first == 255:
                width, size = 5, int.from_bytes(data[at + 2 : at + 6], "big")
            elif first >= 224:
                raise Malformed(f"the packet of type {tag} at byte {at} has a partial length")
        else:
            tag, width = head >> 2 & 0x0F, 1 << (head & 3)
            if width == 8:
                raise Malformed(f"the packet of type {tag} at byte {at} has no length")
            size = int.from_bytes(data[at + 1 : at + 1 + width], "big")
        start, end = at + 1 + width, at + 1 + width + size
        if end > len(data):
            raise Malformed(f"the packet of type {tag} at byte {at} is cut off")
        yield Packet(tag, data[start:end], data[at:end])
        at = end


def fingerprint(body: bytes) -> str:
    """The fingerprint of a key packet of version 4, in upper-case hexadecimal."""
    # The OpenPGP format fixes SHA-1 here; a second key with the same fingerprint is not feasible.
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


def is_armored(data: bytes) -> bool:
    """Whether `data` must be text: the first byte of a packet is never ASCII."""
    return not data[:1] or data[0] < 0x80


def read_armor(data: bytes, kind: str) -> Iterator[bytes]:
    """The content of each armored block of `data`, which must be of `kind`, such as `SIGNATURE`.

    As in gpg, text between the blocks does not count, and a block needs no checksum; a checksum
    that does not match is an error. Raises Malformed, also for a block of another kind.
    """
    lines = iter([line.rstrip(b" \t\r") for line in data.split(b"\n")])
    for line in lines:
        begin = _BEGIN.fullmatch(line)
        if begin:
            found = begin[1].decode("ascii")
            if found != kind:
                raise Malformed(f"has a block {found}, and must have only {kind}")
            yield _block(lines, kind)


def _block(lines: Iterator[bytes], name: str) -> bytes:
    for line in lines:
        if not line:
            break
        if not _HEADER.fullmatch(line):
            raise Malformed(f"the block {name} has an invalid header: {_shown(line)}")
    end, checksum = f"-----END PGP {name}-----".encode("ascii"), b""
    encoded: List[bytes] = []
    for line in lines:
        if line == end:
            break
        if checksum:
            raise Malformed(f"the block {name} continues after its checksum: {_shown(line)}")
        if line.startswith(b"=") and len(line) == 5:
            checksum = line[1:]
        else:
            encoded.append(line)
    else:
        raise Malformed(f"the block {name} is cut off: it has no END line")
    content = _decoded(b"".join(encoded), name)
    if checksum and _decoded(checksum, name) != _crc24(content):
        raise Malformed(f"the block {name} does not match its checksum")
    return content


def _decoded(encoded: bytes, name: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Malformed(f"the block {name} is not valid base64") from None


def _shown(line: bytes) -> str:
    return repr(line[:_SHOWN].decode("utf-8", "replace"))


def _crc24_table() -> Tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc)
    return tuple(table)


_CRC24 = _crc24_table()


def _crc24(content: bytes) -> bytes:
    crc = 0xB704CE
    for byte in content:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC24[crc >> 16 ^ byte]
    return crc.to_bytes(3, "big")
