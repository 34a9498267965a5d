"""Files that scripts left: links, pipes and holes in place of what is expected."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest

from slipway.step import left_files
from slipway.step.left_files import NotAFile


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top" / "folder").mkdir(parents=True)
    for name in ("outside", "top of another"):
        (tmp_path / name).write_text("of somebody else")
    (tmp_path / "top" / "file").write_text("own")
    return tmp_path / "top"


def test_a_file_is_read_also_through_links_that_stay_inside(top: Path) -> None:
    (top / "link").symlink_to("folder")
    (top / "folder" / "file").symlink_to("../file")
    assert left_files.read(str(top / "link" / "file"), str(top)) == b"own"


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD: Dict[str, Tuple[Callable[[Path], None], str]] = {
    "a link out": (lambda path: path.symlink_to("../outside"), "outside its folder"),
    "a link to a name that starts alike": (
        lambda path: path.symlink_to("../top of another"),
        "outside its folder",
    ),
    "an absolute link": (lambda path: path.symlink_to("/etc/hostname"), "outside its folder"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "outside its folder"),
    "a pipe": (os.mkfifo, "not a regular file"),
    "a folder": (lambda path: path.mkdir(), "not a regular file"),
    "nothing": (lambda path: None, "No such file"),
    "a loop": (lambda path: path.symlink_to("odd"), "symbolic links"),
    "a hole of a terabyte": (make_sparse, "1099511627776 bytes, more than"),
}


@pytest.mark.parametrize("kind", ODD)
def test_anything_else_is_refused_at_once(top: Path, kind: str) -> None:
    make, words = ODD[kind]
    make(top / "odd")
    with pytest.raises(NotAFile, match=words):
        left_files.read(str(top / "odd"), str(top))
