"""Reads the size of RSA keys from a keyring.

gpgv accepts signatures of short keys and does not print the size of a key, so Slipway reads it
here. A keyring is a sequence of OpenPGP packets (RFC 9580), as `gpg --export` writes it.
"""

from __future__ import annotations

import hashlib
from typing import Iterator, Tuple

_PUBLIC_KEY, _PUBLIC_SUBKEY = 6, 14
_RSA = (1, 2, 3)


def rsa_bits(path: str, fingerprint: str) -> int:
    """The size of a key in the keyring at `path`; 0 if it is missing or not an RSA key."""
    try:
        with open(path, "rb") as file:
            keyring = file.read()
    except OSError:  # gpgv has found the key in another keyring
        return 0
    for tag, body in _packets(keyring):
        # A key packet: version, four bytes of time, algorithm, length of the modulus, modulus.
        is_key = tag in (_PUBLIC_KEY, _PUBLIC_SUBKEY) and body[:1] == b"\x04" and len(body) > 8
        if is_key and body[5] in _RSA:
            hashed = b"\x99" + len(body).to_bytes(2, "big") + body
            if hashlib.sha1(hashed).hexdigest() == fingerprint.lower():
                return int.from_bytes(body[6:8], "big")
    return 0


def _packets(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Tag and body of each packet; stops at a packet with a form that keys never have."""
    at = 0
    while at + 2 <= len(data):
        head, first = data[at], data[at + 1]
        if head & 0xC0 == 0xC0:
            tag, width, size = head & 0x3F, 1, first
            if 192 <= first < 224:
                width, size = 2, (first - 192 << 8) + sum(data[at + 2 : at + 3]) + 192
            elif first == 255:
                width, size = 5, int.from_bytes(data[at + 2 : at + 6], "big")
            elif first >= 224:
                return
        else:
            tag, width = head >> 2 & 0x0F, 1 << (head & 3)
            if not head & 0x80 or width == 8:
                return
            size = int.from_bytes(data[at + 1 : at + 1 + width], "big")
        at += 1 + width
        yield tag, data[at : at + size]
        at += size
