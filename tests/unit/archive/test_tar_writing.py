"""The tar writer: other tools can read its output, and the bytes are reproducible."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from slipway.archive import tar_writing
from slipway.archive.tar_writing import TarWriter

LONG = "folder/" * 30 + "ä"


def written() -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out, mtime=1_000_000_000)
    writer.add("d", tar_writing.FOLDER, 0o1777)
    writer.add("d/f", tar_writing.FILE, 0o755, size=5, chunks=[b"he", b"llo"])
    writer.add("d/h", tar_writing.HARD_LINK, 0o755, target="d/f")
    writer.add("d/l", tar_writing.SYMLINK, 0o777, target="f")
    writer.add(LONG, tar_writing.FILE, 0o644, size=1, chunks=[b"x"])
    writer.add("to", tar_writing.SYMLINK, 0o777, target=LONG)
    writer.add("caf\udce9", tar_writing.FILE, 0o644)
    writer.close()
    return out.getvalue()


def test_the_bytes_are_pinned() -> None:
    # If this hash changes, the bytes of every layer change, so it must be deliberate.
    expected = "6c69846a429a6c88f2b6ece8e55f0995fd693b7e153317e8cb70935e48d7a29e"
    assert hashlib.sha256(written()).hexdigest() == expected
    assert len(written()) % 10240 == 0


def test_python_reads_every_entry() -> None:
    with tarfile.open(fileobj=io.BytesIO(written()), mode="r:") as tar:
        members = tar.getmembers()
        assert [(m.name, m.type, oct(m.mode), m.linkname) for m in members] == [
            ("d", tarfile.DIRTYPE, "0o1777", ""),
            ("d/f", tarfile.REGTYPE, "0o755", ""),
            ("d/h", tarfile.LNKTYPE, "0o755", "d/f"),
            ("d/l", tarfile.SYMTYPE, "0o777", "f"),
            (LONG, tarfile.REGTYPE, "0o644", ""),
            ("to", tarfile.SYMTYPE, "0o777", LONG),
            ("caf\udce9", tarfile.REGTYPE, "0o644", ""),
        ]
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {
            (0, 0, "", "", 1_000_000_000)
        }
        content = tar.extractfile("d/f")
        assert content
        assert content.read() == b"hello"


@pytest.mark.parametrize("tar", ["tar", "busybox tar"])
def test_common_tools_unpack_it(tar: str, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(written())
    subprocess.run([*tar.split(), "-xf", "x.tar"], cwd=tmp_path, check=True)
    assert (tmp_path / "d" / "l").read_bytes() == b"hello"
    assert (tmp_path / "d" / "h").stat().st_ino == (tmp_path / "d" / "f").stat().st_ino
    assert (tmp_path / "to").read_bytes() == b"x"


def test_an_entry_that_is_not_as_long_as_promised_is_an_error() -> None:
    with pytest.raises(ValueError, match="of 3 bytes came with 2"):
        TarWriter(io.BytesIO(), 0).add("f", tar_writing.FILE, 0o644, size=3, chunks=[b"ab"])


def test_a_size_beyond_octal_is_written_in_binary_form() -> None:
    field = tar_writing._size_field(9 << 30)
    info = tarfile.TarInfo("x")
    info.size = 9 << 30
    assert field == info.tobuf(tarfile.GNU_FORMAT)[124:136]
