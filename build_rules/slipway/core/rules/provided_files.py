"""Definitions and locks: files of the workspace, or those that this package brings as data.

A workspace that uses Slipway from a wheel need not keep what it does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

import toml
from pants.engine.fs import DigestContents, PathGlobs
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.errors import SlipwayError
from slipway.data import bundled


@dataclass(frozen=True)
class ProvidedFileRequest:
    """Asks for the first of `paths`, relative to the build root, that is there, or else for the
    file `packaged` below this package's `data` folder."""

    paths: Tuple[str, ...]
    packaged: str


@dataclass(frozen=True)
class ProvidedFile:
    """`path` is what messages call it; `content` is None where no such file is provided."""

    path: str
    content: Optional[bytes]


@rule
async def find_provided_file(request: ProvidedFileRequest) -> ProvidedFile:
    found = {
        file.path: file.content for file in await Get(DigestContents, PathGlobs(request.paths))
    }
    for path in request.paths:
        if path in found:
            return ProvidedFile(path, found[path])
    content = bundled.read(request.packaged)
    if content is None:
        return ProvidedFile(request.paths[0], None)
    return ProvidedFile(f"slipway:{request.packaged}", content)


def parse_toml(content: bytes, path: str, what: str) -> Dict[str, Any]:
    """The TOML document in `content`; `what` is what messages call such a file."""
    try:
        return toml.loads(content.decode("utf-8"))
    except (toml.TomlDecodeError, UnicodeDecodeError, IndexError) as error:
        raise SlipwayError(
            f'the {what} "{path}" is not TOML',
            where=f"{path}:{getattr(error, 'lineno', 1)}",
            found=str(error),
            next="correct the file",
        ) from None


def rules():
    return collect_rules()
