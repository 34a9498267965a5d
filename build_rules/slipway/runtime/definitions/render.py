"""Writes Node definitions as TOML."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Iterator, Mapping, Optional, Sequence, Union

from slipway.runtime.definitions.definition import PLACES, PinnedArchive

_TEXTS = (*PLACES, "integrity", "sha256")
_TOLD = ("built_by", "hash_from", "hash_date")


def render(
    version: str,
    binaries: Mapping[str, PinnedArchive],
    npms: Sequence[PinnedArchive],
    command: str,
    source: Optional[PinnedArchive] = None,
    python: str = "",
    runtime: Mapping[str, Union[str, bool]] = MappingProxyType({}),
) -> str:
    """The text of a definition, which `command` writes.

    `binaries` has an archive for each platform. The first of `npms` is the default. Without binaries,
    Node is built from `source`, whose configure script runs with `python`. `runtime` says what differs from
    Node.js.
    """
    lines = [f"# Node.js {version}; written by: {command}", f"version = {_quoted(version)}"]
    for platform, archive in binaries.items():
        lines += ["", f"[binary.{platform}]", *_archive(archive)]
    if source is not None:
        lines += ["", "[source]", *_archive(source)]
        lines += [f"python = {_quoted(python)}"] if python else []
    if npms:
        lines += ["", "[npm]", f"default = {_quoted(npms[0].version)}"]
    if runtime:
        lines += ["", "[runtime]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in runtime.items()]
    for npm in npms:
        lines += ["", f"[npm.versions.{_quoted(npm.version)}]", *_archive(npm)]
    return "\n".join([*lines, ""])


def _archive(archive: PinnedArchive) -> Iterator[str]:
    for name in _TEXTS:
        if getattr(archive, name):
            yield f"{name} = {_quoted(getattr(archive, name))}"
    if archive.size:
        yield f"size = {archive.size}"
    for name in _TOLD:
        if getattr(archive, name):
            yield f"{name} = {_quoted(getattr(archive, name))}"
    if archive.needs:
        yield "needs = ["
        yield from (f"    {_quoted(need)}," for need in archive.needs)
        yield "]"


def _quoted(text: str) -> str:
    # A string of JSON without surrogate escapes is a basic string of TOML.
    return json.dumps(text, ensure_ascii=False)
