"""The strict tar reader, with archives from other programs and with damaged archives."""

from __future__ import annotations

import io
import tarfile
from typing import Callable, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.archive.tar_reading import Kind, Member, read_members
from slipway.core.errors import SlipwayError
from tests.unit.debian.builders import folder, link, make_tar, program, special


def read(archive: bytes) -> List[Member]:
    return list(read_members(io.BytesIO(archive), "x.tar"))


def contents(archive: bytes) -> Dict[str, bytes]:
    return {m.name: archive[m.offset : m.offset + m.size] for m in read(archive)}


FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=90).filter(
    lambda name: not name.endswith("/") and len(name.encode()) < 100
)


@pytest.mark.parametrize("format", FORMATS)
@given(files=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=4))
def test_names_and_contents_of_every_format_are_read(format: str, files: Dict[str, bytes]) -> None:
    assert contents(make_tar(list(files.items()), FORMATS[format])) == files


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_long_names_and_targets_are_read(format: str) -> None:
    name, target = "ä/" * 400 + "file", "../" * 300 + "ü"
    archive = make_tar([(name, b"x"), ("link", link(target)), ("plain", b"y")], FORMATS[format])
    assert [(m.name, m.target) for m in read(archive)] == [
        (name, ""),
        ("link", target),
        ("plain", ""),
    ]


def test_a_link_that_repeats_its_files_size_has_no_content() -> None:
    archive = patched({SIZE: b"00000002000\0", KIND: b"1"}, content=b"")
    assert [(m.name, m.size) for m in read(archive)] == [("name", 0), ("other", 0)]


def test_ustar_prefixes_are_joined() -> None:
    name = "a" * 90 + "/" + "b" * 60
    assert contents(make_tar([(name, b"1")], tarfile.USTAR_FORMAT)) == {name: b"1"}


def test_kinds_and_modes() -> None:
    hard = tarfile.LNKTYPE
    archive = make_tar(
        [
            ("d", folder(0o1777)),
            ("f", program(0o4755)),
            ("s", link("f")),
            ("h", link("f", hard)),
            ("c", special(tarfile.CHRTYPE)),
            ("b", special(tarfile.BLKTYPE)),
            ("p", special(tarfile.FIFOTYPE)),
            ("old/", program()),
        ]
    )
    assert [(m.name, m.kind, oct(m.mode)) for m in read(archive)][:3] == [
        ("d/", Kind.FOLDER, "0o1777"),
        ("f", Kind.FILE, "0o4755"),
        ("s", Kind.SYMLINK, "0o644"),
    ]
    assert [m.kind for m in read(archive)][3:] == [
        Kind.HARD_LINK,
        Kind.DEVICE,
        Kind.DEVICE,
        Kind.DEVICE,
        Kind.FOLDER,
    ]


def test_names_that_are_no_utf8_keep_their_bytes() -> None:
    archive = make_tar([("caf\udce9", b"x")])
    assert read(archive)[0].name.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_part_of_a_file_is_read_as_an_archive() -> None:
    inner = make_tar([("a", b"1")])
    outer = b"before" + inner + b"after"
    found = list(read_members(io.BytesIO(outer), "x", start=6, end=6 + len(inner)))
    assert outer[found[0].offset : found[0].offset + 1] == b"1"


def test_what_follows_the_end_is_not_read() -> None:
    assert contents(make_tar([("a", b"1")]) + b"anything at all") == {"a": b"1"}


def patched(changes: Dict[int, bytes], content: bytes = b"x" * 10) -> bytes:
    """An archive of two files, with fields of the first one's header changed."""
    archive = bytearray(make_tar([("name", content), ("other", b"")]))
    for at, new in changes.items():
        archive[at : at + len(new)] = new
    total = sum(archive[:148]) + 8 * 32 + sum(archive[156:512])
    archive[148:156] = b"%06o\0 " % total
    return bytes(archive)


SIZE, KIND = 124, 156


def pax(record: bytes) -> bytes:
    return patched({KIND: b"x"}, record)


BAD: Dict[str, Callable[[], bytes]] = {
    "empty file": lambda: b"",
    "cut off in the header": lambda: make_tar([("a", b"1")])[:300],
    "cut off in the content": lambda: make_tar([("a", b"1" * 5000)])[:2000],
    "cut off before the end": lambda: make_tar([("a", b"1")])[:1024],
    "no tar at all": lambda: b"\x7fELF" + b"x" * 4096,
    "wrong checksum": lambda: b"N" + make_tar([("name", b"")])[1:],
    # CPython's tarfile loops forever on this archive.
    "negative size": lambda: patched({SIZE: b"\xff" * 12}),
    "absurd size": lambda: patched({SIZE: b"\x80" + b"\xff" * 11}),
    "size larger than the file": lambda: patched({SIZE: b"77777777777\0"}),
    "size that is not a number": lambda: patched({SIZE: b"1x\0"}),
    "unknown kind": lambda: patched({KIND: b"V"}),
    "sparse file": lambda: patched({KIND: b"S"}),
    "endless long name": lambda: patched({SIZE: b"00100000000\0", KIND: b"L"}),
    "pax record without length": lambda: pax(b"path=x\n"),
    "pax record too long": lambda: pax(b"99 path=x\n"),
    "pax record of length zero": lambda: pax(b"0 path=x\n"),
    "pax record without end": lambda: pax(b"9 path=x "),
    "pax size that is not a number": lambda: pax(b"11 size=-5\n"),
    "pax sparse file": lambda: pax(b"22 GNU.sparse.major=1\n"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_named_with_the_place(case: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        read(BAD[case]())
    assert caught.value.what == '"x.tar" is not a valid tar archive'
    assert caught.value.where.startswith("x.tar, byte ")
    assert caught.value.found


SAMPLE = make_tar(
    [("d/", folder()), ("d/f", b"content" * 99), ("l", link("d/f")), ("ä" * 120, b"long")],
    tarfile.PAX_FORMAT,
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=12)), max_size=4))
def test_a_damaged_archive_gives_members_or_words_and_ends(changes: List[tuple]) -> None:  # type: ignore[type-arg]
    damaged = bytearray(SAMPLE)
    for at, new in changes:
        damaged[at : at + len(new)] = new
    try:
        members = read(bytes(damaged))
    except SlipwayError:
        return
    assert all(m.offset >= 0 and m.offset + m.size <= len(damaged) for m in members)


@given(st.binary(max_size=3000))
def test_any_bytes_give_members_or_words(data: bytes) -> None:
    try:
        read(data)
    except SlipwayError:
        pass
