"""Reads the package index of a Debian archive, verified with its signature and hashes.

`InRelease` is signed and contains the SHA-256 of the package index, which contains the SHA-256 of
each package. `InRelease` has an expiry date, and must not be older than the archive that the
current lock was made from. Otherwise a mirror could withhold security updates with an old
`InRelease`.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import time
from dataclasses import dataclass, field
from typing import Iterable, Iterator, List, Optional, Tuple

from slipway.archive.decompression import unpacked_chunks
from slipway.core.errors import SlipwayError, suggesting
from slipway.debian import signature
from slipway.debian.control import TRY_ANOTHER, Stanza, parse_stanza, parse_stanzas
from slipway.debian.lock import NAME
from slipway.debian.mirrors import DebianMirrors
from slipway.debian.version import is_version
from slipway.fetch.faults import FetchFailed
from slipway.fetch.openpgp import Verifier

_DAY = 86400.0  # seconds; tolerance for clocks that are wrong
_LARGEST_RELEASE = 4 << 20
# For comparison, Debian's own index: 60 MB, 10 MB compressed, 70,000 packages of up to 50 kB.
_LARGEST_LIST = 1 << 27
_LARGEST_PACKED_LIST = 1 << 26
_LARGEST_STANZA = 1 << 20
_MOST_PACKAGES = 1 << 18
_KEPT = (
    *("Package", "Version", "Architecture", "Filename", "Size", "SHA256"),
    *("Pre-Depends", "Depends", "Provides"),
)


@dataclass(frozen=True)
class Suite:
    """A verified suite; `release` is a version such as 11.11, or the name of an unreleased suite.

    `packages` have only the fields that the resolver needs; each has a name and a version. `doubts`
    are the problems that were accepted because the user trusts the suite.
    """

    release: str
    date: str
    packages: Tuple[Stanza, ...]
    doubts: Tuple[str, ...] = ()


class Untrusted(SlipwayError):
    """The index of a mirror has no valid signature, or is too old."""


@dataclass(frozen=True)
class Trust:
    """How to verify an archive.

    `not_before` is the day, such as 2024-08-31, of the archive that the current lock was made from.
    With `blind`, problems do not raise errors, but are reported as `doubts`.
    """

    verifier: Optional[Verifier]
    not_before: Optional[str] = None
    blind: bool = False
    now: float = field(default_factory=time.time)


def read_suite(
    mirrors: DebianMirrors, suite: str, component: str, architecture: str, trust: Trust
) -> Suite:
    """All packages of a component of `suite`; raises SlipwayError, or Untrusted."""
    with suggesting(TRY_ANOTHER, where=f"the mirrors of {mirrors.config.origin}"):
        return _read_suite(mirrors, suite, component, architecture, trust)


def _read_suite(
    mirrors: DebianMirrors, suite: str, component: str, architecture: str, trust: Trust
) -> Suite:
    folder = f"dists/{suite}"
    signed = _read(mirrors, f"{folder}/InRelease", _LARGEST_RELEASE, suite)
    doubts: List[SlipwayError] = []
    try:
        text = _verified(signed, f"{folder}/InRelease", trust)
    except SlipwayError as error:
        if not trust.blind:
            raise _untrusted(error, mirrors) from None
        doubts.append(error)
        text = _armoured_text(signed, f"{folder}/InRelease")
    release = _release_fields(text, suite)
    for doubt in _doubts_of_age(release, suite, trust):
        if not trust.blind:
            raise _untrusted(doubt, mirrors)
        doubts.append(doubt)
    index = f"{component}/binary-{architecture}/Packages.xz"
    sha256, size = _listed(release, index, suite)
    if size > _LARGEST_PACKED_LIST:
        raise SlipwayError(f'the package index of "{suite}" is too large', found=f"{size} bytes")
    packed = _read(mirrors, f"{folder}/{index}", size, suite)
    if len(packed) != size or hashlib.sha256(packed).hexdigest() != sha256:
        raise SlipwayError(
            f'"{folder}/{index}" does not match the hash in InRelease',
            found=f"{len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}",
            next="run the same command again, because the mirror may be updating",
        )
    label = f"{folder}/{index}"
    return Suite(
        release=release.get("Version", release.get("Codename", suite)),
        date=_day(release),
        packages=tuple(_packages(unpacked_chunks([packed], label, _LARGEST_LIST), label)),
        doubts=tuple(" ".join(doubt.render().split()) for doubt in doubts),
    )


def _untrusted(doubt: SlipwayError, mirrors: DebianMirrors) -> Untrusted:
    where = f"the mirrors of {mirrors.config.origin}"
    return Untrusted(doubt.what, where=where, found=doubt.found, next=doubt.next)


def _verified(signed: bytes, name: str, trust: Trust) -> str:
    if trust.verifier is None:
        raise SlipwayError(
            f'cannot check the signature of "{name}"',
            found="no gpgv program, or no Debian keys",
            next="apt-get install gpgv debian-archive-keyring",
        )
    return signature.signed_text(signed, name, trust.verifier)


def _doubts_of_age(release: Stanza, suite: str, trust: Trust) -> Iterator[SlipwayError]:
    until = release.get("Valid-Until")
    if until is not None and _seconds(until, "Valid-Until") < trust.now:
        yield SlipwayError(
            f'the mirror\'s index of "{suite}" has expired',
            found=f"Valid-Until: {until}",
            next="use an up-to-date mirror, and check the clock of this machine: date",
        )
    date = release.get("Date", "")
    if _seconds(date, "Date") > trust.now + _DAY:
        yield SlipwayError(
            f'the mirror\'s index of "{suite}" has a date in the future',
            found=f"Date: {date}",
            next="check the clock of this machine: date; or use another mirror",
        )
    day = _day(release)
    if trust.not_before is not None and day < trust.not_before:
        yield SlipwayError(
            f'the mirror\'s index of "{suite}" is older than the index that the lock was made from',
            found=f"{day}; the lock was made from {trust.not_before}",
            next="use an up-to-date mirror",
        )


def _read(mirrors: DebianMirrors, path: str, most: int, suite: str) -> bytes:
    try:
        return mirrors.read(path, most)
    except FetchFailed as failed:
        raise SlipwayError(
            f'cannot fetch the package index of "{suite}"',
            found=failed.fault.reason.replace("; ", "\n"),
            next=failed.fault.next,
        ) from None


def _armoured_text(signed: bytes, name: str) -> str:
    text = signed.decode("utf-8", "replace").replace("\r\n", "\n")
    match = re.fullmatch(
        r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:[^\n]+\n)*\n(.*?\n)-----BEGIN PGP SIGNATURE-----"
        r".*",
        text,
        re.DOTALL,
    )
    if not match:
        raise SlipwayError(f'"{name}" is not a signed text', found=text[:60].split("\n")[0])
    return match[1]


def _release_fields(text: str, suite: str) -> Stanza:
    stanzas = parse_stanzas(text)
    release = stanzas[0] if stanzas else {}
    if suite not in (release.get("Codename"), release.get("Suite")):
        raise SlipwayError(
            f'the mirror has another suite instead of "{suite}"',
            found=f"{release.get('Codename', '')} ({release.get('Suite', '')})",
        )
    return release


def _listed(release: Stanza, path: str, suite: str) -> Tuple[str, int]:
    lines: List[List[str]] = [line.split() for line in release.get("SHA256", "").split("\n")]
    for words in lines:
        if len(words) == 3 and words[2] == path and re.fullmatch(r"[0-9]{1,15}", words[1]):
            return words[0], int(words[1])
    raise SlipwayError(f'"{suite}" has no such package index', found=path)


def _packages(chunks: Iterable[bytes], label: str) -> Iterator[Stanza]:
    """The stanzas one by one, because the whole index as text and objects takes gigabytes."""
    count = 0
    for paragraph in _paragraphs(chunks, label):
        stanza = parse_stanza(paragraph.decode("utf-8", "replace"))
        if not stanza:
            continue
        count += 1
        name, version = stanza.get("Package", ""), stanza.get("Version", "")
        if not re.fullmatch(NAME, name, re.ASCII) or not is_version(version):
            raise SlipwayError(
                f'"{label}" has a package without a usable name or version',
                found=f'Package: "{name[:80]}", Version: "{version[:80]}"',
            )
        if count > _MOST_PACKAGES:
            raise SlipwayError(f'"{label}" has more than {_MOST_PACKAGES} packages')
        yield {field: stanza[field] for field in _KEPT if field in stanza}


def _paragraphs(chunks: Iterable[bytes], label: str) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        if len(rest) > _LARGEST_STANZA:
            raise SlipwayError(
                f'"{label}" has a package with a too long entry',
                found=f"more than {_LARGEST_STANZA} bytes",
            )
        yield from whole
    yield rest


def _day(release: Stanza) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(_seconds(release.get("Date", ""), "Date")))


def _seconds(date: str, name: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        raise SlipwayError(f'the Release file has no valid date as "{name}"', found=date) from None
