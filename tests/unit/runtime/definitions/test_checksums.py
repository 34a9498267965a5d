"""Checksum lists: what is read, and an error for each line that is not clear."""

from __future__ import annotations

import hashlib
import string
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.runtime.definitions import checksums
from slipway.runtime.definitions.checksums import ChecksumList, read_checksums

A, B = "a" * 64, "b" * 64
FILE = "SHASUMS256.txt"


def read(text: str) -> Dict[str, str]:
    return dict(read_checksums(text.encode(), FILE).hashes)


def test_names_and_hashes() -> None:
    text = f"{A}  node-v16.20.2.tar.gz\n{B} *node-v16.20.2.pkg\n\n{B}  win-x64/node.exe\n"
    assert read(text) == {"node-v16.20.2.tar.gz": A, "node-v16.20.2.pkg": B, "win-x64/node.exe": B}


def test_the_mapping_is_frozen() -> None:
    hashes: Any = read_checksums(f"{A}  x\n".encode(), FILE).hashes
    with pytest.raises(TypeError):
        hashes["y"] = B


def test_hashes_are_in_lower_case() -> None:
    assert read(f"{A.upper()}  x\n") == {"x": A}


def test_the_same_line_twice_is_fine() -> None:
    assert read(f"{A}  x\n{A.upper()} *x\n") == {"x": A}


def test_lines_may_end_as_on_windows() -> None:
    """The signature has decided: a clear signature does not cover line ends."""
    assert read(f"{A}  x\r\n{B}  y\r\n") == {"x": A, "y": B}


@pytest.mark.parametrize("text", ["", "\n", "\r\n \n"])
def test_an_empty_list(text: str) -> None:
    with pytest.raises(SlipwayError) as caught:
        read(text)
    assert caught.value.what == 'the checksum list "SHASUMS256.txt" is empty'
    assert caught.value.found == f"{len(text)} bytes"
    assert "fetch it again" in caught.value.next


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"{A[:32]}  x", "MD5 instead of SHA-256"),
        (f"{A[:40]}  x", "SHA-1 instead of SHA-256"),
        (f"{A}{A}  x", "SHA-512 instead of SHA-256"),
        (f"{A[1:]}  x", "a hash with 63 digits"),
        (f"{A} x", "not `<SHA-256>  <name>`"),
        (f"{A}", "not `<SHA-256>  <name>`"),
        (f"{A}  ", "not `<SHA-256>  <name>`"),
        (f"SHA256 (x) = {A}", "not `<SHA-256>  <name>`"),
        ("<!DOCTYPE html>", "not `<SHA-256>  <name>`"),
        (f"g{A[1:]}  x", "not `<SHA-256>  <name>`"),
        (f"\\{A}  x\\n", "not `<SHA-256>  <name>`"),
        (f" {A}  x", "not `<SHA-256>  <name>`"),
        (f"\ufeff{A}  x", "not `<SHA-256>  <name>`"),
        (f"{A}  /etc/passwd", "an absolute path"),
        (f"{A}  ../x", "a path with an empty part, `.` or `..`"),
        (f"{A}  x/../../y", "a path with an empty part, `.` or `..`"),
        (f"{A}  ./x", "a path with an empty part, `.` or `..`"),
        (f"{A}  x//y", "a path with an empty part, `.` or `..`"),
        (f"{A}  x/", "a path with an empty part, `.` or `..`"),
        (f"{A}  x\\y", "a name with a backslash"),
        (f"{A}  x\0y", "a name with control characters"),
        (f"{A}  x\x1b[2J", "a name with control characters"),
        (f"{A}  x\ty", "a name with control characters"),
        (f"{A}  x\ry", "a name with control characters"),
        (f"{A}  x\r\r", "a name with control characters"),
        (f"{A}  x\u202egz", "a name with control characters"),
        (f"{A}   x", "a name with control characters, or with spaces around it"),
        (f"{A}  x ", "a name with control characters, or with spaces around it"),
        (f"{A}  {'x' * 256}", "a name with more than 255 bytes"),
    ],
)
def test_a_line_that_is_not_clear(line: str, fault: str) -> None:
    with pytest.raises(SlipwayErrors) as caught:
        read(f"{B}  good\n{line}\n{B}  good too\n")
    assert caught.value.what == 'the checksum list "SHASUMS256.txt" has invalid lines'
    assert caught.value.where == FILE
    (shown,) = caught.value.faults
    assert shown.startswith(f"line 2: {fault}")


def test_two_hashes_of_a_file() -> None:
    with pytest.raises(SlipwayErrors) as caught:
        read(f"{A}  x\n{A}  y\n{B}  x\n")
    assert caught.value.faults == (f'line 3: another hash than line 1 for the same file: "{B}  x"',)


def test_many_faults_are_shown_in_part() -> None:
    with pytest.raises(SlipwayErrors) as caught:
        read("x\n" * 12)
    assert len(caught.value.faults) == 11
    assert caught.value.faults[-1] == "and 2 more"


@pytest.mark.parametrize("text", [f"{A}  x.tar.gz\n{B}  y.tar", f"{A}  x", f"{A}  x\n{B[:20]}"])
def test_a_list_that_is_cut_off(text: str) -> None:
    with pytest.raises(SlipwayError, match="is cut off: its last line does not end") as caught:
        read(text)
    assert caught.value.where == f"{FILE}:{len(text.splitlines())}"


def test_a_list_that_is_not_utf8() -> None:
    with pytest.raises(SlipwayError, match="is not UTF-8") as caught:
        read_checksums(f"{A}  x\n".encode("utf-16"), FILE)
    assert caught.value.found == "byte 0xff at offset 0"


def test_a_list_that_is_too_long() -> None:
    with pytest.raises(SlipwayError, match="is too long") as caught:
        read_checksums(b"x" * (checksums.LARGEST + 1), FILE)
    assert caught.value.found == "1048577 bytes, more than 1048576"
    with pytest.raises(SlipwayError, match="is too long") as caught:
        read(f"{A}  x\n" + "\n" * 10_000)
    assert caught.value.found == "10001 lines, more than 10000"


def test_a_file_that_the_list_does_not_have() -> None:
    listed = read_checksums(f"{A}  node-v16.20.2-linux-x64.tar.gz\n{B}  x\n".encode(), FILE)
    assert listed.hash_of("x") == B
    with pytest.raises(SlipwayError) as caught:
        listed.hash_of("node-v16.20.2-linux-x64.tar.xz")
    assert caught.value.what == ('the checksum list has no file "node-v16.20.2-linux-x64.tar.xz"')
    assert (caught.value.where, caught.value.found) == (FILE, "node-v16.20.2-linux-x64.tar.gz")
    with pytest.raises(SlipwayError) as caught:
        listed.hash_of("another/thing")
    assert caught.value.found == "2 other files"


PARTS = st.text(string.ascii_letters + string.digits + "-_+~é ", min_size=1, max_size=20).filter(
    lambda part: part == part.strip()
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(NAMES, st.binary(), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_a_list_is_read_back(files: Dict[str, bytes], end: str) -> None:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    text = "".join(f"{sha256}  {name}{end}" for name, sha256 in hashes.items())
    listed = read_checksums(text.encode(), FILE)
    assert listed == ChecksumList(FILE, hashes)
    for name, sha256 in hashes.items():
        assert listed.hash_of(name) == sha256


LINES = st.one_of(
    st.text(),
    st.builds(
        "{}{}{}".format, st.sampled_from([A, B, A[:40]]), st.sampled_from(["  ", " *"]), st.text()
    ),
)


@given(
    st.one_of(
        st.binary(), st.lists(LINES).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))
    )
)
def test_any_content_is_a_list_or_a_message(content: bytes) -> None:
    try:
        listed = read_checksums(content, FILE)
    except SlipwayError:
        return
    for name, sha256 in listed.hashes.items():
        assert len(sha256) == 64
        assert not name.startswith("/")
        assert ".." not in name.split("/")


@given(st.dictionaries(NAMES, st.just(A), min_size=1), st.data())
def test_a_part_of_a_list_is_never_another_list(files: Dict[str, str], data: Any) -> None:
    """A cut list has whole lines of the list, or is an error."""
    content = "".join(f"{sha256}  {name}\n" for name, sha256 in files.items()).encode()
    cut = content[: data.draw(st.integers(0, len(content)))]
    try:
        listed = read_checksums(cut, FILE)
    except SlipwayError:
        return
    assert listed.hashes.items() <= files.items()
