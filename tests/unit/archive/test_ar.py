"""`ar` archives: this package and binutils read what it writes, and damage raises an error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.archive import ar
from slipway.core.errors import SlipwayError

FILES = [("short.o", b"one"), ("a-name-of-more-than-fifteen-letters.o", b"four"), ("empty.o", b"")]
NAMES = st.text("abc.-_", min_size=1, max_size=40).filter(lambda name: name.strip("."))


def test_what_is_written_is_read_again() -> None:
    packed = ar.write(FILES, [["one"], ["two", "three"], []])
    assert list(ar.members(packed, "x.a")) == FILES


@given(st.lists(st.tuples(NAMES, st.binary(max_size=50)), max_size=6))
def test_any_files_are_read_again(files: list[tuple[str, bytes]]) -> None:
    packed = ar.write(files, [[name] for name, _ in files])
    assert list(ar.members(packed, "x.a")) == files


@pytest.mark.skipif(shutil.which("ar") is None, reason="no binutils on this machine")
def test_binutils_read_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.a"
    path.write_bytes(ar.write(FILES, [["one"], ["two", "three"], []]))
    listed = subprocess.run(["ar", "t", path], stdout=subprocess.PIPE, text=True, check=True)
    assert listed.stdout.split() == [name for name, _ in FILES]
    for name, content in FILES:
        printed = subprocess.run(["ar", "p", path, name], stdout=subprocess.PIPE, check=True)
        assert printed.stdout == content


DAMAGED: Dict[str, Tuple[Callable[[bytes], bytes], str]] = {
    "not an archive": (lambda good: b"PK" + good, "is not an ar archive"),
    "a damaged header": (lambda good: good[:66] + b"xx" + good[68:], "a damaged ar header"),
    "cut off": (lambda good: good[:-3], "is truncated"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name: str) -> None:
    change, text = DAMAGED[name]
    good = ar.write([("a.o", b"12345678")], [[]])
    with pytest.raises(SlipwayError, match=text):
        list(ar.members(change(good), "x.a"))
