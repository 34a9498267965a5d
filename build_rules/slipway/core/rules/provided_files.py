"""Finds definitions and locks: a file of the workspace, or else the bundled file in `data`.

A workspace that uses Slipway from a wheel needs copies only of the files that it changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from pants.engine.fs import DigestContents, PathGlobs
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.data import bundled


@dataclass(frozen=True)
class ProvidedFileRequest:
    """Requests the first of `paths` that exists, or else the bundled file `packaged`.

    `paths` are relative to the build root, and `packaged` is relative to the folder `data`.
    """

    paths: Tuple[str, ...]
    packaged: str


@dataclass(frozen=True)
class ProvidedFile:
    """`path` is the name for messages; `content` is None if the file does not exist."""

    path: str
    content: Optional[bytes]


@rule
async def find_provided_file(request: ProvidedFileRequest) -> ProvidedFile:
    contents = {
        file.path: file.content for file in await Get(DigestContents, PathGlobs(request.paths))
    }
    for path in request.paths:
        if path in contents:
            return ProvidedFile(path, contents[path])
    content = bundled.read(request.packaged)
    if content is None:
        return ProvidedFile(request.paths[0], None)
    return ProvidedFile(f"slipway:{request.packaged}", content)


def rules() -> Rules:
    return collect_rules()
