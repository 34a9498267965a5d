"""Decompressing gzip and xz: completely, up to a limit, and with errors for damaged data."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.archive.decompression import Stream, is_compressed, unpacked_chunks
from slipway.core.errors import SlipwayError
from tests.places import SOURCES
from tests.unit.debian.builders import COMPRESS


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


def unpack(data: bytes, size: int = 1 << 16, most: int = 1 << 30) -> bytes:
    return b"".join(unpacked_chunks(pieces(data, size), "part", most))


@pytest.mark.parametrize("form", ["", ".gz", ".xz"])
@given(data=st.binary(max_size=2000), size=st.integers(1, 700))
def test_the_content_comes_back_in_whatever_pieces(form: str, data: bytes, size: int) -> None:
    # The first piece is never shorter than the magic, because files are read in large pieces.
    data = b"plain" + data
    assert unpack(COMPRESS[form](data), max(size, 8)) == data


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_streams_in_a_row_and_padding(pack: Callable[[bytes], bytes]) -> None:
    data = os.urandom(3 << 20)
    assert unpack(pack(data) + pack(b"more") + b"\0" * 8) == data + b"more"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_bomb_is_stopped_at_the_limit_without_being_held(
    pack: Callable[[bytes], bytes],
) -> None:
    bomb = pack(bytes(64 << 20))
    seen: List[int] = []
    with pytest.raises(SlipwayError, match='"part" is too large') as caught:
        seen.extend(len(chunk) for chunk in unpacked_chunks([bomb], "part", 8 << 20))
    assert caught.value.found == f"more than {8 << 20} bytes after decompression"
    assert sum(seen) <= 8 << 20
    assert max(seen) <= 1 << 20


@pytest.mark.parametrize("form", [".gz", ".xz"])
def test_cut_off_data_is_said_to_be(form: str) -> None:
    packed = COMPRESS[form](os.urandom(5000))
    for at in (8, 100, len(packed) - 1):
        with pytest.raises(SlipwayError, match='"part" is truncated'):
            unpack(packed[:at])


@pytest.mark.parametrize("form", [".gz", ".xz"])
def test_damaged_data_is_said_to_be(form: str) -> None:
    packed = bytearray(COMPRESS[form](b"content" * 500))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(SlipwayError, match=r'"part" is (damaged|truncated)'):
        unpack(bytes(packed))


def test_zstd_is_refused_with_the_way_out() -> None:
    with pytest.raises(SlipwayError, match="zstd, which Slipway does not support") as caught:
        unpack(COMPRESS[".zst"](b"x"))
    assert caught.value.next == "compress it with gzip instead"


def test_a_python_without_lzma_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "lzma.py").write_text("raise ImportError\n")
    program = (
        "from slipway.archive.decompression import unpacked_chunks\n"
        "from slipway.core.errors import SlipwayError\n"
        "try: list(unpacked_chunks([bytes.fromhex('fd377a585a00')], 'libc6', 9))\n"
        "except SlipwayError as error: print(error)"
    )
    top = str(SOURCES)
    path = os.pathsep.join([str(tmp_path), top, *sys.path])
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert '"libc6" is compressed with xz, but this Python was built without lzma' in done.stdout
    assert "SLIPWAY_PYTHON=<a CPython 3.7 to 3.9 that was built with liblzma>" in done.stdout


def test_only_known_forms_count_as_compressed() -> None:
    assert all(is_compressed(COMPRESS[form](b"x")) for form in (".gz", ".xz", ".zst"))
    assert not is_compressed(b"plain")


@given(st.binary(max_size=300), st.sampled_from([b"\x1f\x8b\x08", b"\xfd7zXZ\0", b""]))
def test_any_bytes_give_bytes_or_words(data: bytes, head: bytes) -> None:
    try:
        unpack(head + data, most=1 << 20)
    except SlipwayError:
        pass


@given(st.lists(st.binary(max_size=40)), st.lists(st.tuples(st.booleans(), st.integers(0, 60))))
def test_a_stream_reads_forwards_as_a_file_does(
    chunks: List[bytes], moves: List[Tuple[bool, int]]
) -> None:
    whole = b"".join(chunks)
    stream, at = Stream(chunks), 0
    for skips, size in moves:
        if skips:
            assert stream.seek(at + size) == min(at + size, len(whole))
        else:
            assert stream.read(size) == whole[at : at + size]
        at = min(at + size, len(whole))


def test_a_stream_does_not_go_back() -> None:
    stream = Stream([b"abc"])
    stream.read(2)
    with pytest.raises(ValueError, match="a stream at 2 cannot go back to 1"):
        stream.seek(1)
