"""Subresource integrity strings, as npm's locks carry them.

A lock names the content of each tarball as `<algorithm>-<base64>`, sometimes as several of them.
npm trusts the strongest algorithm among them and finds a cached tarball by exactly that hash, so
parsing, choosing and the place in npm's cache belong together.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

# Strongest last. npm also knows md5; a lock that carries nothing better is refused.
_STRENGTH = ("sha1", "sha256", "sha384", "sha512")
_SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_CHUNK = 1 << 20
_HASH = re.compile(r"^([a-z0-9]+)-([A-Za-z0-9+/]+={0,2})(\?[\x21-\x7e]*)?\Z")


@dataclass(frozen=True)
class Hash:
    """One hash: the algorithm and the digest in base64."""

    algorithm: str
    digest: str

    @property
    def hex(self) -> str:
        return binascii.hexlify(base64.b64decode(self.digest)).decode("ascii")

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.digest}"

    def cache_path(self) -> str:
        """Where npm looks for this content, below its cache folder."""
        digits = self.hex
        return "/".join(
            ("_cacache/content-v2", self.algorithm, digits[:2], digits[2:4], digits[4:])
        )


def parse(text: str) -> Tuple[Hash, ...]:
    """The hashes of an integrity string, of its strongest algorithm only.

    Raises ValueError, with a reason fit for a message, if no usable hash is in it.
    """
    found: List[Hash] = []
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
        # The last base64 digit may carry stray bits; one content must have one spelling.
        found.append(Hash(algorithm, base64.b64encode(raw).decode("ascii")))
    if not found:
        raise ValueError(f"none of {', '.join(reversed(_STRENGTH))} in {text!r}")
    strongest = max(found, key=lambda one: _STRENGTH.index(one.algorithm)).algorithm
    return tuple(dict.fromkeys(one for one in found if one.algorithm == strongest))


def of_bytes(algorithm: str, content: bytes) -> Hash:
    """The hash of some content."""
    return of_digest(algorithm, hashlib.new(algorithm, content).digest())


def of_digest(algorithm: str, digest: bytes) -> Hash:
    """A hash from a digest that is already computed."""
    return Hash(algorithm, base64.b64encode(digest).decode("ascii"))


def mismatch(path: str, wanted: str) -> Optional[Hash]:
    """The hash of a file where it is not the content of the integrity `wanted`; else None.

    Raises ValueError as parse() does, and OSError.
    """
    hashes = parse(wanted)
    hasher = hashlib.new(hashes[0].algorithm)
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            hasher.update(chunk)
    found = of_digest(hashes[0].algorithm, hasher.digest())
    return None if found in hashes else found


def render(hashes: Iterable[Hash]) -> str:
    return " ".join(str(one) for one in hashes)
