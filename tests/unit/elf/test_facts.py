"""ELF files of a layer, recognized by content: with any name, and in archives."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.archive import nested
from slipway.archive.layers import Entry
from slipway.elf import facts, reader
from slipway.elf.facts import ElfFacts, facts_of_layer
from tests.unit.elf.test_reader import SMALL, content

pytestmark = pytest.mark.skipif(not os.path.exists(SMALL), reason="no x86-64 Debian")


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "text")
        archive.writestr("lib/addon", data)
    return packed.getvalue()


def tarred(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("lib/addon")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def found_in(*entries: Entry) -> List[ElfFacts]:
    return facts_of_layer(entries)


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(content(SMALL))
    found = found_in(
        Entry("node_modules/a/addon.node", "file", content=b"#!/bin/sh\n"),
        Entry("node_modules/a/addon.txt", "file", content=content(SMALL)),
        Entry("node_modules/a/no-extension", "file", source=str(tmp_path / "copy")),
        Entry("node_modules/a/link.node", "link", target="addon.txt"),
        Entry("node_modules/a/empty.node", "file", content=b""),
        Entry("node_modules/a", "folder"),
    )
    assert [one.path for one in found] == [
        "node_modules/a/addon.txt",
        "node_modules/a/no-extension",
    ]
    assert all(one.is_ours and one.soname == "libdl.so.2" for one in found)


PACKED: Dict[str, Callable[[bytes], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda data: gzip.compress(tarred(data)),
    "tar.xz": lambda data: lzma.compress(tarred(data)),
}


@pytest.mark.parametrize("kind", PACKED)
def test_archives_are_looked_into(kind: str) -> None:
    packed = PACKED[kind](content(SMALL))
    found = found_in(Entry(f"node_modules/a/bin.{kind}", "file", content=packed))
    assert [one.path for one in found] == [f"node_modules/a/bin.{kind}!/lib/addon"]
    assert found[0].needed == ("libc.so.6",)


def test_a_compressed_file_is_looked_into() -> None:
    found = found_in(Entry("a/addon.gz", "file", content=gzip.compress(content(SMALL))))
    assert [one.path for one in found] == ["a/addon.gz!/"]


@pytest.mark.parametrize("kind", PACKED)
def test_damaged_archives_are_passed_over(kind: str) -> None:
    packed = PACKED[kind](content(SMALL))
    for size in (20, len(packed) // 2, len(packed) - 9):
        found = found_in(Entry("a/damaged", "file", content=packed[:size]))
        # What comes whole before the damage may be found; nothing else is.
        assert {one.path for one in found} <= {"a/damaged!/lib/addon"}
        assert size > 20 or found == []


@given(st.sampled_from(sorted(PACKED)), st.data())
@settings(max_examples=200, deadline=None)
def test_any_damage_of_an_archive_ends_in_a_list(kind: str, data: st.DataObject) -> None:
    packed = bytearray(PACKED[kind](reader.MAGIC + b"\x02\x01" + bytes(60)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
    assert isinstance(list(nested.members(bytes(packed), reader.MAGIC)), list)


def test_a_small_archive_that_grows_beyond_measure_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nested, "_LARGEST", 1 << 20)
    bomb = gzip.compress(tarred(reader.MAGIC + bytes(8 << 20)))
    assert list(nested.members(bomb, reader.MAGIC)) == []
    bomb = zipped(reader.MAGIC + bytes(8 << 20))
    assert list(nested.members(bomb, reader.MAGIC)) == []


def test_a_weak_symbol_is_not_needed() -> None:
    """Almost every library has some; the loader leaves them undefined."""
    weak = {one.name for one in reader.read(content(SMALL)).undefined if one.weak}
    assert "__gmon_start__" in weak
    (found,) = found_in(Entry("a/x.node", "file", content=content(SMALL)))
    assert found.unversioned == ()


def test_what_cannot_be_read_is_noted_with_its_reason() -> None:
    (found,) = found_in(Entry("a/x.node", "file", content=content(SMALL)[:100]))
    assert found.fault
    assert (found.machine, found.bits) == ("x86-64", 64)


def test_a_file_with_a_hole_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_MOST_BYTES", 1 << 20)
    for name, head in (("large.node", reader.MAGIC), ("large.zip", b"PK\3\4")):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(1 << 40)
    entries = [
        Entry(name, "file", source=str(tmp_path / name)) for name in ("large.node", "large.zip")
    ]
    (fact,) = facts_of_layer(entries)
    assert (fact.path, fact.fault) == ("large.node", "larger than 0 GiB")


def test_facts_outlive_the_layer_as_json() -> None:
    found = found_in(Entry("a/x.node", "file", content=content(SMALL)))
    text = json.dumps(facts.as_json(found))
    assert facts.from_json(json.loads(text)) == found


def test_a_file_for_another_system_says_so_in_its_header() -> None:
    changed = bytearray(content(SMALL))
    changed[7] = 9
    (found,) = found_in(Entry("watcher.node", "file", content=bytes(changed)))
    assert (found.foreign_system, found.needed) == ("FreeBSD", ())


@pytest.mark.parametrize(
    ("comment", "compilers"),
    [
        (
            b"\0GCC: (GNU) 4.8.5 20150623 (Red Hat 4.8.5-44)\0",
            ("GCC: (GNU) 4.8.5 20150623 (Red Hat 4.8.5-44)",),
        ),
        (b"\0Ubuntu clang version 15.0.7\0", ("Ubuntu clang version 15.0.7",)),
        (b"x" * 60 + b" clang version 3\0", ("x" * 39 + " clang version 3",)),
        (
            b"clang version 3\0GCC: (A) 1\0GCC: (B) 2\0GCC: (A) 1\0",
            ("GCC: (A) 1", "GCC: (B) 2", "clang version 3"),
        ),
        (b"GCC: (A) none\0clang version \0GCC: (unclosed", ()),
    ],
    ids=["gcc", "clang of a distribution", "a long name", "several", "none"],
)
def test_compilers(comment: bytes, compilers: Tuple[str, ...]) -> None:
    assert facts._compilers(b"\x7fELF\0" + comment + bytes(100)) == compilers


@given(
    st.lists(
        st.sampled_from([b"GCC: (", b"a) ", b"9", b"\0", b"clang version ", b"xy" * 25]),
        max_size=12,
    )
)
def test_compilers_are_those_of_one_search(parts: List[bytes]) -> None:
    content = b"".join(parts)
    one = re.compile(rb"(GCC: \([^\0)]{0,80}\) [0-9][^\0]{0,40})\0").findall(content)
    assert {name for name in facts._compilers(content) if name.startswith("GCC")} >= {
        name.decode("ascii") for name in one
    }
