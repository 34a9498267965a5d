"""The reader of ELF files, compared with readelf on libraries of this machine, and damaged files."""

from __future__ import annotations

import glob
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Set, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.elf import reader
from slipway.elf.reader import Elf, ElfError

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
SMALL = f"{LIBRARIES}/libdl.so.2"  # every system of this kind has it, and it is small
COMPARED = 40
SEED = 20240229

pytestmark = pytest.mark.skipif(not os.path.exists(SMALL), reason="no x86-64 Debian")


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def system_files() -> Iterator[str]:
    """This Python, and libraries of every size."""
    yield os.path.realpath(sys.executable)
    paths = sorted({os.path.realpath(one) for one in glob.glob(f"{LIBRARIES}/*.so.[0-9]*")})
    found = [one for one in paths if content(one).startswith(reader.MAGIC)]
    yield from found[:: max(1, len(found) // COMPARED)]


# --- Valid files.


def readelf(path: str, *options: str) -> List[str]:
    return subprocess.run(
        ["readelf", "-W", *options, path], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


def symbols_by_readelf(path: str) -> Tuple[Set[str], Set[str]]:
    """Undefined and exported symbols as name@version."""
    undefined, exported = set(), set()
    for line in readelf(path, "--dyn-syms"):
        words = line.split()
        if len(words) < 8 or not words[0].rstrip(":").isdigit() or words[4] == "LOCAL":
            continue
        visible, section, name = words[5], words[6], words[7].replace("@@", "@")
        if section == "UND":
            undefined.add(name)
        elif visible in ("DEFAULT", "PROTECTED") and not (section == "ABS" and "@" not in name):
            exported.add(name)
    return undefined, exported


def tags_by_readelf(path: str) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for line in readelf(path, "-d"):
        words = line.split()
        if len(words) > 2 and words[1].startswith("(") and "[" in line:
            found.setdefault(words[1].strip("()"), []).append(line[line.index("[") + 1 : -1])
    return found


def shown(symbols: Tuple[reader.Symbol, ...]) -> Set[str]:
    return {f"{one.name}@{one.version}".rstrip("@") for one in symbols}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf on this machine")
def test_this_machine_s_libraries_read_as_readelf_says() -> None:
    count = 0
    for path in system_files():
        found = reader.read(content(path))
        tags = tags_by_readelf(path)
        assert list(found.needed) == tags.get("NEEDED", []), path
        assert [found.soname] == tags.get("SONAME", [""]), path
        undefined, exported = symbols_by_readelf(path)
        assert shown(found.undefined) == undefined, path
        # The name of a version is an absolute symbol, which nothing links with.
        ours = shown(found.exported)
        assert ours <= exported, path
        assert {name for name in exported if "@" in name} <= ours, path
        count += 1
    assert count > 20


def test_a_program_names_its_loader_and_a_library_its_name() -> None:
    python = reader.read(content(os.path.realpath(sys.executable)))
    assert python.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert python.header.is_ours
    library = reader.read(content(SMALL))
    assert (library.interpreter, library.soname) == ("", "libdl.so.2")
    assert library.needed == ("libc.so.6",)
    assert {one.library for one in library.needed_versions} == {"libc.so.6"}
    assert all(one.library == "libc.so.6" for one in library.undefined if one.version)
    assert not library.executable_stack
    assert not library.text_relocations


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        (
            'dlopen("libcuda.so.1", 1), dlopen("/opt/x/libmine.so", 1)',
            ("libcuda.so.1", "libmine.so"),
        ),
        ('dlopen("", 1), puts("see libcuda.so.1 there")', ()),
        ('puts("libcuda.so.1")', ()),
    ],
)
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")
def test_libraries_that_are_opened_by_name_are_found(
    tmp_path: Path, source: str, opened: Tuple[str, ...]
) -> None:
    (tmp_path / "a.c").write_text(
        f"#include <dlfcn.h>\n#include <stdio.h>\nvoid f(void) {{ {source}; }}\n"
    )
    out = str(tmp_path / "a.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", out, str(tmp_path / "a.c")], check=True)
    assert reader.read(content(out)).opened == opened


def patched(change: Callable[[bytearray], None]) -> bytes:
    data = bytearray(content(SMALL))
    change(data)
    return bytes(data)


def segment(data: bytearray, kind: int) -> int:
    """The offset of the program header of that kind."""
    table, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    places: List[int] = [table + 56 * number for number in range(count)]
    return next(at for at in places if struct.unpack_from("<I", data, at)[0] == kind)


def tag(data: bytearray, kind: int) -> int:
    """The offset of the entry of that kind in the dynamic section."""
    at = struct.unpack_from("<Q", data, segment(data, 2) + 8)[0]
    while struct.unpack_from("<q", data, at)[0] != kind:
        at += 16
    return int(at)


def read_patched(change: Callable[[bytearray], None]) -> Elf:
    return reader.read(patched(change))


STACK, VERNEED, GNU_HASH = 0x6474E551, 0x6FFFFFFE, 0x6FFFFEF5
NULL, STRTAB, RELA = 0, 5, 7


def test_an_executable_stack_is_seen_and_so_is_a_file_that_does_not_say() -> None:
    assert read_patched(lambda data: set_u32(data, segment(data, STACK) + 4, 7)).executable_stack
    assert read_patched(lambda data: set_u32(data, segment(data, STACK), 0)).executable_stack


def test_text_relocations_are_seen() -> None:
    def change(data: bytearray) -> None:
        set_u64(data, tag(data, NULL), 22)

    assert read_patched(change).text_relocations


def test_without_section_headers_nothing_is_lost() -> None:
    def change(data: bytearray) -> None:
        set_u64(data, 40, 0)
        struct.pack_into("<HH", data, 58, 0, 0)

    assert read_patched(change) == reader.read(content(SMALL))


def set_u32(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<I", data, at, value)


def set_u64(data: bytearray, at: int, value: int) -> None:
    struct.pack_into("<Q", data, at, value)


# --- Files for other machines, and invalid files.

HEADERS: Dict[str, Tuple[Callable[[bytearray], None], Tuple[str, str, int, bool]]] = {
    "arm64": (lambda data: struct.pack_into("<H", data, 18, 183), ("library", "arm64", 64, False)),
    "x86, 32 bits": (
        lambda data: struct.pack_into("<4sBB10xHH", data, 0, reader.MAGIC, 1, 1, 3, 3),
        ("library", "x86", 32, False),
    ),
    "an unknown machine": (
        lambda data: struct.pack_into("<H", data, 18, 8),
        ("library", "8", 64, False),
    ),
    "a core dump": (
        lambda data: struct.pack_into("<H", data, 16, 4),
        ("core", "x86-64", 64, False),
    ),
    "an object": (
        lambda data: struct.pack_into("<H", data, 16, 1),
        ("object", "x86-64", 64, False),
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_tells_what_a_file_is_for(name: str) -> None:
    change, expected = HEADERS[name]
    header = reader.read_header(patched(change))
    assert (header.kind, header.machine, header.bits, header.big_endian) == expected


def test_big_endian_files_are_told_apart() -> None:
    data = bytearray(20)
    data[:6] = b"\x7fELF\x02\x02"
    struct.pack_into(">HH", data, 16, 3, 21)
    header = reader.read_header(bytes(data))
    assert (header.big_endian, header.machine, header.is_ours) == (True, "21", False)
    with pytest.raises(ElfError, match="not for x86-64, but for 21, 64 bits"):
        reader.read(bytes(data))


DAMAGED: Dict[str, Tuple[Callable[[bytearray], None], str]] = {
    "a class that is none": (lambda data: data.__setitem__(4, 9), "unknown class or byte order"),
    "a kind that is none": (
        lambda data: struct.pack_into("<H", data, 16, 99),
        "unknown file type: 99",
    ),
    "program headers beyond the end": (
        lambda data: set_u64(data, 32, 1 << 40),
        "a program header is beyond the end",
    ),
    "65535 program headers": (
        lambda data: struct.pack_into("<H", data, 56, 65535),
        "65535 program headers",
    ),
    "program headers of no size": (
        lambda data: struct.pack_into("<H", data, 54, 0),
        "program headers of 0 bytes",
    ),
    "a dynamic section beyond the end": (
        lambda data: set_u64(data, segment(data, 2) + 8, 1 << 40),
        "a segment is beyond the end",
    ),
    "names that no segment loads": (
        lambda data: set_u64(data, tag(data, STRTAB) + 8, 1 << 50),
        "which no segment loads",
    ),
    "a relocation by a symbol beyond the end": (
        lambda data: set_u32(data, file_offset(data, RELA) + 12, 0xFFFFFF),
        "16777216 symbols",
    ),
    "a symbol that the table is too short for": (
        lambda data: set_u32(data, file_offset(data, RELA) + 12, 0xFFFF),
        "the symbol table is beyond the end",
    ),
    "a hash table that is not loaded": (
        lambda data: set_u64(data, tag(data, GNU_HASH) + 8, 1 << 50),
        "the GNU hash table is at",
    ),
    "a chain of versions that leaves the file": (
        lambda data: set_u32(data, file_offset(data, VERNEED) + 8, 0xFFFFFFF0),
        "is beyond the end",
    ),
}


def file_offset(data: bytearray, kind: int) -> int:
    """The offset of the table of a dynamic tag, which the first segment loads."""
    return int(struct.unpack_from("<Q", data, tag(data, kind) + 8)[0])


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_as_such(name: str) -> None:
    change, text = DAMAGED[name]
    with pytest.raises(ElfError, match=text):
        reader.read(patched(change))


def test_what_cannot_be_read_needs_no_libraries() -> None:
    assert reader.needed_libraries(content(SMALL)) == ("libc.so.6",)
    others = (b"", b"#!/bin/sh\n", reader.MAGIC, reader.MAGIC + b"\x01\x01" + bytes(99))
    damaged = [patched(change) for change, _ in DAMAGED.values()]
    assert all(
        reader.needed_libraries(data) in ((), ("libc.so.6",)) for data in (*others, *damaged)
    )


@pytest.mark.parametrize("size", [4, 19, 20, 63, 64, 1000])
def test_a_file_that_is_cut_off_is_told_as_such(size: int) -> None:
    with pytest.raises(ElfError, match=r"beyond the end|ends after"):
        reader.read(content(SMALL)[:size])


def test_one_long_name_for_all_symbols_does_not_fill_the_memory() -> None:
    """Overlapping names: each of many symbols has a suffix of one name of nearly 64 KiB."""
    data = bytearray(content(SMALL))
    strings, symbols = 60_000, 20_000
    names = len(data)
    data += b"x" * strings + b"\0"
    table = len(data)
    data += struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for number in range(symbols):
        data += struct.pack("<IBBHQQ", number % 1000, 0x12, 0, 1, 0, 0)
    relocation = len(data)
    data += struct.pack("<QQq", 0, symbols << 32, 0)
    load = segment(data, 1)
    struct.pack_into("<QQQQQ", data, load + 8, 0, 0, 0, len(data), len(data))
    for kind, value in ((5, names), (10, strings + 1), (6, table), (7, relocation), (8, 24)):
        set_u64(data, tag(data, kind) + 8, value)
    started = time.monotonic()
    with pytest.raises(ElfError, match="names with more than"):
        reader.read(bytes(data))
    assert time.monotonic() - started < 30


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Some bytes of the headers and tables changed, or the file cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(chance.choice((64, 1024, len(changed))))
        size = chance.choice((1, 2, 4, 8))
        value = chance.choice((0, 1, 0xFF, 0xFFFFFFFF, 1 << 31, 1 << 63, chance.getrandbits(64)))
        changed[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


def fuzz(count: int, seed: int) -> None:
    chance, data = random.Random(seed), content(SMALL)
    for number in range(count):
        sample = mutated(chance, data)
        try:
            if sample.startswith(reader.MAGIC):
                reader.read(sample)
        except ElfError:
            pass
        except Exception as error:
            raise AssertionError(f"sample {number} of seed {seed}") from error


def test_damaged_files_end_in_an_elf_error() -> None:
    fuzz(3_000, SEED)


@pytest.mark.long
def test_many_damaged_files_end_in_an_elf_error() -> None:
    fuzz(100_000, SEED + 1)


@given(st.binary(max_size=4096))
@settings(deadline=None)
def test_any_bytes_end_in_an_elf_error(tail: bytes) -> None:
    data = reader.MAGIC + b"\x02\x01" + tail
    try:
        reader.read(data)
    except ElfError:
        pass
