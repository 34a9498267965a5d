"""What folders use that a step can write to, and when that is over a limit."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from slipway.isolation import space_use
from slipway.isolation.folder_walk import Use, Walk
from slipway.isolation.resource_limits import Breach, Limits
from slipway.isolation.space_use import Space, SpaceMeter, explain_full, find_spaces, spaces_of
from tests.places import SOURCES
from tests.unit.isolation.step_processes import MB, with_tmpfs

GENEROUS = Limits(memory=1 << 40, processes=1 << 20, space=1 << 40, inodes=1 << 40)
ENDLESS = Use(1 << 60, 1 << 60)


def walked(*folders: Path) -> Use:
    walk = Walk([str(folder) for folder in folders])
    assert walk.go_on(60, ENDLESS, time.monotonic)
    return walk.use


def write(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


# --- Walks.


def test_a_walk_counts_blocks_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = walked(tmp_path)
    write(tmp_path / "folder" / "file", 1_000_000)
    (tmp_path / "link").symlink_to("folder/file")
    after = walked(tmp_path)
    assert after.inodes - before.inodes == 2
    assert 1_000_000 <= after.size - before.size < 1_100_000


def test_hard_links_count_once_even_between_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write(tmp_path / "one" / "file", MB)
    before = walked(tmp_path / "one", tmp_path / "two")
    for i in range(50):
        os.link(tmp_path / "one" / "file", tmp_path / ("one", "two")[i % 2] / f"{i}")
    after = walked(tmp_path / "one", tmp_path / "two")
    assert after.inodes == before.inodes == 1
    assert after.size < 2 * MB


def test_a_sparse_file_counts_by_its_blocks(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 40)
    assert walked(tmp_path).size < MB


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write(outside / "file", MB)
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(".")
    (inside / "file").symlink_to(outside / "file")
    assert walked(inside).inodes == 3
    assert walked(inside).size < MB
    os.rename(inside, tmp_path / "moved")
    inside.symlink_to(outside)
    assert walked(inside) == Use()


def test_folders_nested_deeper_than_any_path_are_walked_as_far_as_it_goes(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    folder = top
    for _ in range(600):
        os.mkdir("d" * 40, dir_fd=folder)
        inner = os.open("d" * 40, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    assert 250 < walked(tmp_path).inodes < 300


def test_what_vanishes_or_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / f"{i}").mkdir()
        write(tmp_path / f"{i}" / "file", 10)
    walk = Walk([str(tmp_path), str(tmp_path / "missing")])
    assert not walk.go_on(0, ENDLESS, time.monotonic)
    for i in range(300):
        (tmp_path / f"{i}" / "file").unlink()
        (tmp_path / f"{i}").rmdir()
    assert walk.go_on(60, ENDLESS, time.monotonic)


def test_a_walk_stops_at_the_limit_and_when_its_time_is_over(tmp_path: Path) -> None:
    for i in range(1000):
        write(tmp_path / f"{i}", 1)
    walk = Walk([str(tmp_path)])
    assert not walk.go_on(60, Use(1 << 60, 100), time.monotonic)
    assert 100 < walk.use.inodes < 300
    ticks = iter(range(1000))
    slow = Walk([str(tmp_path)])
    assert not slow.go_on(2, ENDLESS, lambda: next(ticks))
    found = slow.use.inodes
    assert 0 < found < 1000
    assert slow.go_on(900, ENDLESS, lambda: next(ticks))
    assert slow.use.inodes == 1000


# --- What the folders are.

MOUNTS = """\
20 1 {disk} / / rw - ext4 /dev/vda1 rw
21 20 {memory} / {tmpfs} rw - tmpfs tmpfs rw
"""


def test_a_folder_of_a_disk_and_a_tmpfs_of_its_own_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = os.stat(tmp_path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    (tmp_path / "within").mkdir()
    path = str(tmp_path)
    disk = MOUNTS.format(disk=name, memory="0:0", tmpfs="/nowhere")
    within = str(tmp_path / "within")
    assert spaces_of([within, path, path, path + "/missing"], disk) == (Space(path, False, False),)
    tmpfs = MOUNTS.format(disk="0:0", memory=name, tmpfs=path)
    if os.statvfs(path).f_files > 0:
        assert spaces_of([path], tmpfs) == (Space(path, True, True),)
    shared = MOUNTS.format(disk="0:0", memory=name, tmpfs="/elsewhere")
    assert spaces_of([path], shared) == (Space(path, False, True),)
    part = tmpfs.replace(f"{name} / ", f"{name} /part ")
    assert spaces_of([path], part) == (Space(path, False, True),)
    assert spaces_of([path], "") == (Space(path, False, False),)


def test_a_real_tmpfs_is_measured_and_found_full() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[2])
from slipway.isolation.resource_limits import Limits
from slipway.isolation.space_use import SpaceMeter, explain_full, find_spaces
folder = sys.argv[1]
limits = Limits(1 << 40, 1 << 20, 10_000_000, 100)
spaces = find_spaces([folder])
meter = SpaceMeter(spaces, limits, dict)
print(spaces[0].whole, spaces[0].memory, meter.look(), explain_full(spaces, limits))
with open(folder + "/file", "wb") as file:
    file.write(bytes(5_000_000))
    file.flush()
    print(5_000_000 <= meter.memory().size < 5_100_000, meter.look())
    file.write(bytes(7_000_000))
    file.flush()
    print(meter.look().kind, explain_full(spaces, limits))
    try:
        file.write(bytes(30_000_000))
        file.flush()
    except OSError as error:
        print(error.errno)
    print(explain_full(spaces, limits).kind)
    file.truncate(0)
open(folder + "/file", "wb").close()
for i in range(120):
    open(folder + "/" + str(i), "wb").close()
print(meter.look().kind, explain_full(spaces, limits))
try:
    for i in range(120, 1000):
        open(folder + "/" + str(i), "wb").close()
except OSError as error:
    print(error.errno)
print(explain_full(spaces, limits).kind)
"""
    text = with_tmpfs("/mnt", "size=20m,nr_inodes=200", program, str(SOURCES))
    assert text.splitlines() == [
        "True True None None",
        "True None",
        "space None",
        "28",
        "space",
        "inodes None",
        "28",
        "inodes",
    ]


def test_a_tmpfs_without_a_limit_of_inodes_is_walked() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[2])
from slipway.isolation.space_use import find_spaces
print(*find_spaces([sys.argv[1]]))
"""
    text = with_tmpfs("/mnt", "size=20m,nr_inodes=0", program, str(SOURCES))
    assert text == "Space(path='/mnt', whole=False, memory=True)\n"


# --- Folders on a disk, with figures of the disk that the test sets.


class FakeDisk:
    """Free bytes and inodes of every folder, and a clock that each look moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, limits: Limits) -> None:
        self.free = Use(100 * MB, 10_000)
        self.time = 0.0
        self.held: Dict[Tuple[int, int], int] = {}
        self.walks: List[Any] = []
        monkeypatch.setattr(space_use, "_free", lambda path: self.free)

        def walk(folders: List[str]) -> Walk:
            self.walks.append(folders)
            return Walk(folders)

        monkeypatch.setattr(space_use, "Walk", walk)
        self.path = str(folder)
        space = Space(self.path, whole=False, memory=False)
        self.meter = SpaceMeter([space], limits, lambda: self.held, lambda: self.time)

    def look(self, seconds: float = 1.0) -> object:
        self.time += seconds
        return self.meter.look()


LIMITED = Limits(memory=1 << 40, processes=1 << 20, space=10 * MB, inodes=1000)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDisk:
    return FakeDisk(monkeypatch, tmp_path, LIMITED)


def test_a_folder_is_not_walked_while_the_disk_has_lost_little(disk: FakeDisk) -> None:
    disk.free -= Use(4 * MB, 0)
    assert [disk.look() for _ in range(9)] == [None] * 9
    assert disk.walks == []
    disk.look(2)
    assert disk.walks == [[disk.path]], "every ten seconds anyway"


def test_a_step_that_fills_the_disk_is_found_at_the_next_look(
    disk: FakeDisk, tmp_path: Path
) -> None:
    write(tmp_path / "file", 11 * MB)
    disk.free -= Use(11 * MB, 1)
    breach = disk.look()
    assert isinstance(breach, Breach)
    assert (breach.kind, breach.limit) == ("space", 10 * MB)
    assert 11 * MB <= breach.measured < 12 * MB


def test_a_step_that_makes_too_many_files_is_found(disk: FakeDisk, tmp_path: Path) -> None:
    for i in range(1001):
        (tmp_path / f"{i}").touch()
    disk.free -= Use(0, 1001)
    assert disk.look() == Breach("inodes", 1000, 1001)


def test_what_others_take_from_the_disk_ends_no_step(disk: FakeDisk, tmp_path: Path) -> None:
    write(tmp_path / "file", 5 * MB)
    disk.free -= Use(50 * MB, 5000)
    assert [disk.look() for _ in range(3)] == [None] * 3
    assert len(disk.walks) == 1, "and the folder is not walked again until the disk loses more"


def test_what_others_give_back_hides_nothing(disk: FakeDisk, tmp_path: Path) -> None:
    disk.free += Use(60 * MB, 0)
    assert disk.look() is None
    write(tmp_path / "file", 11 * MB)
    disk.free -= Use(11 * MB, 1)
    breach = disk.look()
    assert isinstance(breach, Breach)
    assert breach.kind == "space"


def test_an_unlinked_file_that_is_open_counts(disk: FakeDisk, tmp_path: Path) -> None:
    disk.held = {(os.stat(tmp_path).st_dev, 7): 12 * MB, (1 << 40, 7): 99 * MB}
    disk.free -= Use(12 * MB, 1)
    assert disk.look() == Breach("space", 10 * MB, 12 * MB)


def test_a_disk_that_is_nearly_full_ends_the_step_however_it_was_filled(disk: FakeDisk) -> None:
    disk.free = Use(4 * MB, 10_000)
    assert disk.look() == Breach("machine space", 100 * MB, 4 * MB, disk.path)
    disk.free = Use(100 * MB, 100)
    assert disk.look() == Breach("machine inodes", 10_000, 100, disk.path)


def test_a_disk_that_makes_inodes_as_it_needs_them_has_no_limit_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FakeDisk(monkeypatch, tmp_path, LIMITED)
    disk.free = Use(100 * MB, 0)
    disk.meter = SpaceMeter([Space(disk.path, False, False)], LIMITED, dict, lambda: disk.time)
    assert disk.look() is None


def test_a_folder_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    spaces = find_spaces([str(tmp_path / "folder")])
    meter = SpaceMeter(spaces, GENEROUS, dict)
    (tmp_path / "folder").rmdir()
    assert meter.look() is None
    assert explain_full(spaces, GENEROUS) is None
