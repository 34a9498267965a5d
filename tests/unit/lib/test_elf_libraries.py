"""Needed libraries: as readelf tells them, and nothing but a list from damaged files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_rules.lib.deb import read_package
from build_rules.lib.elf_libraries import needed_libraries
from build_rules.lib.tar_reading import Kind
from tests.unit.lib.real_packages import fetch_packages


class ElfFiles(List[Tuple[str, bytes]]):
    """Some megabytes, which no message of a test should show."""

    def __repr__(self) -> str:
        return f"{len(self)} ELF files"


@pytest.fixture(scope="session")
def real_elf_files(tmp_path_factory: pytest.TempPathFactory) -> ElfFiles:
    debs = fetch_packages(tmp_path_factory.mktemp("debs"), ("dash", "procps", "zlib1g", "libc-bin"))
    found = ElfFiles()
    for name, path in debs.items():
        package = read_package(path.read_bytes(), name)
        for member in package.members:
            data = package.data[member.offset : member.offset + member.size]
            if member.kind is Kind.FILE and data.startswith(b"\x7fELF"):
                found.append((member.name, data))
    return found


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not on this machine")
def test_readelf_agrees_on_real_files(real_elf_files: ElfFiles, tmp_path: Path) -> None:
    assert len(real_elf_files) > 20
    static = 0
    for name, data in real_elf_files:
        (tmp_path / "file").write_bytes(data)
        text = subprocess.run(
            ["readelf", "--dynamic", "--wide", str(tmp_path / "file")],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        theirs = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
        static += not theirs
        assert needed_libraries(data) == theirs, name
    assert static < len(real_elf_files)  # the comparison compared something


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(99)])
def test_what_is_no_such_file_needs_nothing(data: bytes) -> None:
    assert needed_libraries(data) == []


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_list(data: st.DataObject, real_elf_files: ElfFiles) -> None:
    damaged = bytearray(min((content for _, content in real_elf_files), key=len))
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers and segments stand at the beginning.
        at = data.draw(st.integers(0, 1200))
        new = data.draw(st.binary(min_size=1, max_size=8))
        damaged[at : at + len(new)] = new
    assert isinstance(needed_libraries(bytes(damaged)), list)
    assert isinstance(needed_libraries(bytes(damaged[: data.draw(st.integers(0, 2000))])), list)
