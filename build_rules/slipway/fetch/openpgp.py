"""Verifies OpenPGP signatures with gpgv, with the same requirements as apt.

gpgv decides whether a signature matches a text and a key. It also accepts weak digests and short
keys, and reads messages that are not signed texts, so this module has its own requirements.
The texts about who may sign what belong to the callers.
"""

from __future__ import annotations

import enum
import os
import re
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Tuple

from slipway.fetch import keyring
from slipway.fetch.openpgp_packets import (
    SIGNATURE,
    Malformed,
    is_armored,
    read_armor,
    read_packets,
)

LARGEST = 4 << 20
_SECONDS = 60
_SIGNED_TEXT = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
# "Hash" is the only header that has a meaning and does not change how gpgv reads the text.
_FRAME = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:Hash: [A-Za-z0-9, -]+\r?\n)*\r?\n"
    rb"(?P<text>(?:(?:- |(?!-))[^\n]*\n)*)"
    rb"(?P<signature>-----BEGIN PGP SIGNATURE-----\r?\n(?:(?!-)[^\n]*\n)*"
    rb"-----END PGP SIGNATURE-----)\s*"
)
# gpgv cuts a line of a signed text after 20,000 bytes.
_LONGEST_LINE = 4096
_STATUS = re.compile(r"^\[GNUPG:\] (\w+) ?(.*)$", re.MULTILINE)
# RFC 9580, 9.5: digests that are broken or out of use.
_WEAK_DIGESTS = {"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"}
# RFC 9580, 9.1: RSA, ECDSA, EdDSA, Ed25519, Ed448. DSA keys have only 1024 bits.
_RSA = "1"
_ALGORITHMS = (_RSA, "19", "22", "27", "28")
_LEAST_RSA_BITS = 2048
# Signatures of a binary document and of a text; other kinds are statements about keys.
_KINDS = ("00", "01")


class Cause(enum.Enum):
    """Why a signature does not count; the value is the text for messages."""

    EXPIRED_KEY = "its key has expired"
    EXPIRED = "the signature has expired"
    REVOKED_KEY = "its key was revoked"
    UNKNOWN_KEY = "its key is not in the keyring"
    CHANGED = "the text was changed after it was signed"
    UNSUPPORTED = "gpgv does not support its algorithm or its version"
    WEAK_DIGEST = "it uses a weak digest"
    WEAK_ALGORITHM = "its key has a weak algorithm, such as DSA"
    SHORT_KEY = "its key is too short"
    OTHER_KIND = "it is not a signature of a document"


_CAUSES = {
    "EXPKEYSIG": Cause.EXPIRED_KEY,
    "EXPSIG": Cause.EXPIRED,
    "REVKEYSIG": Cause.REVOKED_KEY,
    "ERRSIG": Cause.UNKNOWN_KEY,
    "BADSIG": Cause.CHANGED,
}
_NO_PUBLIC_KEY = "9"  # libgpg-error: the reason field of ERRSIG


@dataclass(frozen=True)
class Fault:
    """Why a signature does not count; `key` is the fingerprint of its key, or the key's ID."""

    cause: Cause
    key: str
    reason: str


class NotSigned(Exception):
    """The input does not have the form of a signed text or of a signature; its text says why."""


class TimedOut(Exception):
    """gpgv took too long; its text has the time."""


class NotVerified(Exception):
    """No signature counts. Without `faults`, gpgv could not read any; it wrote `errors`."""

    def __init__(self, faults: Sequence[Fault], errors: Sequence[str]) -> None:
        self.faults = tuple(faults)
        self.errors = tuple(errors)
        super().__init__("\n".join([*(fault.reason for fault in faults), *errors]))


@dataclass(frozen=True)
class Verifier:
    """The command that starts gpgv, and the paths of the keyrings with the trusted keys."""

    command: Tuple[str, ...]
    keyrings: Tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """A text, and the fingerprints of the keys whose signatures count."""

    text: bytes
    signers: Tuple[str, ...]


def is_clear_signed(content: bytes) -> bool:
    """Whether `content` starts as a clear-signed text does."""
    return content.startswith(_SIGNED_TEXT.rstrip(b"\n"))


def verify_clear_signed(
    signed: bytes, verifier: Verifier, *, alone: bool = False, signed_in_time: bool = False
) -> Verified:
    """The text inside of `signed`, if a key of `verifier` has signed it.

    With `alone`, the input must not have anything else than the text and its signatures; without,
    what follows does not count. With `signed_in_time`, a key may have expired since it signed.
    Raises NotSigned, NotVerified, also if any signature belongs to another text, and TimedOut.
    """
    _check_size(signed)
    # gpgv also accepts other OpenPGP messages and decompresses them, without a limit.
    if alone:
        read_frame(signed)
    elif not signed.startswith(_SIGNED_TEXT):
        raise NotSigned("does not start as a clear-signed text")
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "signed"), os.path.join(folder, "text")
        with open(source, "wb") as file:
            file.write(signed)
        done = _run(verifier, ["--output", target, source], folder, len(signed))
        faults, signers = _judge(done.stdout, verifier.keyrings, signed_in_time)
        if signers and os.path.exists(target):
            with open(target, "rb") as file:
                return Verified(file.read(), signers)
    raise NotVerified(faults, _errors(done.stderr))


def verify_detached(
    content: bytes, signature: bytes, verifier: Verifier, *, signed_in_time: bool = False
) -> Verified:
    """`content`, if `signature`, armored or binary, is a signature of it by a key of `verifier`.

    `signed_in_time` and the errors are as for verify_clear_signed().
    """
    _check_size(content)
    _check_size(signature)
    packets = _signature_packets(signature)
    with tempfile.TemporaryDirectory() as folder:
        source, beside = os.path.join(folder, "content"), os.path.join(folder, "signature")
        for path, data in ((source, content), (beside, packets)):
            with open(path, "wb") as file:
                file.write(data)
        done = _run(verifier, [beside, source], folder, len(content))
        faults, signers = _judge(done.stdout, verifier.keyrings, signed_in_time)
        if signers:
            return Verified(content, signers)
    raise NotVerified(faults, _errors(done.stderr))


def read_frame(signed: bytes) -> bytes:
    """The text inside of `signed`, without a check of its signatures.

    Raises NotSigned if `signed` has anything else than a text and its signatures.
    """
    frame = _FRAME.fullmatch(signed)
    if not frame:
        raise NotSigned("is not exactly one clear-signed text without anything around it")
    text = frame["text"]
    if b"\0" in text or max(map(len, text.split(b"\n"))) > _LONGEST_LINE:
        raise NotSigned(f"has a NUL byte, or a line with more than {_LONGEST_LINE} bytes")
    _signature_packets(frame["signature"])
    return re.sub(rb"^- ", b"", text, flags=re.MULTILINE)


def _check_size(content: bytes) -> None:
    if len(content) > LARGEST:
        raise NotSigned(f"has {len(content)} bytes, more than {LARGEST}")


def _signature_packets(signature: bytes) -> bytes:
    """The packets of a signature without their armor; there must not be other packets.

    gpgv would take a compressed or a signed message in the place of a signature.
    """
    try:
        blocks = [signature]
        if is_armored(signature):
            blocks = list(read_armor(signature, "SIGNATURE"))
        if len(blocks) != 1:
            raise NotSigned(f"has {len(blocks)} blocks SIGNATURE, and must have one")
        tags = {packet.tag for packet in read_packets(blocks[0])}
    except Malformed as error:
        raise NotSigned(str(error)) from None
    if tags != {SIGNATURE}:
        raise NotSigned("has other OpenPGP packets than signatures")
    return blocks[0]


def _run(
    verifier: Verifier, arguments: Sequence[str], folder: str, most: int
) -> subprocess.CompletedProcess[bytes]:
    command = [*verifier.command, "--status-fd", "1"]
    for ring in verifier.keyrings:
        command += ["--keyring", ring]
    try:
        return subprocess.run(
            [*command, *arguments],
            # gpgv creates a folder for its settings in HOME, so that is a temporary folder.
            env={"LC_ALL": "C", "GNUPGHOME": folder, "HOME": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            # The output cannot be longer than the input, because the text is part of it.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"timed out after {_SECONDS} seconds") from None


def _errors(stderr: bytes) -> List[str]:
    # gpgv prints the same error for each invalid character of a signature.
    return list(dict.fromkeys(stderr.decode("utf-8", "replace").splitlines()))


_Status = List[Tuple[str, List[str]]]


def _judge(
    stdout: bytes, keyrings: Sequence[str], signed_in_time: bool
) -> Tuple[List[Fault], Tuple[str, ...]]:
    """The faults of the signatures in gpgv's status output, and the keys of those that count."""
    signatures: List[_Status] = []
    for word, rest in _STATUS.findall(stdout.decode("utf-8", "replace")):
        if word == "NEWSIG" or not signatures:
            signatures.append([])
        signatures[-1].append((word, rest.split(" ")))
    faults: List[Fault] = []
    signers: List[str] = []
    for lines in signatures:
        words = {word for word, _ in lines}
        wrong = list(_faults(lines, keyrings, signed_in_time))
        changed = [fault for fault in wrong if fault.cause is Cause.CHANGED]
        if changed:
            return changed, ()
        by_good_key = "GOODSIG" in words or (signed_in_time and "EXPKEYSIG" in words)
        if by_good_key and not wrong:
            signers.extend(details[0] for word, details in lines if word == "VALIDSIG")
        faults.extend(wrong)
    return faults, tuple(dict.fromkeys(signers))


def _faults(lines: _Status, keyrings: Sequence[str], signed_in_time: bool) -> Iterator[Fault]:
    valid = [details for word, details in lines if word == "VALIDSIG"]
    for word, cause in _CAUSES.items():
        for details in (details for found, details in lines if found == word):
            if word == "ERRSIG":
                yield _error(details)
            elif word != "EXPKEYSIG" or not (signed_in_time and _is_in_time(lines, keyrings)):
                yield Fault(cause, valid[0][0] if valid else details[0], cause.value)
    for details in valid:
        for cause, reason in _weaknesses(details, keyrings):
            yield Fault(cause, details[0], reason)


def _error(details: List[str]) -> Fault:
    """The fault of a line ERRSIG: key ID, algorithm, digest, kind, time, reason, fingerprint."""
    key, digest, reason = details[0], details[2], details[5]
    if details[6:] and re.fullmatch("[0-9A-F]{40}", details[6]):
        key = details[6]
    if reason == _NO_PUBLIC_KEY:
        return Fault(Cause.UNKNOWN_KEY, key, Cause.UNKNOWN_KEY.value)
    if digest in _WEAK_DIGESTS:
        return Fault(Cause.WEAK_DIGEST, key, _weak_digest(digest))
    return Fault(Cause.UNSUPPORTED, key, Cause.UNSUPPORTED.value)


def _is_in_time(lines: _Status, keyrings: Sequence[str]) -> bool:
    """Whether a signature by an expired key is older than the expiry date of that key."""
    valid = [details for word, details in lines if word == "VALIDSIG"]
    ended = [details[0] for word, details in lines if word == "KEYEXPIRED"]
    times = [*(details[2] for details in valid), *ended]
    if not valid or not ended or not all(re.fullmatch("[0-9]{1,12}", time) for time in times):
        return False
    if any(keyring.has_revocation(ring, details[0]) for ring in keyrings for details in valid):
        return False
    return max(int(details[2]) for details in valid) < min(map(int, ended))


def _weaknesses(details: List[str], keyrings: Sequence[str]) -> Iterator[Tuple[Cause, str]]:
    """Why a signature is too weak; `details` are the fields of gpgv's line VALIDSIG."""
    fingerprint, algorithm, digest, kind = details[0], details[6], details[7], details[8]
    if digest in _WEAK_DIGESTS:
        yield Cause.WEAK_DIGEST, _weak_digest(digest)
    if kind not in _KINDS:
        yield Cause.OTHER_KIND, Cause.OTHER_KIND.value
    if algorithm not in _ALGORITHMS:
        yield Cause.WEAK_ALGORITHM, Cause.WEAK_ALGORITHM.value
    elif algorithm == _RSA:
        bits = max((keyring.rsa_bits(ring, fingerprint) for ring in keyrings), default=0)
        if bits < _LEAST_RSA_BITS:
            yield Cause.SHORT_KEY, f"its key has {bits} bits, fewer than {_LEAST_RSA_BITS}"


def _weak_digest(digest: str) -> str:
    return f"it uses a {_WEAK_DIGESTS[digest]} digest, which is broken"
