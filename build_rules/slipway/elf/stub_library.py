"""Writes stub libraries for linkers: only the symbols that the oldest host has, without code.

A binary that is linked with a stub cannot need more than the oldest host has, even if the build
runs with a newer library. A stub has the symbols of the real library that the ABI policy allows,
with the versions of the old library.
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
    """A stub; `provided` are the names that a reference without version links to.

    `removed` are names that only newer versions of the library have.
    """

    soname: str
    data: bytes
    provided: AbstractSet[str]
    removed: AbstractSet[str]


def make_stub(
    library: bytes,
    allows: Callable[[str], bool],
    static_instead: Sequence[str] = (),
) -> Stub:
    """The stub of a library; `allows` returns whether the oldest host has a symbol version.

    `static_instead` are patterns of names that old hosts have with a type that newer headers do not
    match. Raises ElfError.
    """
    real = SectionedElf(library)
    avoided = re.compile("|".join(static_instead) or r"(?!)")
    kept, removed = _select(real.exports(), allows, avoided)
    data = _Writer(real, kept, allows).write()
    provided = {symbol.name for symbol in kept if symbol.default}
    return Stub(real.soname(), data, provided, removed)


def _select(
    exports: Sequence[LinkSymbol],
    allows: Callable[[str], bool],
    avoided: re.Pattern[str],
) -> Tuple[List[LinkSymbol], AbstractSet[str]]:
    kept = [
        symbol
        for symbol in exports
        if allows(symbol.version) and not avoided.fullmatch(symbol.name)
    ]
    linkable = {symbol.name for symbol in kept if symbol.default}
    lost = {symbol.name for symbol in exports if symbol.default} - linkable
    # If the policy removes exp@@GLIBC_2.29, the newest remaining version becomes the default:
    # exp@GLIBC_2.2.5. Linkers use only the default version for a reference without version.
    newest: Dict[str, Tuple[int, ...]] = {}
    for symbol in kept:
        if symbol.name in lost:
            newest[symbol.name] = max(newest.get(symbol.name, ()), _numbers(symbol))
    kept = [
        replace(symbol, default=True) if newest.get(symbol.name) == _numbers(symbol) else symbol
        for symbol in kept
    ]
    return sorted(kept, key=lambda symbol: (symbol.name, _numbers(symbol))), lost - set(newest)


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
        # The stub has empty sections with the flags, addresses and alignment of the real sections
        # of the symbols. Linkers use them for copy relocations, and to find aliases such as
        # environ.
        homes = {symbol.section for symbol in kept if symbol.section < len(real.sections)}
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
        first = len(self._headers)  # the index of .hash; .dynsym, .dynstr and the others follow
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
        for symbol in self._kept:
            # An indirect function (IFUNC) needs a resolver, and a stub has no code. For a linker, a
            # plain function is the same.
            kind = sections.FUNCTION if symbol.type == sections.INDIRECT else symbol.type
            symbols += struct.pack(
                "<IBBHQQ",
                *(self._strings.add(symbol.name), symbol.bind << 4 | kind, symbol.other),
                *(place[symbol.section], symbol.value, symbol.size),
            )
            hidden = 0 if symbol.default else sections.HIDDEN
            versions += struct.pack("<H", self._index[symbol.version] | hidden)
        return bytes(symbols), bytes(versions)

    def _version_definitions(self) -> bytes:
        table = bytearray()
        names = [self._soname, *self._parents]
        for number, name in enumerate(names):
            parents = self._parents.get(name, ())
            words = [name, *(parent for parent in parents if parent in self._index)]
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
        for number, symbol in enumerate(self._kept, 1):
            slot = _sysv_hash(symbol.name) % len(buckets)
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
