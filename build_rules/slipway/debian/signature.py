"""Who signed the list of a Debian archive: gpgv's word, held to what apt holds it to.

gpgv and Debian's keys are those of the machine, or come out of locked packages where it lacks one:
that a signature is not checked is never a matter of what a machine has.
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

# In apt's own folder there are also keys of others, for archives of theirs.
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-*.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-*.gpg",
)
# Keys that Debian signed with once. Debian ships them to check old archives by hand; apt trusts none.
_REMOVED_KEYS = "debian-archive-removed-keys.gpg"
_SIGNED_TEXT = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
_SECONDS = 60
_MOST_LINES = 5
_STATUS = re.compile(r"^\[GNUPG:\] (\w+) ?(.*)$", re.MULTILINE)
# RFC 9580, 9.5: digests that are broken, or that nobody signs with.
_WEAK_DIGESTS = {"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"}
# RFC 9580, 9.1: RSA, ECDSA, EdDSA, Ed25519, Ed448. Debian has no other keys; DSA ones are of 1024 bits.
_RSA = "1"
_ALGORITHMS = (_RSA, "19", "22", "27", "28")
_LEAST_RSA_BITS = 2048
_WHY_NOT = {
    "EXPKEYSIG": "its key has expired",
    "EXPSIG": "it has expired",
    "REVKEYSIG": "its key was revoked",
    "ERRSIG": "its key is not among Debian's keys of this machine",
    "BADSIG": "the text is not the one that was signed",
}


@dataclass(frozen=True)
class Verifier:
    """How gpgv is started, with Debian's keyrings."""

    command: Tuple[str, ...]
    keyrings: Tuple[str, ...]


def of_machine(env: Mapping[str, str], keyrings: Sequence[str] = KEYRINGS) -> Optional[Verifier]:
    """The machine's own gpgv, by the PATH of `env`, and its keyrings; None where one is missing."""
    gpgv = shutil.which("gpgv", path=env.get("PATH", ""))
    rings = tuple(ring for pattern in keyrings for ring in _rings(pattern))
    return Verifier((gpgv,), rings) if gpgv and rings else None


def _rings(pattern: str) -> List[str]:
    return sorted(path for path in glob.glob(pattern) if os.path.basename(path) != _REMOVED_KEYS)


def of_packages(files: Sequence[str], folder: str) -> Verifier:
    """gpgv with its libraries and Debian's keyrings, out of locked packages, in `folder`."""
    for file in files:
        with open(file, "rb") as archive:
            package = read_package(archive.read(), os.path.basename(file))
        for member in package.members:
            # No two of these packages have programs, libraries or keyrings of one name.
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
    """The text of `signed` that a key of the archive has signed.

    Raises SlipwayError where no signature is good, or one is of another text.
    """
    # Of anything else gpgv unpacks what is in it, however much that is.
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
                # gpgv makes a folder for its settings in the home of who runs it.
                env={"LC_ALL": "C", "GNUPGHOME": folder, "HOME": folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                # The text is part of what was signed.
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SlipwayError(
                f'the signature of "{name}" was not checked in {_SECONDS} seconds',
                found=verifier.command[-1],
                next="see what that program does, or take it off PATH",
            ) from None
        faults = _faults(done.stdout.decode("utf-8", "replace"), verifier.keyrings)
        if faults is None and os.path.exists(target):
            with open(target, "rb") as file:
                return file.read().decode("utf-8", "replace")
    if faults:
        found, next_ = faults, "renew the keys with: apt-get install debian-archive-keyring"
    else:
        said = done.stderr.decode("utf-8", "replace").splitlines()
        # It repeats itself for each letter that no signature has.
        found, next_ = list(dict.fromkeys(said))[:_MOST_LINES], "use another mirror"
    raise SlipwayError(f'the signature of "{name}" is not good', found="\n".join(found), next=next_)


def _faults(status: str, keyrings: Sequence[str]) -> Optional[List[str]]:
    """What is wrong with the signatures that gpgv's status lines tell of; None if one is good."""
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
            return [f"a signature does not count: {_WHY_NOT['BADSIG']}"]
        if {"GOODSIG", "VALIDSIG"} <= words and not wrong:
            good = True
        faults.extend(f"a signature does not count: {why}" for why in wrong)
    return None if good else faults


def _weaknesses(details: List[str], keyrings: Sequence[str]) -> Iterator[str]:
    """Why a valid signature does not count; `details` are those of gpgv's line VALIDSIG."""
    fingerprint, algorithm, digest = details[0], details[6], details[7]
    if digest in _WEAK_DIGESTS:
        yield f"it signs a {_WEAK_DIGESTS[digest]} digest, which is broken"
    if algorithm not in _ALGORITHMS:
        yield "its key is of a kind that Debian does not sign with, such as DSA"
    elif algorithm == _RSA:
        bits = max((keyring.rsa_bits(ring, fingerprint) for ring in keyrings), default=0)
        if bits < _LEAST_RSA_BITS:
            yield f"its key has {bits} bits, not {_LEAST_RSA_BITS} or more"
