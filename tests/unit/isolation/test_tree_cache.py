"""Unpacked trees: whole or not there, whatever happens while they are made or kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.isolation import tree_cache
from tests.places import SOURCES

TOP = str(SOURCES)
ENTRIES = [
    Entry("bin", "folder"),
    Entry("bin/tool", "file", executable=True, content=b"#!/bin/sh\n"),
    Entry("etc", "folder"),
    Entry("etc/empty", "folder"),
    Entry("etc/settings", "file", content=b"one\n"),
    Entry("lib", "link", target="bin"),
]


def make_layer(folder: Path, name: str = "layer.tar", more: int = 0) -> Tuple[str, str]:
    """A layer and its SHA-256; `more` files of 10 kB each make it larger."""
    path = folder / name
    filling = [Entry(f"more/{n}", "file", content=bytes([n % 251]) * 10_000) for n in range(more)]
    content = [*ENTRIES, Entry("name", "file", content=name.encode()), *filling]
    layers.write_tar(str(path), content)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def contents(tree: str) -> Dict[str, object]:
    return {
        entry.name: entry.target or (entry.executable, Path(entry.source or "").read_bytes())
        if entry.kind != "folder"
        else "folder"
        for entry in layers.walk(tree)
    }


def unpack(cache: Path, layer: str, sha256: str) -> Dict[str, object]:
    with tree_cache.unpacked(str(cache), [tree_cache.Layer(layer, sha256)]) as tree:
        return contents(tree)


def name_of(sha256: str) -> str:
    """What the tree of one layer is called."""
    return tree_cache.name_of([tree_cache.Layer("", sha256)])


def python(program: str, *arguments: str) -> List[str]:
    return [sys.executable, "-I", "-S", "-B", "-c", program, TOP, *arguments]


_ENTER = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from slipway.isolation import tree_cache
with tree_cache.unpacked(sys.argv[2], [tree_cache.Layer(*sys.argv[3:5])]) as tree:
    print(os.stat(tree).st_ino, len(os.listdir(os.path.join(tree, "more"))))
"""

# Counts the lines that run in the modules, and dies at the line that was asked for.
_DIE = """\
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from slipway.isolation import tree_cache; from slipway.archive import unpacking
cache, layer, sha256, moment = sys.argv[2:]
count = 0
def trace(frame, event, argument):
    global count
    if frame.f_code.co_filename not in (tree_cache.__file__, unpacking.__file__):
        return None
    count += event == "line"
    if count == int(moment):
        os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
with tree_cache.unpacked(cache, [tree_cache.Layer(layer, sha256)]):
    sys.settrace(None)
print(count)
"""


def test_a_tree_has_what_the_layer_has(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path)
    with tree_cache.unpacked(str(tmp_path / "cache"), [tree_cache.Layer(layer, sha256)]) as tree:
        assert contents(tree) == {
            "bin": "folder",
            "bin/tool": (True, b"#!/bin/sh\n"),
            "etc": "folder",
            "etc/empty": "folder",
            "etc/settings": (False, b"one\n"),
            "lib": "bin",
            "name": (False, b"layer.tar"),
        }
        assert os.stat(os.path.join(tree, "etc")).st_mtime == layers.MTIME


def test_an_upper_layer_adds_and_replaces(tmp_path: Path) -> None:
    lower, lower_sha256 = make_layer(tmp_path)
    upper = tmp_path / "upper.tar"
    layers.write_tar(
        str(upper),
        [
            Entry("bin/tool", "file", content=b"another\n"),
            Entry("etc/more", "file", content=b"added\n"),
            Entry("lib", "folder"),
            Entry("lib/file", "file", content=b"in what was a link\n"),
            Entry("name", "link", target="bin/tool"),
        ],
    )
    upper_sha256 = hashlib.sha256(upper.read_bytes()).hexdigest()
    stack = [tree_cache.Layer(lower, lower_sha256), tree_cache.Layer(str(upper), upper_sha256)]
    with tree_cache.unpacked(str(tmp_path / "cache"), stack) as tree:
        assert contents(tree) == {
            "bin": "folder",
            "bin/tool": (False, b"another\n"),
            "etc": "folder",
            "etc/empty": "folder",
            "etc/more": (False, b"added\n"),
            "etc/settings": (False, b"one\n"),
            "lib": "folder",
            "lib/file": (False, b"in what was a link\n"),
            "name": "bin/tool",
        }
        # The upper layer says nothing of this folder, but puts a file into it.
        assert os.stat(os.path.join(tree, "etc")).st_mtime == layers.MTIME
    alone = unpack(tmp_path / "cache", lower, lower_sha256)
    assert alone["bin/tool"] == (True, b"#!/bin/sh\n")


def test_it_is_unpacked_once(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path)
    unpack(tmp_path / "cache", layer, sha256)
    os.unlink(layer)
    assert unpack(tmp_path / "cache", layer, sha256)["name"] == (False, b"layer.tar")


def test_many_at_once_share_one_tree(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path, more=300)
    argv = python(_ENTER, str(tmp_path / "cache"), layer, sha256)
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 6
    assert len(said) == 1
    assert said.pop().split()[1] == "300"


def test_a_kill_at_any_moment_leaves_no_half_tree(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path)
    whole = unpack(tmp_path / "reference", layer, sha256)
    argv = python(_DIE, str(tmp_path / "counted"), layer, sha256)
    lines = int(subprocess.check_output([*argv, "-1"]))
    assert lines > 100
    moments = range(1, lines, max(1, lines // 40))
    for moment in moments:
        cache = tmp_path / f"cache-{moment}"
        argv = python(_DIE, str(cache), layer, sha256, str(moment))
        assert subprocess.run(argv, check=False).returncode == -9, moment
        assert unpack(cache, layer, sha256) == whole, moment
        left = {path.name[64:] for path in cache.iterdir()}
        assert left == {"", ".lock", ".seen"}, moment


def _edit_keeping_size_and_time(tree: Path) -> None:
    file = tree / "etc" / "settings"
    before = file.stat()
    file.write_bytes(b"two\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _retarget(tree: Path) -> None:
    (tree / "lib").unlink()
    (tree / "lib").symlink_to("etc")


DAMAGE: Dict[str, Callable[[Path], object]] = {
    "a file edited": lambda tree: (tree / "etc" / "settings").write_bytes(b"longer\n"),
    "a file edited, size and time kept": _edit_keeping_size_and_time,
    "a file removed": lambda tree: (tree / "bin" / "tool").unlink(),
    "a file added": lambda tree: (tree / "bin" / "more").write_bytes(b""),
    "a mode changed": lambda tree: (tree / "bin" / "tool").chmod(0o4755),
    "a mode of the top": lambda tree: tree.chmod(0o700),
    "a link changed": _retarget,
    "an empty folder removed": lambda tree: (tree / "etc" / "empty").rmdir(),
    "a folder without rights": lambda tree: (tree / "etc").chmod(0),
    "the whole tree removed": lambda tree: tree_cache._remove(str(tree)),
    "its record removed": lambda tree: Path(f"{tree}.seen").unlink(),
    "its record emptied": lambda tree: Path(f"{tree}.seen").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_tree_is_replaced(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    layer, sha256 = make_layer(tmp_path)
    whole = unpack(tmp_path / "cache", layer, sha256)
    damage(tmp_path / "cache" / name_of(sha256))
    with tree_cache.unpacked(str(tmp_path / "cache"), [tree_cache.Layer(layer, sha256)]) as tree:
        assert contents(tree) == whole
        assert os.stat(os.path.join(tree, "bin", "tool")).st_mode & 0o7777 == 0o755
        assert os.stat(tree).st_mode & 0o7777 == 0o755


def test_a_layer_with_other_bytes_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path)
    good = Path(layer).read_bytes()
    Path(layer).write_bytes(good + b"x")
    with pytest.raises(tree_cache.LayerDamaged, match=f"not {sha256}"):
        unpack(tmp_path / "cache", layer, sha256)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {f"{name_of(sha256)}.lock"}
    Path(layer).write_bytes(good)
    assert unpack(tmp_path / "cache", layer, sha256)


_FULL = """\
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from slipway.isolation import tree_cache
disk, layer, sha256 = sys.argv[2:]
try:
    with tree_cache.unpacked(disk + "/cache", [tree_cache.Layer(layer, sha256)]):
        print("unpacked on a full disk")
except OSError as error:
    print(error.strerror)
print(sorted(name[64:] for name in os.listdir(disk + "/cache")))
subprocess.check_call(["mount", "-o", "remount,size=16m", disk])
with tree_cache.unpacked(disk + "/cache", [tree_cache.Layer(layer, sha256)]) as tree:
    print(len(os.listdir(tree + "/more")))
"""


def test_a_full_disk_leaves_nothing_and_more_space_is_all_it_takes(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path, more=300)
    (tmp_path / "disk").mkdir()
    mounted = f'mount -t tmpfs -o size=1m none "{tmp_path}/disk" && exec "$@"'
    argv = python(_FULL, str(tmp_path / "disk"), layer, sha256)
    said = subprocess.check_output(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", *argv],
        text=True,
    )
    assert said.splitlines() == ["No space left on device", "['.lock']", "300"]


def make_old(cache: Path, sha256: str) -> None:
    old = time.time() - tree_cache.UNUSED_SECONDS - 60
    for path in cache.glob(f"{name_of(sha256)}.*"):
        os.utime(path, (old, old))


def test_a_tree_that_nothing_used_for_long_makes_room(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (old, old_sha256), (kept, kept_sha256) = (
        make_layer(tmp_path, "old"),
        make_layer(tmp_path, "kept"),
    )
    unpack(cache, old, old_sha256)
    unpack(cache, kept, kept_sha256)
    make_old(cache, old_sha256)
    unpack(cache, *make_layer(tmp_path, "new"))
    assert not (cache / name_of(old_sha256)).exists()
    assert not (cache / f"{name_of(old_sha256)}.seen").exists()
    assert (cache / name_of(kept_sha256)).exists()
    assert unpack(cache, old, old_sha256)["name"] == (False, b"old")


def test_a_tree_that_is_entered_stays_however_old(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    layer, sha256 = make_layer(tmp_path, "old")
    with tree_cache.unpacked(str(cache), [tree_cache.Layer(layer, sha256)]) as tree:
        make_old(cache, sha256)
        with open(f"{tree}.lock") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unpack(cache, *make_layer(tmp_path, "new"))
        assert contents(tree)["name"] == (False, b"old")


def test_entering_a_tree_counts_as_use(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    layer, sha256 = make_layer(tmp_path, "old")
    unpack(cache, layer, sha256)
    make_old(cache, sha256)
    unpack(cache, layer, sha256)
    unpack(cache, *make_layer(tmp_path, "new"))
    assert (cache / name_of(sha256)).exists()


def test_what_killed_runs_left_makes_room_too(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    layer, sha256 = make_layer(tmp_path, "old")
    counted = python(_DIE, str(tmp_path / "counted"), layer, sha256, "-1")
    half = int(subprocess.check_output(counted)) // 2
    argv = python(_DIE, str(cache), layer, sha256, str(half))
    assert subprocess.run(argv, check=False).returncode == -9
    assert (cache / f"{name_of(sha256)}.part").exists()
    make_old(cache, sha256)
    unpack(cache, *make_layer(tmp_path, "new"))
    assert not (cache / f"{name_of(sha256)}.part").exists()


def test_the_folder_of_a_tree_has_one_mode_whatever_the_umask(tmp_path: Path) -> None:
    layer, sha256 = make_layer(tmp_path)
    before = os.umask(0o077)
    try:
        with tree_cache.unpacked(
            str(tmp_path / "cache"), [tree_cache.Layer(layer, sha256)]
        ) as tree:
            assert os.stat(tree).st_mode & 0o777 == 0o755
    finally:
        os.umask(before)
