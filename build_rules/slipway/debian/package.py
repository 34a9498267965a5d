"""Reads a Debian package: its control fields and its files, but never its maintainer scripts.

A package is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`, see deb(5).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Dict, Tuple

from slipway.archive import ar
from slipway.archive.decompression import unpacked_chunks
from slipway.archive.tar_reading import Kind, Member, read_members
from slipway.core.errors import SlipwayError
from slipway.debian.control import Stanza, parse_stanzas

_LARGEST_CONTROL = 16 << 20
_LARGEST_DATA = 2 << 30


@dataclass(frozen=True)
class Package:
    """A package; `data` is the uncompressed tar archive with the files in `members`."""

    control: Stanza
    members: Tuple[Member, ...]
    data: bytes


def read_package(content: bytes, label: str) -> Package:
    """Parses a package; raises SlipwayError. `label` names the package and file in messages."""
    if not content.startswith(ar.MAGIC):
        raise SlipwayError(f'"{label}" is not a Debian package', found=repr(content[:16]))
    parts = dict(ar.members(content, label))
    if parts.get("debian-binary", b"")[:2] != b"2.":
        raise SlipwayError(f'"{label}" is not a Debian package of format 2')
    control_name, control = _part("control.tar", parts, label, _LARGEST_CONTROL)
    data_name, data = _part("data.tar", parts, label, _LARGEST_DATA)
    return Package(
        control=_control(control, control_name),
        members=tuple(read_members(io.BytesIO(data), data_name)),
        data=data,
    )


def _part(stem: str, parts: Dict[str, bytes], label: str, most: int) -> Tuple[str, bytes]:
    names = [name for name in parts if name == stem or name.startswith(stem + ".")]
    if len(names) != 1:
        raise SlipwayError(
            f'"{label}" must have exactly one {stem}', found=", ".join(sorted(parts)) or "nothing"
        )
    part = f"{label}: {names[0]}"
    return part, b"".join(unpacked_chunks([parts[names[0]]], part, most))


def _control(archive: bytes, label: str) -> Stanza:
    for member in read_members(io.BytesIO(archive), label):
        if member.kind is Kind.FILE and member.name in ("control", "./control"):
            raw = archive[member.offset : member.offset + member.size]
            stanzas = parse_stanzas(raw.decode("utf-8", "replace"))
            if len(stanzas) == 1:
                return stanzas[0]
    raise SlipwayError(f'"{label}" has no control file with exactly one stanza')
