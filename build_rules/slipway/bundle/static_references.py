"""Finds references to published static files, and reports the references without a file.

A page that refers to a missing script is broken, and no build tool notices. The static folder must
repeat the path of the URL: `https://host/dist/js/a.js` is `dist/js/a.js` in the static folder.
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
    path: str  # relative to the static folder


@dataclass(frozen=True)
class StaticBase:
    """A base URL such as `https://static.example.com/dist/`."""

    address: str

    @staticmethod
    def parse(address: str, where: str) -> StaticBase:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "") or not parts.netloc or parts.query:
            raise SlipwayError(
                "static_base_url is not a base URL",
                where=where,
                found=address,
                next='use the form "https://static.example.com/dist/"',
            )
        return StaticBase(address if address.endswith("/") else address + "/")

    def pattern(self) -> Pattern[str]:
        """Matches the URL with a scheme, and as `//host/path/`."""
        parts = urlsplit(self.address)
        return re.compile(rf"(?:https?:)?//{re.escape(parts.netloc + parts.path)}{_END}")

    def references(self, file: str, text: str) -> Iterator[Reference]:
        pattern = self.pattern()
        for number, line in enumerate(text.split("\n"), 1):
            for match in pattern.finditer(line):
                address = match.group()
                parts = urlsplit(address)
                path = unquote(parts.path).lstrip("/")
                # Skip URLs that a template completes, and the base URL itself: they name no file.
                if _TEMPLATE.search(line[match.start() : match.end() + 2]) or path.endswith("/"):
                    continue
                yield Reference(file, number, address, posixpath.normpath(path))


def missing(references: Iterator[Reference], published: AbstractSet[str]) -> List[Reference]:
    """The references to files that are not in the static folder."""
    return [reference for reference in references if reference.path not in published]
