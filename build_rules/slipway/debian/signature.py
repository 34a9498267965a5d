"""Verifies the signature of a Debian archive with gpgv and Debian's keys.

gpgv and Debian's keys come from the machine, or from locked packages if the machine lacks either.
So Slipway verifies signatures on every machine.
"""

from __future__ import annotations

import glob
import os
import shutil
from typing import List, Mapping, Optional, Sequence

from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.debian.package import read_package
from slipway.fetch import openpgp
from slipway.fetch.openpgp import Cause, Fault, NotSigned, NotVerified, TimedOut, Verifier

# apt's folder also has keys of third parties for their archives, so only Debian's keys match here.
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-*.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-*.gpg",
)
# Retired keys. Debian ships them to check old archives manually; apt does not trust them.
_REMOVED_KEYS = "debian-archive-removed-keys.gpg"
_MOST_LINES = 5
_OTHER_MIRROR = "use another mirror"
_REASONS = {
    Cause.UNKNOWN_KEY: "its key is not among the Debian keys of this machine",
    Cause.WEAK_ALGORITHM: "its key has an algorithm that Debian does not use, such as DSA",
}


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
    try:
        # A mirror may append to the file: only the signed text counts.
        return openpgp.verify_clear_signed(signed, verifier).text.decode("utf-8", "replace")
    except NotSigned:
        raise SlipwayError(
            f'"{name}" is not a signed text',
            found=signed[:60].decode("utf-8", "replace").split("\n")[0],
            next=_OTHER_MIRROR,
        ) from None
    except TimedOut as error:
        raise SlipwayError(
            f'the check of the signature of "{name}" {error}',
            found=verifier.command[-1],
            next="repair that program, or remove its folder from PATH",
        ) from None
    except NotVerified as error:
        details, next_ = list(error.errors[:_MOST_LINES]), _OTHER_MIRROR
        if error.faults:
            details = [f"a signature is not valid: {_reason(fault)}" for fault in error.faults]
            next_ = "update the keys: apt-get install debian-archive-keyring"
        raise SlipwayError(
            f'the signature of "{name}" is not valid', found="\n".join(details), next=next_
        ) from None


def _reason(fault: Fault) -> str:
    return _REASONS.get(fault.cause, fault.reason)
