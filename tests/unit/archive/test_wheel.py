"""Wheels: their files, and the archives that are refused before anything is written."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.archive import wheel
from slipway.core.errors import SlipwayError

Item = Tuple[str, bytes, int]


def packed(*items: Item) -> bytes:
    """A zip archive of names, contents and modes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in items:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return content.getvalue()


SOUND: List[Item] = [
    ("w/bin/node", b"node", 0o100755),
    ("w/include/node/node.h", b"header", 0o100644),
    ("w/other", b"", 0o100644),
    ("w-1.dist-info/RECORD", b"", 0o100644),
]


def unpack(folder: Path, content: bytes) -> Dict[str, Tuple[bytes, int]]:
    path, target = folder / "a.whl", folder / "target"
    path.write_bytes(content)
    wheel.unpack(str(path), "a 1.0.0", str(target), "w", ("bin/node", "include"))
    return {
        str(one.relative_to(target)): (one.read_bytes(), stat.S_IMODE(one.stat().st_mode))
        for one in target.rglob("*")
        if one.is_file()
    }


def test_only_the_wanted_files_are_unpacked(tmp_path: Path) -> None:
    assert unpack(tmp_path, packed(*SOUND)) == {
        "bin/node": (b"node", 0o755),
        "include/node/node.h": (b"header", 0o644),
    }


def test_a_file_of_a_wheel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(packed(*SOUND))
    assert wheel.is_zip(str(path))
    assert wheel.read(str(path), "a", "w/bin/node") == b"node"
    assert wheel.read(str(path), "a", "w/bin/npm") is None


def corrupted(content: bytes) -> bytes:
    at = content.index(b"w/bin/node") + len(b"w/bin/node")
    return content[:at] + b"\xff\xff" + content[at + 2 :]


def with_flag(content: bytes) -> bytes:
    """The archive with its first file marked as encrypted, in the file's head and in the index."""
    changed = bytearray(content)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[content.index(mark) + at] |= 1
    return bytes(changed)


HOSTILE: Dict[str, Tuple[Callable[[], bytes], str]] = {
    "a name above the target": (
        lambda: packed(*SOUND, ("w/include/../../../x", b"", 0o100644)),
        "its name leaves the wheel",
    ),
    "an absolute name": (lambda: packed(("/etc/x", b"", 0o100644)), "its name leaves the wheel"),
    "a backslash": (
        lambda: packed(("w/include\\..\\x", b"", 0o100644)),
        "a backslash or a control character",
    ),
    "a name with a NUL": (
        lambda: packed(("w/bin/nodeX", b"", 0o100644)).replace(b"nodeX", b"node\0"),
        "a backslash or a control character",
    ),
    "a symlink": (lambda: packed(("w/include", b"/etc", 0o120777)), "neither a file nor a folder"),
    "a device": (lambda: packed(("w/bin/node", b"", 0o020666)), "neither a file nor a folder"),
    "an encrypted file": (lambda: with_flag(packed(*SOUND)), "encrypted"),
    "damaged data": (lambda: corrupted(packed(*SOUND)), "is damaged"),
    "a truncated archive": (lambda: packed(*SOUND)[:-30], "is damaged"),
    "another kind of file": (lambda: b"PK\x03\x04" + b"x" * 100, "is damaged"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_wheel_is_refused(
    tmp_path: Path, content: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(SlipwayError) as caught:
        unpack(tmp_path, content())
    assert reason in str(caught.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="'w/bin/node': is there twice"):
        unpack(tmp_path, packed(*SOUND, SOUND[0]))


def test_a_wheel_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel, "MOST_BYTES", 5)
    with pytest.raises(SlipwayError, match="is too large"):
        unpack(tmp_path, packed(*SOUND))


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_damage_is_an_error_or_the_same_files(data: bytes, at: int) -> None:
    whole = packed(*SOUND)
    # A folder of its own, because all examples share the fixture tmp_path.
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpack(Path(folder), whole[:at] + data + whole[at + len(data) :])
        except SlipwayError:
            pass
