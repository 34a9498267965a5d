"""Verifies the signature of a Debian archive with gpgv, with the same requirements as apt.

gpgv and Debian's keys come from the machine, or from locked packages if the machine lacks either.
So Slipway verifies signatures on every machine.
"""

from __future__ import annotations

import glob
import os
import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.debian import keyring
from slipway.debian.package import read_package

# apt's folder also has keys of third parties for their archives, so only Debian's keys match here.
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-*.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-*.gpg",
)
# Retired keys. Debian ships them to check old archives manually; apt does not trust them.
_REMOVED_KEYS = "debian-archive-removed-keys.gpg"
_SIGNED_TEXT = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
_SECONDS = 60
_MOST_LINES = 5
_STATUS = re.compile(r"^\[GNUPG:\] (\w+) ?(.*)$", re.MULTILINE)
# RFC 9580, 9.5: digests that are broken or out of use.
_WEAK_DIGESTS = {"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"}
# RFC 9580, 9.1: RSA, ECDSA, EdDSA, Ed25519, Ed448. Debian uses no other keys. DSA keys have only
# 1024 bits.
_RSA = "1"
_ALGORITHMS = (_RSA, "19", "22", "27", "28")
_LEAST_RSA_BITS = 2048
_WHY_NOT = {
    "EXPKEYSIG": "its key has expired",
    "EXPSIG": "the signature has expired",
    "REVKEYSIG": "its key was revoked",
    "ERRSIG": "its key is not among the Debian keys of this machine",
    "BADSIG": "the text was changed after it was signed",
}


@dataclass(frozen=True)
class Verifier:
    """The command that starts gpgv, and the paths of Debian's keyrings."""

    command: Tuple[str, ...]
    keyrings: Tuple[str, ...]


def of_machine(env: Mapping[str, str], keyrings: Sequence[str] = KEYRINGS) -> Optional[Verifier]:
    """gpgv on the PATH of `env` with the machine's keyrings; None if either is missing."""
    gpgv = shutil.which("gpgv", path=env.get("PATH", ""))
    rings = tuple(ring for pattern in keyrings for ring in _rings(pattern))
    return Verifier((gpgv,), rings) if gpgv and rings else None


def _rings(pattern: str) -> List[str]:
    return sorted(path for path in glob.glob(pattern) if os.path.basename(path) != _REMOVED_KEYS)


def of_packages(files: Sequence[str], folder: str) -> Verifier:
    """Unpacks gpgv, its libraries and Debian's keyrings from packages into `folder`."""
    for file in files:
        with open(file, "rb") as archive:
            package = read_package(archive.read(), os.path.basename(file))
        for member in package.members:
            # Without their folders: no two programs, libraries or keyrings share a name here.
            place = os.path.join(folder, os.path.basename(member.name))
            if member.kind is Kind.FILE:
                with open(place, "wb") as target:
                    target.write(package.data[member.offset : member.offset + member.size])
                os.chmod(place, 0o755)
            elif member.kind is Kind.SYMLINK and not os.path.lexists(place):
                os.symlink(os.path.basename(member.target), place)
    loader = os.path.join(folder, "ld-linux-x86-64.so.2")
    rings = _rings(os.path.join(glob.escape(folder), "debian-archive-*.gpg"))
    return Verifier((loader, "--library-path", folder, os.path.join(folder, "gpgv")), tuple(rings))


def signed_text(signed: bytes, name: str, verifier: Verifier) -> str:
    """The text of `signed`, if a Debian key has signed it.

    Raises SlipwayError if no signature is valid, or if a signature belongs to another text.
    """
    # gpgv also accepts other OpenPGP messages and decompresses them, without a limit.
    if not signed.startswith(_SIGNED_TEXT):
        raise SlipwayError(
            f'"{name}" is not a signed text',
            found=signed[:60].decode("utf-8", "replace").split("\n")[0],
            next="use another mirror",
        )
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "signed"), os.path.join(folder, "text")
        with open(source, "wb") as file:
            file.write(signed)
        most = len(signed)
        command = [*verifier.command, "--status-fd", "1", "--output", target]
        for ring in verifier.keyrings:
            command += ["--keyring", ring]
        try:
            done = subprocess.run(
                [*command, source],
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
            raise SlipwayError(
                f'the check of the signature of "{name}" timed out after {_SECONDS} seconds',
                found=verifier.command[-1],
                next="repair that program, or remove its folder from PATH",
            ) from None
        faults = _faults(done.stdout.decode("utf-8", "replace"), verifier.keyrings)
        if faults is None and os.path.exists(target):
            with open(target, "rb") as file:
                return file.read().decode("utf-8", "replace")
    if faults:
        details, next_ = faults, "update the keys: apt-get install debian-archive-keyring"
    else:
        errors = done.stderr.decode("utf-8", "replace").splitlines()
        # gpgv prints the same error for each invalid character of a signature.
        details, next_ = list(dict.fromkeys(errors))[:_MOST_LINES], "use another mirror"
    raise SlipwayError(
        f'the signature of "{name}" is not valid', found="\n".join(details), next=next_
    )


def _faults(status: str, keyrings: Sequence[str]) -> Optional[List[str]]:
    """Why the signatures in gpgv's status output are not acceptable; None if any is valid."""
    signatures: List[List[Tuple[str, List[str]]]] = []
    for word, rest in _STATUS.findall(status):
        if word == "NEWSIG" or not signatures:
            signatures.append([])
        signatures[-1].append((word, rest.split(" ")))
    faults: List[str] = []
    good = False
    for lines in signatures:
        words = {word for word, _ in lines}
        wrong = [why for word, why in _WHY_NOT.items() if word in words]
        wrong += [
            why
            for word, details in lines
            if word == "VALIDSIG"
            for why in _weaknesses(details, keyrings)
        ]
        if "BADSIG" in words:
            return [f"a signature is not valid: {_WHY_NOT['BADSIG']}"]
        if {"GOODSIG", "VALIDSIG"} <= words and not wrong:
            good = True
        faults.extend(f"a signature is not valid: {why}" for why in wrong)
    return None if good else faults


def _weaknesses(details: List[str], keyrings: Sequence[str]) -> Iterator[str]:
    """Why a signature is too weak; `details` are the fields of gpgv's line VALIDSIG."""
    fingerprint, algorithm, digest = details[0], details[6], details[7]
    if digest in _WEAK_DIGESTS:
        yield f"it uses a {_WEAK_DIGESTS[digest]} digest, which is broken"
    if algorithm not in _ALGORITHMS:
        yield "its key has an algorithm that Debian does not use, such as DSA"
    elif algorithm == _RSA:
        bits = max((keyring.rsa_bits(ring, fingerprint) for ring in keyrings), default=0)
        if bits < _LEAST_RSA_BITS:
            yield f"its key has {bits} bits, fewer than {_LEAST_RSA_BITS}"
