"""Makes the static part of a library: the code that its stub lacks, from the static library.

A program that uses newer functions than the oldest host has gets their code linked into itself. The
static part has only the members of the static library that these functions need. Symbols that the
stub has become references to the stub, so that a process has a single copy of them. All other
symbols become hidden, so that no other library can use them. Names that nothing defines on the
oldest host can become variables that are zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import AbstractSet, List, Sequence, Set

from slipway.archive import ar
from slipway.elf import sections, zero_object
from slipway.elf.sections import SYMBOL_SIZE, SectionedElf

_HIDDEN_VISIBILITY = 2
_ZEROS = "zeros.o"


@dataclass(frozen=True)
class _Member:
    name: str
    data: bytes
    defined: AbstractSet[str]
    wanted: AbstractSet[str]


def make_rest(
    archive: bytes,
    provided: AbstractSet[str],
    removed: AbstractSet[str],
    zeros: Sequence[str] = (),
) -> bytes:
    """The members that define `removed` names, and the members that these need in turn.

    An additional member defines the names `zeros` as zero.
    """
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
    # The index has only names that are needed. With all names, linkers would also load a member for
    # any of the inline functions in it.
    index = [sorted(member.defined & wanted) for member in kept]
    files = [(member.name, member.data) for member in kept]
    if zeros:
        files.append((_ZEROS, zero_object.make_zeros(zeros)))
        index.append(list(zeros))
    return ar.write(files, index)


def defined_names(archive: bytes) -> Set[str]:
    """The names that the members of a static library define for others."""
    names: Set[str] = set()
    for _, content in ar.members(archive, "static library"):
        member = SectionedElf(content)
        table = member.first(sections.SYMBOLS)
        if table is not None:
            names.update(
                symbol.name
                for symbol in member.symbols(table)
                if symbol.bind != sections.LOCAL and symbol.section != sections.UNDEFINED
            )
    return names


def _rewritten(name: str, data: bytes, provided: AbstractSet[str]) -> _Member:
    member = SectionedElf(data)
    table = member.first(sections.SYMBOLS)
    if table is None:
        return _Member(name, data, frozenset(), frozenset())
    changed = bytearray(data)
    defined: Set[str] = set()
    wanted: Set[str] = set()
    for number, symbol in enumerate(member.symbols(table)):
        at = table.offset + SYMBOL_SIZE * number
        if symbol.bind == sections.LOCAL:
            continue
        if symbol.section == sections.UNDEFINED:
            if symbol.bind == sections.GLOBAL:
                wanted.add(symbol.name)
        elif symbol.name in provided:
            # ld rejects a reference without the TLS type to a thread-local definition.
            kept = symbol.type == sections.THREAD_LOCAL
            kind = sections.THREAD_LOCAL if kept else sections.NO_TYPE
            info = sections.GLOBAL << 4 | kind
            struct.pack_into("<BBHQQ", changed, at + 4, info, 0, sections.UNDEFINED, 0, 0)
        else:
            # STB_GNU_UNIQUE would make the symbol unique in the process, so it cannot be hidden.
            bind = sections.WEAK if symbol.bind == sections.UNIQUE else symbol.bind
            other = symbol.other & ~3 | _HIDDEN_VISIBILITY
            struct.pack_into("<BB", changed, at + 4, bind << 4 | symbol.type, other)
            defined.add(symbol.name)
    return _Member(name, bytes(changed), defined, wanted - provided)
