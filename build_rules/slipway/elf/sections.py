"""Reads ELF files as a linker does: sections, symbol tables and defined versions. See elf(5).

`reader` has the view of the loader, which ignores sections. This module trusts the section table, so
it must only read libraries from the packages of a toolchain, which are pinned by hash.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Tuple

from slipway.elf import reader
from slipway.elf.reader import ElfError

SYMBOLS, STRINGS, HASH, DYNAMIC, EMPTY, DYNAMIC_SYMBOLS = 2, 3, 5, 6, 8, 11
VERSION_DEFINITIONS, SYMBOL_VERSIONS = 0x6FFFFFFD, 0x6FFFFFFF
UNDEFINED, ABSOLUTE = 0, 0xFFF1
LOCAL, GLOBAL, WEAK, UNIQUE = 0, 1, 2, 10
NO_TYPE, FUNCTION, THREAD_LOCAL, INDIRECT = 0, 2, 6, 10
HIDDEN = 0x8000

SYMBOL_SIZE = 24
_SONAME, _BASE = 14, 1


@dataclass(frozen=True)
class Section:
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


@dataclass(frozen=True)
class LinkSymbol:
    """A symbol; `section` is an index, and `default` is True for name@@version."""

    name: str
    bind: int
    type: int
    other: int
    section: int
    value: int
    size: int
    version: str = ""
    default: bool = True


class SectionedElf:
    """A 64-bit little-endian file with a section table."""

    def __init__(self, data: bytes) -> None:
        if not reader.read_header(data).is_ours:
            raise ElfError("not for x86-64")
        self.data = data
        try:
            self.sections = self._read_sections()
        except (struct.error, IndexError, ValueError) as error:
            raise ElfError(f"the section table is damaged: {error}") from None

    def first(self, kind: int) -> Optional[Section]:
        return next((section for section in self.sections if section.type == kind), None)

    def symbols(self, table: Section) -> List[LinkSymbol]:
        strings = self.sections[table.link].offset
        whole = self.data[table.offset : table.offset + table.size // SYMBOL_SIZE * SYMBOL_SIZE]
        return [
            LinkSymbol(
                self._text(strings + name), info >> 4, info & 15, other, section, value, size
            )
            for name, info, other, section, value, size in struct.iter_unpack("<IBBHQQ", whole)
        ]

    def versions(self) -> Tuple[Dict[int, str], Dict[str, Tuple[str, ...]]]:
        """Defined versions by index, and the parents of each version in the file's order."""
        table = self.first(VERSION_DEFINITIONS)
        names: Dict[int, str] = {}
        parents: Dict[str, Tuple[str, ...]] = {}
        if table is None:
            return names, parents
        strings, at = self.sections[table.link].offset, table.offset
        for _ in range(table.info):
            _, flags, index, count, _, first, step = struct.unpack_from("<HHHHIII", self.data, at)
            words, place = [], at + first
            for _ in range(count):
                name, distance = struct.unpack_from("<II", self.data, place)
                words.append(self._text(strings + name))
                place += distance
            if not flags & _BASE:
                names[index] = words[0]
                parents[words[0]] = tuple(words[1:])
            at += step
        return names, parents

    def exports(self) -> List[LinkSymbol]:
        """The dynamic symbols that this library defines with a version."""
        table, versions = self.first(DYNAMIC_SYMBOLS), self.first(SYMBOL_VERSIONS)
        if table is None or versions is None:
            return []
        names, _ = self.versions()
        exported = []
        for number, symbol in enumerate(self.symbols(table)):
            (index,) = struct.unpack_from("<H", self.data, versions.offset + 2 * number)
            version = names.get(index & ~HIDDEN, "")
            if symbol.section in (UNDEFINED, ABSOLUTE) or symbol.bind == LOCAL or not version:
                continue
            exported.append(replace(symbol, version=version, default=not index & HIDDEN))
        return exported

    def soname(self) -> str:
        table = self.first(DYNAMIC)
        if table is not None:
            strings = self.sections[table.link].offset
            whole = self.data[table.offset : table.offset + table.size // 16 * 16]
            for tag, value in struct.iter_unpack("<QQ", whole):
                if tag == _SONAME:
                    return self._text(strings + value)
        raise ElfError("the library has no DT_SONAME")

    def _read_sections(self) -> Tuple[Section, ...]:
        (table,) = struct.unpack_from("<Q", self.data, 40)
        size, count, names = struct.unpack_from("<HHH", self.data, 58)
        if size != 64:
            raise ElfError(f"section headers of {size} bytes")
        raw = [struct.unpack_from("<IIQQQQIIQQ", self.data, table + 64 * i) for i in range(count)]
        texts = raw[names][4]
        return tuple(Section(self._text(texts + header[0]), *header[1:]) for header in raw)

    def _text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode("utf-8", "replace")
