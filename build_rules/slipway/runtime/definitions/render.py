"""Writes Node definitions as TOML."""

from __future__ import annotations

import json
from typing import Iterator, Sequence

from slipway.runtime.definitions.definition import PLACES, PinnedArchive

_TEXTS = (*PLACES, "integrity", "sha256")


def render(
    version: str, platform: str, node: PinnedArchive, npms: Sequence[PinnedArchive], command: str
) -> str:
    """The text of a definition; the first of `npms` is the default. `command` has written it."""
    return "\n".join(_lines(version, platform, node, npms, command)) + "\n"


def _lines(
    version: str, platform: str, node: PinnedArchive, npms: Sequence[PinnedArchive], command: str
) -> Iterator[str]:
    yield f"# Node.js {version}; written by: {command}"
    yield f"version = {_quoted(version)}"
    yield ""
    yield f"[binary.{platform}]"
    yield from _archive(node)
    if npms:
        yield ""
        yield "[npm]"
        yield f"default = {_quoted(npms[0].version)}"
    for npm in npms:
        yield ""
        yield f"[npm.versions.{_quoted(npm.version)}]"
        yield from _archive(npm)


def _archive(archive: PinnedArchive) -> Iterator[str]:
    for name in _TEXTS:
        if getattr(archive, name):
            yield f"{name} = {_quoted(getattr(archive, name))}"
    yield f"size = {archive.size}"
    for name in ("built_by", "hash_from", "hash_date"):
        if getattr(archive, name):
            yield f"{name} = {_quoted(getattr(archive, name))}"
    if archive.needs:
        yield "needs = ["
        yield from (f"    {_quoted(need)}," for need in archive.needs)
        yield "]"


def _quoted(text: str) -> str:
    # A string of JSON without surrogate escapes is a basic string of TOML.
    return json.dumps(text, ensure_ascii=False)
