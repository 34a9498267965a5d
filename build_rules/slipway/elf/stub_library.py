"""Shared libraries for the linker alone: the names that an old host has, and nothing newer.

What is linked with a stub cannot ask for more than the oldest host offers, however new the library
is that runs in the build.  A stub has the symbols of the real library within the ABI policy, under
the versions that the old library gave them, and no code at all.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from typing import AbstractSet, Callable, Dict, List, Sequence, Tuple

from slipway.elf import sections
from slipway.elf.sections import LinkSymbol, Section, SectionedElf
from slipway.elf.symbol_versions import split_version

_LOADED = 2  # SHF_ALLOC
_SONAME, _HASH, _STRINGS, _SYMBOLS, _STRINGS_SIZE, _SYMBOL_SIZE = 14, 4, 5, 6, 10, 11
_VERSYM, _VERDEF, _VERDEF_COUNT = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_HEADER_SIZE, _SEGMENT_SIZE, _SECTION_SIZE = 64, 56, 64
_PAGE = 0x1000


@dataclass(frozen=True)
class Stub:
    """`provided` are names that a plain reference links to, `removed` those that only newer
    versions of the library offer."""

    soname: str
    data: bytes
    provided: AbstractSet[str]
    removed: AbstractSet[str]


def make_stub(
    library: bytes,
    allows: Callable[[str], bool],
    static_instead: Sequence[str] = (),
) -> Stub:
    """The stub of a real library; `allows` says of a symbol version whether the old host has it.

    `static_instead` are patterns of names that old hosts have, but that newer headers don't fit.
    """
    real = SectionedElf(library)
    avoided = re.compile("|".join(static_instead) or r"(?!)")
    kept, removed = _select(real.exports(), allows, avoided)
    data = _Writer(real, kept, allows).write()
    return Stub(real.soname(), data, {one.name for one in kept if one.default}, removed)


def _select(
    exports: Sequence[LinkSymbol],
    allows: Callable[[str], bool],
    avoided: re.Pattern[str],
) -> Tuple[List[LinkSymbol], AbstractSet[str]]:
    kept = [one for one in exports if allows(one.version) and not avoided.fullmatch(one.name)]
    linkable = {one.name for one in kept if one.default}
    lost = {one.name for one in exports if one.default} - linkable
    # Where exp@@GLIBC_2.29 goes, the newest older one, exp@GLIBC_2.2.5, is the default again.
    newest: Dict[str, Tuple[int, ...]] = {}
    for one in kept:
        if one.name in lost:
            newest[one.name] = max(newest.get(one.name, ()), _numbers(one))
    kept = [
        replace(one, default=True) if newest.get(one.name) == _numbers(one) else one for one in kept
    ]
    return sorted(kept, key=lambda one: (one.name, _numbers(one))), lost - set(newest)


def _numbers(symbol: LinkSymbol) -> Tuple[int, ...]:
    return split_version(symbol.version)[1] or ()


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._places: Dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._places[text]


class _Writer:
    def __init__(
        self, real: SectionedElf, kept: Sequence[LinkSymbol], allows: Callable[[str], bool]
    ) -> None:
        self._soname, self._kept = real.soname(), kept
        _, parents = real.versions()
        self._parents = {name: own for name, own in parents.items() if allows(name)}
        self._index = {name: number for number, name in enumerate(self._parents, 2)}
        # Empty shells of the sections that the symbols live in, with their flags, addresses and
        # alignment: copy relocations and aliases such as environ depend on them.
        homes = {one.section for one in kept if one.section < len(real.sections)}
        self._shells = {home: real.sections[home] for home in sorted(homes)}
        self._names, self._strings = _Strings(), _Strings()
        self._headers: List[Tuple[int, ...]] = [(0,) * 10]
        self._body = bytearray(_HEADER_SIZE + 2 * _SEGMENT_SIZE)
        self._addresses: Dict[str, int] = {}
        ends = [shell.address + shell.size for shell in self._shells.values()]
        self._base = (max(ends, default=0) | 0xFFFF) + 1

    def write(self) -> bytes:
        place = {home: self._add_shell(shell) for home, shell in self._shells.items()}
        symbols, versions = self._symbol_tables(place)
        definitions = self._version_definitions()
        soname = self._strings.add(self._soname)
        first = len(self._headers)  # of .hash; .dynsym, .dynstr and the others follow
        self._put(".hash", sections.HASH, self._hash_table(), first + 1, 0, 8, 4)
        self._put(".dynsym", sections.DYNAMIC_SYMBOLS, symbols, first + 2, 1, 8, 24)
        self._put(".dynstr", sections.STRINGS, bytes(self._strings.data), 0, 0, 1, 0)
        self._put(".gnu.version", sections.SYMBOL_VERSIONS, versions, first + 1, 0, 2, 2)
        count = len(self._parents) + 1
        kind = sections.VERSION_DEFINITIONS
        self._put(".gnu.version_d", kind, definitions, first + 2, count, 8, 0)
        tags = (
            (_SONAME, soname),
            (_HASH, self._addresses[".hash"]),
            (_STRINGS, self._addresses[".dynstr"]),
            (_SYMBOLS, self._addresses[".dynsym"]),
            (_STRINGS_SIZE, len(self._strings.data)),
            (_SYMBOL_SIZE, sections.SYMBOL_SIZE),
            (_VERSYM, self._addresses[".gnu.version"]),
            (_VERDEF, self._addresses[".gnu.version_d"]),
            (_VERDEF_COUNT, count),
            (0, 0),
        )
        dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
        self._put(".dynamic", sections.DYNAMIC, dynamic, first + 2, 0, 8, 16)
        return self._finish(len(dynamic))

    def _add_shell(self, shell: Section) -> int:
        self._headers.append(
            (
                *(self._names.add(shell.name), sections.EMPTY, shell.flags, shell.address),
                *(0, shell.size, 0, 0, shell.alignment, 0),
            )
        )
        return len(self._headers) - 1

    def _symbol_tables(self, place: Dict[int, int]) -> Tuple[bytes, bytes]:
        symbols, versions = bytearray(sections.SYMBOL_SIZE), bytearray(2)
        for one in self._kept:
            kind = sections.FUNCTION if one.type == sections.INDIRECT else one.type
            symbols += struct.pack(
                "<IBBHQQ",
                *(self._strings.add(one.name), one.bind << 4 | kind, one.other),
                *(place[one.section], one.value, one.size),
            )
            hidden = 0 if one.default else sections.HIDDEN
            versions += struct.pack("<H", self._index[one.version] | hidden)
        return bytes(symbols), bytes(versions)

    def _version_definitions(self) -> bytes:
        table = bytearray()
        names = [self._soname, *self._parents]
        for number, name in enumerate(names):
            words = [name, *(one for one in self._parents.get(name, ()) if one in self._index)]
            last = number == len(names) - 1
            table += struct.pack(
                "<HHHHIII",
                *(1, 0 if number else 1, number + 1, len(words), _sysv_hash(name), 20),
                0 if last else 20 + 8 * len(words),
            )
            for i, word in enumerate(words):
                more = 8 if i + 1 < len(words) else 0
                table += struct.pack("<II", self._strings.add(word), more)
        return bytes(table)

    def _hash_table(self) -> bytes:
        count = len(self._kept) + 1
        buckets, chain = [0] * max(1, count // 2), [0] * count
        for number, one in enumerate(self._kept, 1):
            slot = _sysv_hash(one.name) % len(buckets)
            chain[number], buckets[slot] = buckets[slot], number
        return struct.pack(f"<{2 + len(buckets) + count}I", len(buckets), count, *buckets, *chain)

    def _put(
        self,
        name: str,
        kind: int,
        content: bytes,
        link: int,
        info: int,
        alignment: int,
        entry_size: int,
        flags: int = _LOADED,
    ) -> None:
        self._body.extend(bytes(-len(self._body) % alignment))
        address = self._base + len(self._body) if flags else 0
        self._addresses[name] = address
        self._headers.append(
            (
                *(self._names.add(name), kind, flags, address, len(self._body), len(content)),
                *(link, info, alignment, entry_size),
            )
        )
        self._body.extend(content)

    def _finish(self, dynamic_size: int) -> bytes:
        body, loaded = self._body, len(self._body)
        dynamic = loaded - dynamic_size
        self._names.add(".shstrtab")
        names = bytes(self._names.data)
        self._put(".shstrtab", sections.STRINGS, names, 0, 0, 1, 0, flags=0)
        body.extend(bytes(-len(body) % 8))
        table = len(body)
        for header in self._headers:
            body.extend(struct.pack("<IIQQQQIIQQ", *header))
        struct.pack_into(
            "<16sHHIQQQIHHHHHH",
            body,
            0,
            *(b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, _HEADER_SIZE, table, 0, _HEADER_SIZE),
            *(_SEGMENT_SIZE, 2, _SECTION_SIZE, len(self._headers), len(self._headers) - 1),
        )
        base = self._base
        load = (1, 4, 0, base, base, loaded, loaded, _PAGE)
        start = base + dynamic
        segment = (2, 4, dynamic, start, start, dynamic_size, dynamic_size, 8)
        struct.pack_into("<IIQQQQQQ", body, _HEADER_SIZE, *load)
        struct.pack_into("<IIQQQQQQ", body, _HEADER_SIZE + _SEGMENT_SIZE, *segment)
        return bytes(body)


def _sysv_hash(name: str) -> int:
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value
