"""What a Debian archive says it holds, as far as its signature and hashes vouch for it.

`InRelease` is signed and names the SHA-256 of the list of packages, which names those of the
packages.  The signature is checked with gpgv and the machine's own Debian keys; a machine that has
neither is told so, since the chain then hangs on the mirror's honesty.
"""

from __future__ import annotations

import email.utils
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import List, Mapping, Sequence, Tuple

from build_rules.lib.debian_control import TRY_ANOTHER, Stanza, parse_stanzas
from build_rules.lib.debian_fetch import DebianMirrors
from build_rules.lib.decompression import unpacked_chunks
from build_rules.lib.errors import SlipwayError, suggesting
from build_rules.lib.npm_registry import FetchFailed

KEYRINGS = ("/usr/share/keyrings/debian-archive-*.gpg", "/etc/apt/trusted.gpg.d/*.gpg")
_LARGEST_RELEASE = 4 << 20
_LARGEST_LIST = 1 << 30
_VERIFIER_SECONDS = 60


@dataclass(frozen=True)
class Suite:
    """`release` is a version such as 11.11, or the suite's name where it has none yet.

    `signature` says in words whether the signature was checked.
    """

    release: str
    date: str
    packages: Tuple[Stanza, ...]
    signature: str


def read_suite(
    mirrors: DebianMirrors,
    suite: str,
    component: str,
    architecture: str,
    env: Mapping[str, str],
    keyrings: Sequence[str] = KEYRINGS,
) -> Suite:
    """All packages of one component of `suite`; `env` has the PATH that gpgv is looked for on."""
    with suggesting(TRY_ANOTHER, where=f"the mirrors of {mirrors.config.origin}"):
        return _read_suite(mirrors, suite, component, architecture, env, keyrings)


def _read_suite(
    mirrors: DebianMirrors,
    suite: str,
    component: str,
    architecture: str,
    env: Mapping[str, str],
    keyrings: Sequence[str],
) -> Suite:
    folder = f"dists/{suite}"
    signed = _read(mirrors, f"{folder}/InRelease", _LARGEST_RELEASE, suite)
    text, signature = _check_signature(signed, f"{folder}/InRelease", env, keyrings)
    release = _release_fields(text, suite)
    index = f"{component}/binary-{architecture}/Packages.xz"
    sha256, size = _listed(release, index, suite)
    packed = _read(mirrors, f"{folder}/{index}", size, suite)
    if len(packed) != size or hashlib.sha256(packed).hexdigest() != sha256:
        raise SlipwayError(
            f'"{folder}/{index}" is not the file that InRelease lists',
            found=f"{len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}",
            next="the mirror may be in the middle of an update: run the same command again",
        )
    listing = b"".join(unpacked_chunks([packed], f"{folder}/{index}", _LARGEST_LIST))
    return Suite(
        release=release.get("Version", release.get("Codename", suite)),
        date=_day(release),
        packages=tuple(parse_stanzas(listing.decode("utf-8", "replace"))),
        signature=signature,
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


def _check_signature(
    signed: bytes, name: str, env: Mapping[str, str], keyrings: Sequence[str]
) -> Tuple[str, str]:
    """The signed text, and words on who vouches for it."""
    rings = [ring for pattern in keyrings for ring in sorted(glob.glob(pattern))]
    gpgv = shutil.which("gpgv", path=env.get("PATH"))
    if not gpgv or not rings:
        lacking = "no gpgv" if not gpgv else "no Debian archive keys"
        return _armoured_text(signed, name), f"not checked: {lacking} on this machine"
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "signed"), os.path.join(folder, "text")
        with open(source, "wb") as file:
            file.write(signed)
        command = [gpgv, "--status-fd", "1", "--output", target]
        for ring in rings:
            command += ["--keyring", ring]
        done = subprocess.run(
            [*command, source],
            env={**env, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERIFIER_SECONDS,
            check=False,
        )
        status = re.findall(rb"^\[GNUPG:\] (\w+)", done.stdout, re.MULTILINE)
        # Several keys sign; one that the machine knows is enough, a bad signature never is.
        if b"VALIDSIG" not in status or b"BADSIG" in status:
            raise SlipwayError(
                f'the signature of "{name}" is not good',
                found=done.stderr.decode("utf-8", "replace").strip(),
                next="renew the keys with: apt-get install debian-archive-keyring",
            )
        with open(target, "rb") as file:
            return file.read().decode("utf-8", "replace"), "good"


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
        if len(words) == 3 and words[2] == path and words[1].isdigit():
            return words[0], int(words[1])
    raise SlipwayError(f'"{suite}" has no list of packages of that kind', found=path)


def _day(release: Stanza) -> str:
    parsed = email.utils.parsedate(release.get("Date", ""))
    if parsed is None:
        raise SlipwayError("the Release file has no date", found=release.get("Date", ""))
    return f"{parsed[0]:04}-{parsed[1]:02}-{parsed[2]:02}"
