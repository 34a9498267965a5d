"""What a Node binary needs from its host, and which hosts of a policy have it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from slipway.abi.policy import AbiPolicy
from slipway.elf import reader
from slipway.elf.reader import ElfError
from slipway.runtime.definitions import needs
from tests.unit.elf.test_reader import content

POLICY = AbiPolicy(
    machine="x86-64",
    interpreter="/lib64/ld-linux-x86-64.so.2",
    libraries=frozenset(("libc.so.6", "libm.so.6")),
    versions=frozenset(("CXXABI_TM_1",)),
    ceilings=(("GLIBC", (2, 17)), ("GLIBCXX", (3, 4, 19))),
)
MAIN = """
extern int needed(void), wanted(void);
int main(void) { return needed() + wanted(); }
"""
LIBRARY = """
int needed(void) { return 0; }
int newer(void) { return 0; }
int wanted(void) { return 0; }
int inner(void) { return 0; }
"""
VERSIONS = """
NODE_2.9 { needed; };
NODE_2.10 { newer; };
OTHER_7 { wanted; };
NODE_PRIVATE { inner; };
"""
no_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler on this machine")


def compiled(folder: Path, main: str) -> bytes:
    """A program of `main`, linked with a library that has the symbol versions VERSIONS."""
    (folder / "library.c").write_text(LIBRARY)
    (folder / "versions").write_text(VERSIONS)
    (folder / "main.c").write_text(main)
    library, program = str(folder / "libnode.so"), str(folder / "program")
    for command in (
        ["-shared", "-fPIC", "-Wl,--version-script=versions", "-Wl,-soname,libnode.so.9"]
        + ["-o", library, "library.c"],
        ["-o", program, "main.c", library],
    ):
        subprocess.run(["gcc", *command], cwd=folder, check=True)
    return content(program)


@no_compiler
def test_a_binary_needs_the_newest_version_of_each_namespace_and_its_libraries(
    tmp_path: Path,
) -> None:
    main = "extern int needed(void), newer(void);\nint main(void) { return needed() + newer(); }\n"
    found = needs.of_binary(compiled(tmp_path, main))
    versions = [need for need in found if ".so" not in need]
    assert "NODE_2.10" in versions  # as a text, "NODE_2.9" would be newer
    assert "NODE_2.9" not in versions
    assert len([need for need in versions if need.startswith("GLIBC_")]) == 1
    assert {"libnode.so.9", "libc.so.6"} <= set(found)
    assert list(found) == [*sorted(versions), *sorted(set(found) - set(versions))]


def elf_hash(name: str) -> int:
    """The hash of a symbol version by the System V ABI."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value


@no_compiler
def test_a_weak_version_is_not_needed(tmp_path: Path) -> None:
    """The loader accepts a host without the version."""
    binary = compiled(tmp_path, MAIN)
    assert "OTHER_7" in needs.of_binary(binary)
    # The entry of a version starts with its hash and its flags; 2 is VER_FLG_WEAK.
    strong, weak_flags = struct.pack("<IH", elf_hash("OTHER_7"), 0), struct.pack("<H", 2)
    assert binary.count(strong) == 1
    binary = binary.replace(strong, strong[:4] + weak_flags)
    weak = {need.version for need in reader.read(binary).needed_versions if need.weak}
    assert weak == {"OTHER_7"}
    found = needs.of_binary(binary)
    assert "NODE_2.9" in found
    assert "OTHER_7" not in found


@no_compiler
def test_a_version_without_numbers_is_not_a_floor(tmp_path: Path) -> None:
    main = "extern int inner(void);\nint main(void) { return inner(); }\n"
    binary = compiled(tmp_path, main)
    assert "NODE_PRIVATE" in {need.version for need in reader.read(binary).needed_versions}
    assert "NODE_PRIVATE" not in needs.of_binary(binary)
    assert "libnode.so.9" in needs.of_binary(binary)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "the file ends after 4 bytes"),
        (struct.pack("<4sBB10xHH", b"\x7fELF", 2, 1, 3, 183), "not for x86-64, but for arm64"),
    ],
    ids=["empty", "a script", "cut off", "of arm64"],
)
def test_a_file_that_is_not_an_x86_64_binary(data: bytes, reason: str) -> None:
    with pytest.raises(ElfError, match=reason):
        needs.of_binary(data)


# --- Hosts.


def test_a_host_lacks_newer_versions_unknown_namespaces_and_libraries() -> None:
    needed = (
        *("CXXABI_1.3", "CXXABI_TM_1", "GLIBCXX_3.4.19", "GLIBC_2.28", "GLIBC_2.9"),
        *("libc.so.6", "libm.so.6", "libssl.so.3"),
    )
    assert needs.missing(needed, POLICY) == ("CXXABI_1.3", "GLIBC_2.28", "libssl.so.3")
    assert needs.missing(("GLIBC_2.17", "GLIBCXX_3.4.19", "libc.so.6"), POLICY) == ()


def test_the_floor_has_the_c_and_c_plus_plus_libraries_in_this_order() -> None:
    needed = ("CXXABI_1.3.5", "GCC_3.4", "GLIBCXX_3.4.18", "GLIBC_2.17", "libc.so.6")
    assert needs.floor(needed) == "GLIBC_2.17 GLIBCXX_3.4.18 CXXABI_1.3.5"
    assert needs.floor(("GCC_3.4", "libc.so.6")) == ""
    assert needs.floor(()) == ""
