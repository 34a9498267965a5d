"""Decides whether Slipway accepts the checksum list of a Node.js release.

Two things make a list trusted: a signature by a key of the keyring, or a SHA-256 that the user
gives, of the list or of the archive. A list that a server sends with neither is never parsed.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from types import MappingProxyType
from typing import Optional, Sequence

from slipway.core.errors import SlipwayError
from slipway.fetch import openpgp
from slipway.fetch.keyring import Keyring
from slipway.fetch.openpgp import Cause, NotSigned, NotVerified, TimedOut, Verified, Verifier
from slipway.runtime.definitions import checksums
from slipway.runtime.definitions.checksums import ChecksumList, read_checksums

KEYS_FOLDER = "toolchains/node/keys"
# A clear-signed list is a list and its signatures.
LARGEST = checksums.LARGEST + (1 << 16)
_GIVE_HASH = "give the hash of the archive, from a source that you trust: --sha256=<hash>"
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_WEAK_HASHES = {32: "an MD5", 40: "a SHA-1"}
_MOST_LINES = 5


@dataclass(frozen=True)
class FetchedFile:
    """The content of a file that came from a server or a folder; `name` names it in messages."""

    name: str
    content: bytes


@dataclass(frozen=True)
class TrustedList:
    """A list that Slipway accepts; `reason` says why, for reports and for the definition.

    With the hash of an archive, the list has only that archive.
    """

    checksums: ChecksumList
    reason: str


def read_trusted_list(
    listed: FetchedFile,
    signature: Optional[FetchedFile],
    keyring: Keyring,
    gpgv: Optional[Sequence[str]],
    *,
    sha256: Optional[str] = None,
    archive: Optional[str] = None,
    signed_in_time: bool = False,
) -> TrustedList:
    """The checksum list in `listed`, if the user's `sha256` or else a signature makes it trusted.

    `listed` is a plain list, or a clear-signed list (`SHASUMS256.txt.asc`) without a `signature`.
    `signature` is a detached signature of the list, or the same list clear-signed. `gpgv` is the
    command that starts gpgv; None if the machine lacks it. `sha256` is the hash of `listed`, or of
    the file `archive` of the list. With `signed_in_time`, keys may have expired after they signed.
    Raises SlipwayError.
    """
    checksums.check_not_empty(listed.content, listed.name)
    for file in (listed, signature):
        if file is not None and len(file.content) > LARGEST:
            raise SlipwayError(
                f'"{file.name}" is too long',
                found=f"{len(file.content)} bytes, more than {LARGEST}",
                next=f"fetch the file again, or {_GIVE_HASH}",
            )
    if sha256 is not None:
        return _by_hash(listed, check_given_hash(sha256), archive)
    verified = _verify(listed, signature, keyring, gpgv, signed_in_time)
    trusted = read_checksums(verified.text, listed.name)
    if signature is not None and verified.text != listed.content:
        plain = read_checksums(listed.content, listed.name)
        if plain.hashes != trusted.hashes:
            raise SlipwayError(
                f'the checksum list "{listed.name}" differs from its signed text',
                found=f"other names or hashes in {signature.name}",
                next=f"fetch both files again, or {_GIVE_HASH}",
            )
    return TrustedList(trusted, f"signed by {', '.join(verified.signers)}")


def check_given_hash(sha256: str) -> str:
    """The hash from the user in lower case; raises SlipwayError if it is not a SHA-256."""
    if _SHA256.fullmatch(sha256):
        return sha256.lower()
    kind = _WEAK_HASHES.get(len(sha256)) if re.fullmatch("[0-9A-Fa-f]+", sha256) else None
    raise SlipwayError(
        f"the hash is {kind} hash, which is broken" if kind else "the hash is not a SHA-256",
        where="--sha256",
        found=sha256,
        next="give 64 hexadecimal digits, as sha256sum prints them",
    )


def _by_hash(listed: FetchedFile, sha256: str, archive: Optional[str]) -> TrustedList:
    actual = hashlib.sha256(listed.content).hexdigest()
    text = listed.content
    if openpgp.is_clear_signed(text):
        try:
            text = openpgp.read_frame(text)
        except NotSigned as error:
            raise _unusable(listed, error) from None
    if actual == sha256:
        return TrustedList(read_checksums(text, listed.name), "the user's hash of the list")
    found = f"SHA-256 of the list: {actual}"
    if archive is not None:
        inside = read_checksums(text, listed.name).hash_of(archive)
        if inside == sha256:
            # The hash says nothing about the other lines.
            only = ChecksumList(listed.name, MappingProxyType({archive: inside}))
            return TrustedList(only, "the user's hash of the archive")
        found += f"\nSHA-256 of {archive} in the list: {inside}"
    raise SlipwayError(
        f'the given hash does not match the checksum list "{listed.name}"',
        where=f"--sha256={sha256}",
        found=found,
        next="compare the hash with its source; if it is correct, use another server",
    )


def _verify(
    listed: FetchedFile,
    signature: Optional[FetchedFile],
    keyring: Keyring,
    gpgv: Optional[Sequence[str]],
    signed_in_time: bool,
) -> Verified:
    inside = signature or listed
    if signature is None and not openpgp.is_clear_signed(listed.content):
        raise SlipwayError(
            f'the checksum list "{listed.name}" is not signed',
            found="no signature, and no --sha256",
            next=f"add SHASUMS256.txt.sig or SHASUMS256.txt.asc of the same release, or {_GIVE_HASH}",
        )
    if gpgv is None:
        raise SlipwayError(
            f'cannot check the signature of "{listed.name}"',
            found="no gpgv program",
            next=f"apt-get install gpgv, or {_GIVE_HASH}",
        )
    with tempfile.TemporaryDirectory() as folder:
        verifier = Verifier(tuple(gpgv), (keyring.write(folder),))
        try:
            if openpgp.is_clear_signed(inside.content):
                return openpgp.verify_clear_signed(
                    inside.content, verifier, alone=True, signed_in_time=signed_in_time
                )
            return openpgp.verify_detached(
                listed.content, inside.content, verifier, signed_in_time=signed_in_time
            )
        except NotSigned as error:
            raise _unusable(inside, error) from None
        except TimedOut as error:
            raise SlipwayError(
                f'the check of the signature of "{listed.name}" {error}',
                found=gpgv[-1],
                next="repair that program, or remove its folder from PATH",
            ) from None
        except NotVerified as error:
            raise _rejected(listed, inside, error) from None


def _unusable(file: FetchedFile, error: NotSigned) -> SlipwayError:
    return SlipwayError(
        f'"{file.name}" has no usable signature',
        found=str(error),
        next=f"fetch the file again, or {_GIVE_HASH}",
    )


def _rejected(listed: FetchedFile, inside: FetchedFile, error: NotVerified) -> SlipwayError:
    unknown = [fault.key for fault in error.faults if fault.cause is Cause.UNKNOWN_KEY]
    causes = {fault.cause for fault in error.faults}
    where = "" if inside is listed else inside.name
    if causes == {Cause.UNKNOWN_KEY}:
        names = [key if len(key) == 40 else "<fingerprint>" for key in unknown]
        return SlipwayError(
            f'the checksum list "{listed.name}" is signed with an unknown key',
            where=where,
            found="\n".join(f"key {key}" for key in unknown),
            next="check the fingerprint of the key with its owner, and add the key as\n"
            + "\n".join(f"  {KEYS_FOLDER}/{name}.asc" for name in dict.fromkeys(names))
            + f"\nor {_GIVE_HASH}",
        )
    details = [f"key {fault.key}: {fault.reason}" for fault in error.faults]
    next_ = _GIVE_HASH
    if causes == {Cause.CHANGED}:
        next_ = f"fetch the list and its signature again, or {_GIVE_HASH}"
    elif causes == {Cause.EXPIRED_KEY}:
        next_ = (
            f"if its owner has extended the key, replace its file in {KEYS_FOLDER}; or {_GIVE_HASH}"
        )
    return SlipwayError(
        f'the signature of the checksum list "{listed.name}" is not valid',
        where=where,
        found="\n".join(details or error.errors[:_MOST_LINES]),
        next=next_,
    )
