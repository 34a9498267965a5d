"""What a Debian archive says it holds, as far as its signature and hashes vouch for it.

`InRelease` is signed and names the SHA-256 of the list of packages, which names those of the
packages.  It says until when it counts, and may not be older than what a lock was made from: a
mirror that replays an old one would withhold security updates.
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
from slipway.debian.signature import Verifier
from slipway.debian.version import is_version
from slipway.fetch.faults import FetchFailed

_DAY = 86400.0  # seconds; clocks differ, and are set by hand
_LARGEST_RELEASE = 4 << 20
# Of Debian itself: 60 MB, packed 10 MB, of 70000 packages, each of 50 kB at most.
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
    """`release` is a version such as 11.11, or the suite's name where it has none yet.

    Of `packages` there are the fields that a resolver needs; each has a name and a version.
    `doubts` are what speaks against it, where its suite is trusted all the same.
    """

    release: str
    date: str
    packages: Tuple[Stanza, ...]
    doubts: Tuple[str, ...] = ()


class Untrusted(SlipwayError):
    """What a mirror gives is signed by nobody that counts, or old."""


@dataclass(frozen=True)
class Trust:
    """What an archive is held against.

    `not_before` is the day, as 2024-08-31, of what the current lock was made from.  A `blind` one
    takes what the mirror gives, and tells what speaks against it.
    """

    verifier: Optional[Verifier]
    not_before: Optional[str] = None
    blind: bool = False
    now: float = field(default_factory=time.time)


def read_suite(
    mirrors: DebianMirrors, suite: str, component: str, architecture: str, trust: Trust
) -> Suite:
    """All packages of one component of `suite`."""
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
        raise SlipwayError(f'the list of packages of "{suite}" is too long', found=f"{size} bytes")
    packed = _read(mirrors, f"{folder}/{index}", size, suite)
    if len(packed) != size or hashlib.sha256(packed).hexdigest() != sha256:
        raise SlipwayError(
            f'"{folder}/{index}" is not the file that InRelease lists',
            found=f"{len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}",
            next="the mirror may be in the middle of an update: run the same command again",
        )
    label = f"{folder}/{index}"
    return Suite(
        release=release.get("Version", release.get("Codename", suite)),
        date=_day(release),
        packages=tuple(_packages(unpacked_chunks([packed], label, _LARGEST_LIST), label)),
        doubts=tuple(" ".join(one.render().split()) for one in doubts),
    )


def _untrusted(doubt: SlipwayError, mirrors: DebianMirrors) -> Untrusted:
    where = f"the mirrors of {mirrors.config.origin}"
    return Untrusted(doubt.what, where=where, found=doubt.found, next=doubt.next)


def _verified(signed: bytes, name: str, trust: Trust) -> str:
    if trust.verifier is None:
        raise SlipwayError(
            f'nobody can check the signature of "{name}"',
            found="no gpgv, or none of Debian's keys",
            next="apt-get install gpgv debian-archive-keyring",
        )
    return signature.signed_text(signed, name, trust.verifier)


def _doubts_of_age(release: Stanza, suite: str, trust: Trust) -> Iterator[SlipwayError]:
    until = release.get("Valid-Until")
    if until is not None and _seconds(until, "Valid-Until") < trust.now:
        yield SlipwayError(
            f'what the mirror gives of "{suite}" has expired',
            found=f"Valid-Until: {until}",
            next="use a mirror that is up to date, and see that this machine's clock is right",
        )
    date = release.get("Date", "")
    if _seconds(date, "Date") > trust.now + _DAY:
        yield SlipwayError(
            f'what the mirror gives of "{suite}" is of a day to come',
            found=f"Date: {date}",
            next="use another mirror, and see that this machine's clock is right",
        )
    day = _day(release)
    if trust.not_before is not None and day < trust.not_before:
        yield SlipwayError(
            f'what the mirror gives of "{suite}" is older than what the lock was made from',
            found=f"of {day}, and the lock of {trust.not_before}",
            next="use a mirror that is up to date",
        )


def _read(mirrors: DebianMirrors, path: str, most: int, suite: str) -> bytes:
    try:
        return mirrors.read(path, most)
    except FetchFailed as failed:
        raise SlipwayError(
            f'the list of packages of "{suite}" cannot be fetched',
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
            f'the mirror gives another suite than "{suite}"',
            found=f"{release.get('Codename', '')} ({release.get('Suite', '')})",
        )
    return release


def _listed(release: Stanza, path: str, suite: str) -> Tuple[str, int]:
    lines: List[List[str]] = [line.split() for line in release.get("SHA256", "").split("\n")]
    for words in lines:
        if len(words) == 3 and words[2] == path and re.fullmatch(r"[0-9]{1,15}", words[1]):
            return words[0], int(words[1])
    raise SlipwayError(f'"{suite}" has no list of packages of that kind', found=path)


def _packages(chunks: Iterable[bytes], label: str) -> Iterator[Stanza]:
    """Stanza by stanza, for the whole list as one text takes gigabytes."""
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
                f'"{label}" has a package that is too long',
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
        raise SlipwayError(f'the Release file has no date as "{name}"', found=date) from None
