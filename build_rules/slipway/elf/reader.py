"""Reads ELF files as the dynamic loader does: what a binary needs from its host.

The reader uses program headers, the dynamic section and the tables that it names, as in elf(5) and
the gABI. Tools can strip or forge section headers, so they only help to find the end of the symbol
table. Every offset, count and size is checked against the file before it is used. A damaged or
hostile file therefore raises ElfError within bounded time.

pyelftools has no such bounds and takes seconds for a large runtime. It also cannot write ELF files,
which stub libraries need.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

Bytes = Union[bytes, memoryview]

MAGIC = b"\x7fELF"
PROGRAM, LIBRARY, OBJECT, CORE = "program", "library", "object", "core"

_KINDS = {1: OBJECT, 2: PROGRAM, 3: LIBRARY, 4: CORE}
_MACHINES = {3: "x86", 40: "arm", 62: "x86-64", 183: "arm64", 243: "riscv"}
_SYSTEMS = {2: "NetBSD", 6: "Solaris", 9: "FreeBSD", 12: "OpenBSD"}
_CLASSES = {1: 32, 2: 64}
_ORDERS = {1: "<", 2: ">"}
_LOAD, _DYNAMIC, _INTERPRETER, _STACK = 1, 2, 3, 0x6474E551
_EXECUTABLE = 1
_NEEDED, _HASH, _STRINGS, _SYMBOLS, _RELA, _RELA_SIZE = 1, 4, 5, 6, 7, 8
_STRINGS_SIZE, _SONAME, _RPATH, _TEXTREL, _JUMPS, _JUMPS_SIZE = 10, 14, 15, 22, 23, 2
_RUNPATH, _FLAGS, _GNU_HASH = 29, 30, 0x6FFFFEF5
_VERSYM, _VERDEF, _VERDEF_COUNT, _VERNEED, _VERNEED_COUNT = (
    *(0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD),
    *(0x6FFFFFFE, 0x6FFFFFFF),
)
_DF_TEXTREL = 4
_SYMBOL_SIZE, _RELA_ENTRY = 24, 24
_DYNSYM_SECTION = 11
_LOCAL, _WEAK, _ABSOLUTE = 0, 2, 0xFFF1
_VERSION_MASK, _BASE_VERSION = 0x7FFF, 1

_MOST_SEGMENTS = 4096
_MOST_TAGS = 65536
_MOST_SYMBOLS = 4_000_000
_MOST_VERSIONS = 32767  # an index has 15 bits
_LONGEST_NAME = 1 << 16
_MOST_TEXT = 64 << 20  # bytes of all names; a limit, because names can share bytes of the table


_MOST_NAMES_OPENED = 1000
# A library name that is a complete string, or the last part of a path.
_LIBRARY_NAME = re.compile(rb"[\0/](lib[A-Za-z0-9_+.-]{1,128}?\.so(?:\.[0-9]{1,6}){0,4})\0")


class ElfError(Exception):
    """The file has the ELF magic, but is not valid; the text says why."""


@dataclass(frozen=True)
class Header:
    """The ELF header; `machine` is a name such as x86-64, or a number; `bits` is 32 or 64.

    `system` is the name of a system other than Linux, if the header has one.
    """

    kind: str
    machine: str
    bits: int
    big_endian: bool
    system: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a 64-bit little-endian file for x86-64; read() supports no other."""
        return (self.machine, self.bits, self.big_endian) == ("x86-64", 64, False)


@dataclass(frozen=True, order=True)
class NeededVersion:
    """A symbol version that `library` must define; a `weak` version may be missing."""

    library: str
    version: str
    weak: bool = False


@dataclass(frozen=True, order=True)
class Symbol:
    """A dynamic symbol; `library` must define the version of an undefined symbol."""

    name: str
    version: str = ""
    library: str = ""
    weak: bool = False


@dataclass(frozen=True)
class Elf:
    """A binary; `undefined` and `exported` are dynamic symbols.

    `dynamic` is False for a static program. `opened` are library names in the strings of a file that
    calls `dlopen`: libraries that it may load at run time.
    """

    header: Header
    dynamic: bool
    interpreter: str
    soname: str
    needed: Tuple[str, ...]
    run_paths: Tuple[str, ...]
    executable_stack: bool
    text_relocations: bool
    needed_versions: Tuple[NeededVersion, ...]
    undefined: Tuple[Symbol, ...]
    exported: Tuple[Symbol, ...]
    opened: Tuple[str, ...]


def read_header(data: Bytes) -> Header:
    """Parses the header of a file that begins with MAGIC; needs 20 bytes. Raises ElfError."""
    if len(data) < 20:
        raise ElfError(f"the file ends after {len(data)} bytes, within its header")
    bits, order = _CLASSES.get(data[4]), _ORDERS.get(data[5])
    if bits is None or order is None:
        raise ElfError(f"unknown class or byte order: {data[4]} and {data[5]}")
    kind, machine = struct.unpack_from(order + "HH", data, 16)
    if kind not in _KINDS:
        raise ElfError(f"unknown file type: {kind}")
    system = _SYSTEMS.get(data[7], "")
    return Header(_KINDS[kind], _MACHINES.get(machine, str(machine)), bits, order == ">", system)


def read(data: Bytes) -> Elf:
    """Parses a binary for x86-64; raises ElfError."""
    header = read_header(data)
    if not header.is_ours:
        raise ElfError(f"not for x86-64, but for {header.machine}, {header.bits} bits")
    return _Reader(data, header).read()


def needed_libraries(data: Bytes) -> Tuple[str, ...]:
    """The libraries that the loader loads for a binary for x86-64, in order.

    Empty for any other file, and for a damaged file.
    """
    try:
        header = read_header(data) if bytes(data[:4]) == MAGIC else None
        return _Reader(data, header).needed() if header and header.is_ours else ()
    except ElfError:
        return ()


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int


class _Reader:
    def __init__(self, data: Bytes, header: Header) -> None:
        self._data = memoryview(data)
        self._header = header
        self._text_left = _MOST_TEXT
        self._versions_left = _MOST_VERSIONS
        self._segments = list(self._read_segments())
        self._tags = self._read_tags()
        self._strings = self._read_strings()

    def read(self) -> Elf:
        tags = self._tags
        stacks = [segment.flags for segment in self._segments if segment.kind == _STACK]
        needed_versions, version_names = self._read_versions()
        undefined, exported = self._read_symbols(needed_versions, version_names)
        flags = tags.get(_FLAGS, [0])[0]
        return Elf(
            header=self._header,
            dynamic=bool(tags),
            interpreter=self._interpreter(),
            soname=self._text(tags[_SONAME][0]) if _SONAME in tags else "",
            needed=self.needed(),
            run_paths=tuple(
                self._text(at) for tag in (_RPATH, _RUNPATH) for at in tags.get(tag, ())
            ),
            # glibc makes the stack executable for a file without a PT_GNU_STACK header.
            executable_stack=bool(tags) and (not stacks or bool(stacks[-1] & _EXECUTABLE)),
            text_relocations=_TEXTREL in tags or bool(flags & _DF_TEXTREL),
            needed_versions=tuple(sorted(set(needed_versions.values()))),
            undefined=tuple(sorted(undefined)),
            exported=tuple(sorted(exported)),
            opened=self._opened() if any(item.name == "dlopen" for item in undefined) else (),
        )

    def _opened(self) -> Tuple[str, ...]:
        known = {*self.needed(), *(self._text(at) for at in self._tags.get(_SONAME, ()))}
        names: Set[str] = set()
        for match in _LIBRARY_NAME.finditer(self._data):
            names.add(match[1].decode())
            if len(names) > _MOST_NAMES_OPENED:
                raise ElfError(f"names more than {_MOST_NAMES_OPENED} libraries")
        return tuple(sorted(names - known))

    def needed(self) -> Tuple[str, ...]:
        return tuple(self._text(at) for at in self._tags.get(_NEEDED, ()))

    # --- Access to bytes, always within the file.

    def _unpack(self, form: str, offset: int, what: str) -> Tuple[int, ...]:
        size = struct.calcsize(form)
        if offset < 0 or offset + size > len(self._data):
            raise ElfError(f"{what} is beyond the end of the file")
        return struct.unpack_from(form, self._data, offset)

    def _part(self, offset: int, size: int, what: str) -> memoryview:
        if offset < 0 or size < 0 or offset + size > len(self._data):
            raise ElfError(f"{what} is beyond the end of the file")
        return self._data[offset : offset + size]

    def _offset(self, address: int, what: str) -> int:
        """The file offset of the byte that the loader maps to `address`."""
        for segment in self._segments:
            end = segment.address + segment.size
            if segment.kind == _LOAD and segment.address <= address < end:
                return address - segment.address + segment.offset
        raise ElfError(f"{what} is at {address:#x}, which no segment loads")

    def _text(self, at: int) -> str:
        text = _string(self._strings, at)
        self._text_left -= len(text)
        if self._text_left < 0:
            raise ElfError(f"names with more than {_MOST_TEXT} bytes in total")
        return text

    # --- Headers and the dynamic section.

    def _read_segments(self) -> Iterator[_Segment]:
        (table,) = self._unpack("<Q", 32, "the header")
        size, count = self._unpack("<HH", 54, "the header")
        if count > _MOST_SEGMENTS or (count and size < 56):
            raise ElfError(f"{count} program headers of {size} bytes")
        for number in range(count):
            kind, flags, offset, address, _, in_file = self._unpack(
                "<IIQQQQ", table + number * size, "a program header"
            )
            if kind in (_LOAD, _DYNAMIC, _INTERPRETER):
                self._part(offset, in_file, "a segment")
            yield _Segment(kind, flags, offset, address, in_file)

    def _interpreter(self) -> str:
        for segment in self._segments:
            if segment.kind == _INTERPRETER:
                return _string(self._part(segment.offset, segment.size, "the interpreter"), 0)
        return ""

    def _read_tags(self) -> Dict[int, List[int]]:
        tags: Dict[int, List[int]] = {}
        for segment in self._segments:
            if segment.kind != _DYNAMIC:
                continue
            whole = self._part(segment.offset, segment.size // 16 * 16, "the dynamic section")
            for number, (tag, value) in enumerate(struct.iter_unpack("<qQ", whole)):
                if tag == 0:
                    break
                if number > _MOST_TAGS:
                    raise ElfError(f"more than {_MOST_TAGS} dynamic tags")
                tags.setdefault(tag, []).append(value)
            break
        return tags

    def _first(self, tag: int) -> Optional[int]:
        return self._tags[tag][0] if tag in self._tags else None

    def _read_strings(self) -> memoryview:
        address, size = self._first(_STRINGS), self._first(_STRINGS_SIZE)
        if address is None:
            return memoryview(b"")
        offset = self._offset(address, "the string table")
        return self._part(offset, size or 0, "the string table")

    # --- Versions by their index in the table of symbol versions.

    def _read_versions(self) -> Tuple[Dict[int, NeededVersion], Dict[int, str]]:
        needed: Dict[int, NeededVersion] = {}
        start, count = self._first(_VERNEED), self._first(_VERNEED_COUNT) or 0
        if start is not None:
            for at in self._chain(start, count, 12, "the needed versions"):
                _, inner, name, first, _ = self._unpack("<HHIII", at, "a needed library")
                library = self._text(name)
                for entry in self._steps(at + first, inner, 12, "a needed version"):
                    _, flags, index, text, _ = self._unpack("<IHHII", entry, "a needed version")
                    weak = bool(flags & _WEAK)
                    needed[index & _VERSION_MASK] = NeededVersion(library, self._text(text), weak)
        defined: Dict[int, str] = {}
        start, count = self._first(_VERDEF), self._first(_VERDEF_COUNT) or 0
        if start is not None:
            for at in self._chain(start, count, 16, "the defined versions"):
                _, flags, index, inner, _, first, _ = self._unpack("<HHHHIII", at, "a version")
                (text,) = self._unpack("<I", at + first, "the name of a version")
                if inner and not flags & _BASE_VERSION:
                    defined[index & _VERSION_MASK] = self._text(text)
        return needed, defined

    def _chain(self, address: int, count: int, next_at: int, what: str) -> Iterator[int]:
        return self._steps(self._offset(address, what), count, next_at, what)

    def _steps(self, start: int, count: int, next_at: int, what: str) -> Iterator[int]:
        """The offsets of the entries of a linked list.

        `next_at` is the offset in an entry of its distance to the next entry. Distances are
        positive, so a list cannot be a cycle.
        """
        at = start
        for _ in range(count):
            self._versions_left -= 1
            if self._versions_left < 0:
                raise ElfError(f"more than {_MOST_VERSIONS} entries in {what}")
            yield at
            (step,) = self._unpack("<I", at + next_at, what)
            if step == 0:
                return
            at += step

    # --- Symbols.

    def _read_symbols(
        self, needed: Dict[int, NeededVersion], defined: Dict[int, str]
    ) -> Tuple[Set[Symbol], Set[Symbol]]:
        address = self._first(_SYMBOLS)
        undefined: Set[Symbol] = set()
        exported: Set[Symbol] = set()
        if address is None:
            return undefined, exported
        start = self._offset(address, "the symbol table")
        count = self._count_symbols(start)
        table = self._part(start, count * _SYMBOL_SIZE, "the symbol table")
        versions = self._symbol_versions(count)
        for number, (name, info, other, section, _, _) in enumerate(
            struct.iter_unpack("<IBBHQQ", table)
        ):
            bind, version = info >> 4, versions[number] & _VERSION_MASK if versions else 0
            if bind == _LOCAL or not name:
                continue
            text, need = self._text(name), needed.get(version)
            if section == 0:
                undefined.add(
                    Symbol(text, need.version, need.library, bind == _WEAK)
                    if need
                    else Symbol(text, weak=bind == _WEAK)
                )
            elif other & 3 in (0, 3):  # visibility default or protected, so others can link to it
                # A copy relocation: the program defines the variable of a library, with the version
                # that it needs from the library.
                known = need.version if need else defined.get(version, "")
                # Linkers add an absolute symbol for each version, with the version as its name.
                if not (section == _ABSOLUTE and text == known):
                    exported.add(Symbol(text, known, weak=bind == _WEAK))
        return undefined, exported

    def _symbol_versions(self, count: int) -> Sequence[int]:
        address = self._first(_VERSYM)
        if address is None:
            return ()
        offset = self._offset(address, "the versions of symbols")
        whole = self._part(offset, 2 * count, "the versions of symbols")
        return struct.unpack(f"<{count}H", whole)

    def _count_symbols(self, start: int) -> int:
        """The number of entries in the symbol table; an ELF file has no field for it.

        The SysV hash table counts all symbols. The GNU hash table omits undefined symbols if the
        file exports nothing. So relocations and the section header are used as well.
        """
        count = max(
            1,
            self._counted_by_hash(),
            self._counted_by_gnu_hash(),
            self._counted_by_relocations(_RELA, _RELA_SIZE),
            self._counted_by_relocations(_JUMPS, _JUMPS_SIZE),
            self._counted_by_section(start),
        )
        if count > _MOST_SYMBOLS:
            raise ElfError(f"{count} symbols")
        return count

    def _counted_by_hash(self) -> int:
        address = self._first(_HASH)
        if address is None:
            return 0
        _, count = self._unpack("<II", self._offset(address, "the hash table"), "the hash table")
        return count

    def _counted_by_gnu_hash(self) -> int:
        address = self._first(_GNU_HASH)
        if address is None:
            return 0
        what = "the GNU hash table"
        at = self._offset(address, what)
        buckets, first, words, _ = self._unpack("<IIII", at, what)
        if buckets > _MOST_SYMBOLS or words > _MOST_SYMBOLS:
            raise ElfError(f"{buckets} buckets and {words} words in {what}")
        start = at + 16 + 8 * words
        last = max(struct.unpack(f"<{buckets}I", self._part(start, 4 * buckets, what)), default=0)
        if last < first:
            return first
        chains = start + 4 * buckets
        for number in range(last, _MOST_SYMBOLS):
            (value,) = self._unpack("<I", chains + 4 * (number - first), what)
            if value & 1:  # the lowest bit marks the end of a chain
                return number + 1
        raise ElfError(f"{what} has no end")

    def _counted_by_relocations(self, table: int, table_size: int) -> int:
        address, size = self._first(table), self._first(table_size)
        if address is None or not size:
            return 0
        offset = self._offset(address, "the relocations")
        whole = self._part(offset, size // _RELA_ENTRY * _RELA_ENTRY, "the relocations")
        return max((info >> 32 for _, info, _ in struct.iter_unpack("<QQq", whole)), default=0) + 1

    def _counted_by_section(self, start: int) -> int:
        (table,) = self._unpack("<Q", 40, "the header")
        size, count = self._unpack("<HH", 58, "the header")
        for number in range(count if size == 64 else 0):
            at = table + number * size
            if at + size > len(self._data):
                break  # stripped or truncated section headers; the loader does not read them
            _, kind, _, _, offset, length = struct.unpack_from("<IIQQQQ", self._data, at)
            if (kind, offset) == (_DYNSYM_SECTION, start) and offset + length <= len(self._data):
                return int(length // _SYMBOL_SIZE)
        return 0


def _string(table: memoryview, at: int) -> str:
    """The text up to a zero byte. Symbol names are ASCII, but some compilers write UTF-8."""
    if at >= len(table):
        raise ElfError("a name is beyond the end of the string table")
    end = min(len(table), at + _LONGEST_NAME)
    raw = bytes(table[at : min(end, at + 256)])
    if b"\0" not in raw:
        raw = bytes(table[at:end])
    text, zero, _ = raw.partition(b"\0")
    if not zero:
        raise ElfError("a name has no end")
    return text.decode("utf-8", "replace")
