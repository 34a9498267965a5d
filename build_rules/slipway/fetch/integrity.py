"""Subresource integrity strings, as in npm lockfiles.

A lockfile names the content of each tarball as `<algorithm>-<base64>`, with one or more such
hashes. npm uses only the strongest algorithm among them, and looks up a cached tarball by exactly
that hash. So parsing, the choice of the hash and its path in npm's cache are in the same module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

# Strongest last. npm also supports md5; Slipway rejects a lockfile that has nothing stronger.
_STRENGTH = ("sha1", "sha256", "sha384", "sha512")
_SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_CHUNK = 1 << 20
_HASH = re.compile(r"^([a-z0-9]+)-([A-Za-z0-9+/]+={0,2})(\?[\x21-\x7e]*)?\Z")


@dataclass(frozen=True)
class Hash:
    """A hash: the algorithm, and the digest in base64."""

    algorithm: str
    digest: str

    @property
    def hex(self) -> str:
        return binascii.hexlify(base64.b64decode(self.digest)).decode("ascii")

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.digest}"

    def cache_path(self) -> str:
        """The path of this content below npm's cache folder."""
        digits = self.hex
        return "/".join(
            ("_cacache/content-v2", self.algorithm, digits[:2], digits[2:4], digits[4:])
        )


def parse(text: str) -> Tuple[Hash, ...]:
    """The hashes of an integrity string that have its strongest algorithm.

    Raises ValueError, with a text for messages, if the string has no usable hash.
    """
    hashes: List[Hash] = []
    for part in text.split():
        matched = _HASH.match(part)
        if not matched:
            raise ValueError(f"{part!r} is not <algorithm>-<base64>")
        algorithm, digest = matched.group(1), matched.group(2)
        if algorithm not in _SIZES:
            continue
        try:
            raw = base64.b64decode(digest, validate=True)
        except binascii.Error:
            raise ValueError(f"{part!r} is not base64 after the algorithm") from None
        if len(raw) != _SIZES[algorithm]:
            raise ValueError(
                f"{algorithm} has {_SIZES[algorithm]} bytes, but {part!r} holds {len(raw)}"
            )
        # The last base64 digit can have unused bits with any value. Encoding again clears them, so
        # that equal digests are equal strings.
        hashes.append(Hash(algorithm, base64.b64encode(raw).decode("ascii")))
    if not hashes:
        raise ValueError(f"none of {', '.join(reversed(_STRENGTH))} in {text!r}")
    strongest = max(hashes, key=lambda item: _STRENGTH.index(item.algorithm)).algorithm
    return tuple(dict.fromkeys(item for item in hashes if item.algorithm == strongest))


def of_bytes(algorithm: str, content: bytes) -> Hash:
    """The hash of `content`."""
    return of_digest(algorithm, hashlib.new(algorithm, content).digest())


def of_digest(algorithm: str, digest: bytes) -> Hash:
    """The hash with this digest."""
    return Hash(algorithm, base64.b64encode(digest).decode("ascii"))


def mismatch(path: str, wanted: str) -> Optional[Hash]:
    """The hash of the file `path` if it does not match the integrity `wanted`; else None.

    Raises ValueError as parse() does, and OSError.
    """
    hashes = parse(wanted)
    hasher = hashlib.new(hashes[0].algorithm)
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            hasher.update(chunk)
    actual = of_digest(hashes[0].algorithm, hasher.digest())
    return None if actual in hashes else actual


def render(hashes: Iterable[Hash]) -> str:
    return " ".join(map(str, hashes))
