"""The static remainder: what a stub library lacks, taken from the static library of the same build.

A program that uses something newer than the old host's library gets that code linked into itself.
Only the members that are asked for come along.  In them, what the stub has points at the stub, so
that there is one copy of it in a process; everything else is hidden, so that nothing of it can be
seen from outside.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import AbstractSet, List, Set

from slipway.archive import ar
from slipway.elf import sections
from slipway.elf.sections import SYMBOL_SIZE, SectionedElf

_HIDDEN_VISIBILITY = 2


@dataclass(frozen=True)
class _Member:
    name: str
    data: bytes
    defined: AbstractSet[str]
    wanted: AbstractSet[str]


def make_rest(archive: bytes, provided: AbstractSet[str], removed: AbstractSet[str]) -> bytes:
    """The members that define a `removed` name, and those that they need in turn."""
    members = [_rewritten(name, content, provided) for name, content in ar.members(archive, "rest")]
    wanted: Set[str] = set(removed)
    chosen: List[bool] = [False] * len(members)
    grown = True
    while grown:
        grown = False
        for number, member in enumerate(members):
            if not chosen[number] and member.defined & wanted:
                chosen[number] = grown = True
                wanted |= member.wanted - member.defined
    kept = [member for number, member in enumerate(members) if chosen[number]]
    # Only names that are asked for stand in the index, not every inline function.
    index = [sorted(member.defined & wanted) for member in kept]
    return ar.write([(member.name, member.data) for member in kept], index)


def defined_names(archive: bytes) -> Set[str]:
    """The names that the members of a static library define for others."""
    found: Set[str] = set()
    for _, content in ar.members(archive, "static library"):
        member = SectionedElf(content)
        table = member.first(sections.SYMBOLS)
        if table is not None:
            found.update(
                one.name
                for one in member.symbols(table)
                if one.bind != sections.LOCAL and one.section != sections.UNDEFINED
            )
    return found


def _rewritten(name: str, data: bytes, provided: AbstractSet[str]) -> _Member:
    member = SectionedElf(data)
    table = member.first(sections.SYMBOLS)
    if table is None:
        return _Member(name, data, frozenset(), frozenset())
    changed = bytearray(data)
    defined: Set[str] = set()
    wanted: Set[str] = set()
    for number, one in enumerate(member.symbols(table)):
        at = table.offset + SYMBOL_SIZE * number
        if one.bind == sections.LOCAL:
            continue
        if one.section == sections.UNDEFINED:
            if one.bind == sections.GLOBAL:
                wanted.add(one.name)
        elif one.name in provided:
            kept = one.type == sections.THREAD_LOCAL
            kind = sections.THREAD_LOCAL if kept else sections.NO_TYPE
            info = sections.GLOBAL << 4 | kind
            struct.pack_into("<BBHQQ", changed, at + 4, info, 0, sections.UNDEFINED, 0, 0)
        else:
            bind = sections.WEAK if one.bind == sections.UNIQUE else one.bind
            other = one.other & ~3 | _HIDDEN_VISIBILITY
            struct.pack_into("<BB", changed, at + 4, bind << 4 | one.type, other)
            defined.add(one.name)
    return _Member(name, bytes(changed), defined, wanted - provided)
