"""Keyrings: public OpenPGP keys from files, and the size of an RSA key.

A workspace keeps each trusted key in a file, armored (`*.asc`) or binary (`*.gpg`). gpgv reads only
binary keyrings, so Slipway reads the files and writes one for it. gpgv accepts signatures of short
keys and does not print the size of a key, so Slipway reads that too.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.fetch.openpgp_packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SECRET_KEY,
    SECRET_SUBKEY,
    SIGNATURE,
    Malformed,
    Packet,
    fingerprint,
    is_armored,
    read_armor,
    read_packets,
)

_SUFFIXES = (".asc", ".gpg")
# For comparison, Node's largest release key has 15 kB; a key with many signatures has 200 kB.
LARGEST_FILE = 1 << 20
_MOST_FILES = 1000
_BLOCK = "PUBLIC KEY BLOCK"
_RSA = (1, 2, 3)
_USER_ID, _USER_ATTRIBUTE = 13, 17
_PARTS = (SIGNATURE, _USER_ID, PUBLIC_SUBKEY, _USER_ATTRIBUTE)
# Packets that say nothing about a key: markers, gpg's local trust, padding.
_LEFT_OUT = (10, 12, 21)
# RFC 9580, 5.2.1: revocations of a key and of a subkey.
_REVOCATIONS = (b"\x20", b"\x28")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")


@dataclass(frozen=True)
class PublicKey:
    """A key with its subkeys; `packets` are its bytes, and `file` names it in messages.

    Fingerprints are in upper-case hexadecimal.
    """

    fingerprint: str
    subkeys: Tuple[str, ...]
    file: str
    packets: bytes


@dataclass(frozen=True)
class Keyring:
    """Keys with different fingerprints."""

    keys: Tuple[PublicKey, ...]

    @property
    def fingerprints(self) -> Tuple[str, ...]:
        return tuple(key.fingerprint for key in self.keys)

    def write(self, folder: str) -> str:
        """Writes a binary keyring for gpgv into `folder`; returns its path."""
        path = os.path.join(folder, "keyring.gpg")
        with open(path, "wb") as file:
            file.writelines(key.packets for key in self.keys)
        return path


def read_key_folder(folder: str) -> Keyring:
    """The keys in the files `*.asc` and `*.gpg` of `folder`; the other files do not count.

    Raises SlipwayErrors with each file that is not usable.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIXES))
    except OSError as error:
        raise SlipwayError(
            f'cannot read the folder of keys "{folder}"',
            found=error.strerror or str(error),
            next="create the folder, and add a key for each trusted signer: <fingerprint>.asc",
        ) from None
    if not names or len(names) > _MOST_FILES:
        raise SlipwayError(
            f'the folder of keys "{folder}" has {"too many" if names else "no"} keys',
            found=f"{len(names)} files *.asc and *.gpg",
            next="add a key for each trusted signer: <fingerprint>.asc"
            if not names
            else f"keep at most {_MOST_FILES} files",
        )
    files: List[Tuple[str, bytes]] = []
    faults: List[str] = []
    for name in names:
        path = os.path.join(folder, name)
        try:
            files.append((path, _content(path)))
        except OSError as error:
            faults.append(f"{path}: {error.strerror or error}")
    return read_keys(files, faults)


def _content(path: str) -> bytes:
    # O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    with open(path, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a regular file")
        return file.read(LARGEST_FILE + 1)


def read_keys(files: Iterable[Tuple[str, bytes]], faults: Iterable[str] = ()) -> Keyring:
    """The keys in `files`, which are pairs of name and content.

    `faults` are what the caller found already. Raises SlipwayErrors with all faults.
    """
    found = list(faults)
    keys: Dict[str, PublicKey] = {}
    for name, content in files:
        try:
            of_file = parse_keys(content, name)
        except Malformed as error:
            found.append(f"{name}: {error}")
            continue
        for key in of_file:
            other = keys.setdefault(key.fingerprint, key)
            # gpgv uses the first of the two, which may be an old copy.
            if other.packets != key.packets:
                found.append(f"{name}: another copy of the key {key.fingerprint} in {other.file}")
    if found:
        raise SlipwayErrors(
            "some files are not usable as OpenPGP public keys",
            found,
            next="export a key again: gpg --armor --export <fingerprint> > <fingerprint>.asc",
        )
    return Keyring(tuple(keys.values()))


def parse_keys(content: bytes, name: str) -> Tuple[PublicKey, ...]:
    """The keys of a file, armored or binary; raises Malformed if it has another content too."""
    if len(content) > LARGEST_FILE:
        raise Malformed(f"has more than {LARGEST_FILE} bytes")
    if not content.strip():
        raise Malformed("is empty")
    if content[8:12] == b"KBXf":
        raise Malformed("is a keybox of gpg, which gpgv cannot read as a file of keys")
    blocks = [content]
    if is_armored(content):
        blocks = list(read_armor(content, _BLOCK))
        if not blocks:
            raise Malformed(f"has no block {_BLOCK}")
    keys = [key for block in blocks for key in _keys(read_packets(block), name)]
    stem = os.path.splitext(os.path.basename(name))[0]
    if _FINGERPRINT.fullmatch(stem):
        known = {number for key in keys for number in (key.fingerprint, *key.subkeys)}
        # Reviewers compare the name of the file with what the owner publishes.
        if stem.upper() not in known:
            prints = ", ".join(key.fingerprint for key in keys)
            raise Malformed(f"has another key than its name says: {prints}")
    return tuple(keys)


def _keys(packets: Iterable[Packet], name: str) -> Iterator[PublicKey]:
    groups: List[List[Packet]] = []
    for packet in packets:
        if packet.tag in _LEFT_OUT:
            continue
        if packet.tag in (SECRET_KEY, SECRET_SUBKEY):
            raise Malformed("has a secret key; keep secret keys out of the workspace")
        if packet.tag == PUBLIC_KEY:
            if packet.body[:1] != b"\x04":
                raise Malformed(f"has a key of version {packet.body[0] if packet.body else '?'}")
            groups.append([])
        elif packet.tag not in _PARTS or not groups:
            raise Malformed(f"has a packet of type {packet.tag}, which does not belong to a key")
        groups[-1].append(packet)
    if not groups:
        raise Malformed("has no key")
    for first, *rest in groups:
        subkeys = (packet.body for packet in rest if packet.tag == PUBLIC_SUBKEY)
        yield PublicKey(
            fingerprint(first.body),
            tuple(fingerprint(body) for body in subkeys if body[:1] == b"\x04"),
            name,
            b"".join(packet.whole for packet in (first, *rest)),
        )


def rsa_bits(path: str, wanted: str) -> int:
    """The size of a key in the keyring at `path`; 0 if it is missing or not an RSA key."""
    for packet in _key_packets(path, wanted)[:1]:
        # A key packet: version, four bytes of time, algorithm, length of the modulus, modulus.
        if len(packet.body) > 8 and packet.body[5] in _RSA:
            return int.from_bytes(packet.body[6:8], "big")
    return 0


def has_revocation(path: str, wanted: str) -> bool:
    """Whether a key in the keyring at `path`, its primary key or a subkey was revoked.

    gpgv reports an expired key only as expired, even if it was revoked too.
    """
    for packet in _key_packets(path, wanted):
        # Version 4 has the type of the signature in its second byte, version 3 in the third.
        kind = packet.body[1:2] if packet.body[:1] == b"\x04" else packet.body[2:3]
        if packet.tag == SIGNATURE and kind in _REVOCATIONS:
            return True
    return False


def _key_packets(path: str, wanted: str) -> List[Packet]:
    """The packet of the key with a fingerprint, then all packets of its primary key and subkeys.

    Empty if the keyring at `path` does not have that key.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:  # gpgv has found the key in another keyring
        return []
    found: List[Packet] = []
    group: List[Packet] = []
    with contextlib.suppress(Malformed):
        for packet in read_packets(content):
            if packet.tag == PUBLIC_KEY:
                if found:
                    break
                group = []
            group.append(packet)
            is_key = packet.tag in (PUBLIC_KEY, PUBLIC_SUBKEY) and packet.body[:1] == b"\x04"
            if is_key and fingerprint(packet.body) == wanted.upper():
                found = [packet]
    return [*found, *group] if found else []
