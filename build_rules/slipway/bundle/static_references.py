"""Finds references to published static files and says which of them will not be there.

A page that names a script which is not at its address is a broken page that no build notices: the
folder that is published must repeat the path of the address (`https://host/dist/js/a.js` is
`dist/js/a.js` in the static folder).
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import AbstractSet, Iterator, List, Pattern
from urllib.parse import unquote, urlsplit

from slipway.core.errors import SlipwayError

# A reference ends where HTML, CSS or a script's string ends it.
_END = r"[^\s\"'`<>()\\]*"
_TEMPLATE = re.compile(r"\{\{|\{%|<%|\$\{|#\{")


@dataclass(frozen=True)
class Reference:
    file: str
    line: int
    address: str
    path: str  # in the static folder


@dataclass(frozen=True)
class StaticBase:
    """A base address such as `https://static.example.com/dist/`."""

    address: str

    @staticmethod
    def parse(address: str, where: str) -> StaticBase:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "") or not parts.netloc or parts.query:
            raise SlipwayError(
                "the address of the static files is no base address",
                where=where,
                found=address,
                next='write it as "https://static.example.com/dist/"',
            )
        return StaticBase(address if address.endswith("/") else address + "/")

    def pattern(self) -> Pattern[str]:
        """Matches the address with its scheme, and as `//host/path/`."""
        parts = urlsplit(self.address)
        return re.compile(rf"(?:https?:)?//{re.escape(parts.netloc + parts.path)}{_END}")

    def references(self, file: str, text: str) -> Iterator[Reference]:
        pattern = self.pattern()
        for number, line in enumerate(text.split("\n"), 1):
            for match in pattern.finditer(line):
                address = match.group()
                parts = urlsplit(address)
                path = unquote(parts.path).lstrip("/")
                # What a template fills in, and the bare base address, name no file.
                if _TEMPLATE.search(line[match.start() : match.end() + 2]) or path.endswith("/"):
                    continue
                yield Reference(file, number, address, posixpath.normpath(path))


def missing(references: Iterator[Reference], published: AbstractSet[str]) -> List[Reference]:
    """References to files that the static folder lacks."""
    return [one for one in references if one.path not in published]
