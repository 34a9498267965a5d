"""The check that a machine is the image of a step, file by file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import List

import pytest

from slipway.core.errors import SlipwayError
from slipway.isolation import inside
from slipway.isolation.inside import first_difference
from slipway.isolation.tree_cache import Layer, all_unpacked
from tests.unit.archive.own_archives import file, folder, link, own_tar

LOWER = [
    folder("bin"),
    file("bin/sh", mode=0o755),
    folder("etc"),
    file("etc/hosts", b"of the image"),
    file("etc/same", b"1"),
    file("etc/replaced", b"old"),
    link("lib", "usr/lib"),
]
UPPER = [file("etc/replaced", b"new"), file("bin/cc", mode=0o755)]


@pytest.fixture
def layers(tmp_path: Path) -> List[Layer]:
    found = []
    for number, entries in enumerate((LOWER, UPPER)):
        content = own_tar(entries)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        found.append(Layer(str(path), hashlib.sha256(content).hexdigest()))
    return found


@pytest.fixture
def root(layers: List[Layer], tmp_path: Path) -> Path:
    """A container of the image, with additional files from the engine and from a job."""
    with all_unpacked(str(tmp_path / "trees"), {"/": layers}) as trees:
        (tmp_path / "root").mkdir()
        os.system(f"cp -r {trees['/']}/. {tmp_path}/root")
    (tmp_path / "root" / "etc" / "hosts").write_text("of the engine")
    (tmp_path / "root" / "etc" / "more").write_text("of the job")
    return tmp_path / "root"


def test_a_container_of_the_image_is_the_image(layers: List[Layer], root: Path) -> None:
    assert first_difference(layers, str(root)) == ""


def test_a_container_of_the_image_above_is_the_lower_one_too(
    layers: List[Layer], root: Path
) -> None:
    (root / "etc" / "replaced").write_text("old")
    assert first_difference(layers[:1], str(root)) == ""


def test_any_other_content_mode_or_link_is_told(layers: List[Layer], root: Path) -> None:
    (root / "etc" / "same").write_text("2")
    assert first_difference(layers, str(root)) == "/etc/same differs"
    (root / "etc" / "same").unlink()
    assert first_difference(layers, str(root)) == "/etc/same: No such file or directory"
    (root / "etc" / "same").write_text("1")
    (root / "bin" / "cc").chmod(0o644)
    assert first_difference(layers, str(root)) == "/bin/cc differs"
    (root / "bin" / "cc").chmod(0o755)
    (root / "lib").unlink()
    (root / "lib").symlink_to("elsewhere")
    assert first_difference(layers, str(root)) == "/lib differs"


def test_a_layer_that_no_step_wrote_is_refused(tmp_path: Path) -> None:
    content = own_tar([file("../etc/shadow")])
    (tmp_path / "x.tar").write_bytes(content)
    layer = Layer(str(tmp_path / "x.tar"), hashlib.sha256(content).hexdigest())
    with pytest.raises(SlipwayError, match="its name leaves the archive"):
        first_difference([layer], str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_what_a_step_left_in_folders_for_everybody_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = tmp_path / "tmp", tmp_path / "build"
    for place in (shared, own, own / "out", shared / "of-before", shared / "of-the-step"):
        place.mkdir()
    (own / "out" / "layer").touch()
    (shared / "of-the-job").touch()
    monkeypatch.setattr(inside, "_FOR_EVERYBODY", (str(shared), str(tmp_path / "not-there")))
    os.chown(shared / "of-before", 1000, 1000)
    before = inside._entries(inside._FOR_EVERYBODY) - {str(shared / "of-the-step")}
    os.chown(shared / "of-the-step", 1000, 1000)
    (shared / "of-the-step" / "poison.js").touch()
    (shared / "link").symlink_to("/etc/passwd")
    os.chown(shared / "link", 1000, 1000, follow_symlinks=False)
    (shared / "later-of-the-job").touch()
    inside._clean([str(own)], before, (1000, 61001))
    assert sorted(one.name for one in shared.iterdir()) == [
        *("later-of-the-job", "of-before", "of-the-job")
    ]
    assert own.is_dir()
    assert list(own.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_a_job_s_own_files_are_left_alone_where_the_step_has_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of-pants").touch()
    monkeypatch.setattr(inside, "_FOR_EVERYBODY", (str(tmp_path),))
    inside._clean([], None, (os.geteuid(),))
    assert (tmp_path / "of-pants").exists()
