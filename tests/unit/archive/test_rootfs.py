"""A tree of entries: links resolve inside it, tricks are rejected, layers are reproducible."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.archive.rootfs import (
    FOLDER,
    MOUNT_POINTS,
    SCRATCH_FOLDER,
    Content,
    Entry,
    Tree,
    add_mount_points,
    file_entry,
    link_entry,
    member_entry,
    member_path,
    merge,
    read_layer,
    text_entry,
    write_layer,
)
from slipway.archive.tar_reading import Kind, Member
from slipway.core.errors import SlipwayError


def make_tree(**entries: object) -> Tree:
    """Texts are files, `-> target` are links, None is a folder; `__` stands for a slash."""
    tree = Tree()
    for name, value in entries.items():
        put(tree, name.replace("__", "/"), value)
    return tree


def put(tree: Tree, path: str, value: object) -> None:
    if value is None:
        tree.put(path, FOLDER)
    elif str(value).startswith("-> "):
        tree.put(path, link_entry(str(value)[3:]))
    else:
        tree.put(path, text_entry(str(value)))


def text_at(tree: Tree, path: str) -> Optional[str]:
    entry = tree.follow(path)
    return entry.content.read().decode() if entry and entry.content else None


def test_every_entry_has_its_parents() -> None:
    assert list(make_tree(usr__lib__x="1").entries) == ["usr", "usr/lib", "usr/lib/x"]


def test_what_is_put_below_a_link_to_a_folder_lands_in_the_folder() -> None:
    tree = make_tree(bin="-> usr/bin", bin__sh="shell", lib="-> /usr/lib", lib__a__b="1")
    assert sorted(tree.entries) == [
        "bin",
        "lib",
        "usr",
        "usr/bin",
        "usr/bin/sh",
        "usr/lib",
        "usr/lib/a",
        "usr/lib/a/b",
    ]
    assert text_at(tree, "bin/sh") == "shell"


@pytest.mark.parametrize("target", ["../../../../etc", "/../../etc", "/etc", "..//./../etc"])
def test_no_link_leads_out_of_the_root(target: str) -> None:
    tree = make_tree(a__link="-> " + target, a__link__passwd="inside")
    assert text_at(tree, "etc/passwd") == "inside"


@pytest.mark.parametrize(
    "links",
    [{"a": "-> a"}, {"a": "-> b", "b": "-> a"}, {"a": "-> a/a"}, {"a": "-> b/x", "b": "-> a"}],
)
def test_links_that_go_round_end_with_words(links: Dict[str, str]) -> None:
    tree = make_tree(**links)
    assert tree.follow("a") is None
    with pytest.raises(SlipwayError, match="has too many symlinks"):
        put(tree, "a/file", "1")


def test_a_file_below_a_file_is_refused() -> None:
    with pytest.raises(SlipwayError, match='"a/b/c" is below "a", which is not a folder'):
        make_tree(a="1", a__b__c="2")


def test_a_file_in_place_of_a_folder_takes_its_content_along() -> None:
    tree = make_tree(a__b__c="1", ab="2")
    put(tree, "a", "file")
    assert sorted(tree.entries) == ["a", "ab"]


def test_removing_takes_what_is_below_and_no_neighbours() -> None:
    tree = make_tree(a__b__c="1", ab__c="2", d__e="3", d__f__g="4", x="5")
    tree.remove({"a", "x"}, emptied={"d"})
    assert sorted(tree.entries) == ["ab", "ab/c", "d"]
    tree.remove(set(), emptied={""})
    assert tree.entries == {}


def test_an_upper_tree_has_only_what_differs() -> None:
    lower = make_tree(a="1", b="2", c="-> a", d=None)
    whole = make_tree(a="1", b="other", c="-> b", d=None, e="new")
    upper = whole.without(lower)
    assert sorted(upper.entries) == ["b", "c", "e"]
    assert {path: text_at(merge([lower, upper]), path) for path in "abce"} == {
        "a": "1",
        "b": "other",
        "c": "other",
        "e": "new",
    }


def test_mount_points_are_added_where_they_lack() -> None:
    tree = make_tree(var="-> elsewhere")
    tree.put("tmp", SCRATCH_FOLDER)
    add_mount_points(tree)
    assert tree.entries["tmp"] is SCRATCH_FOLDER
    assert all((tree.follow(path) or FOLDER).kind is Kind.FOLDER for path in MOUNT_POINTS)
    assert "elsewhere/tmp" in tree.entries


def member(name: str, kind: Kind = Kind.FILE, mode: int = 0o644) -> Member:
    return Member(name, kind, mode, "", 0, 0)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "./..", "a\0b"])
def test_names_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(SlipwayError, match=r'"evil\.tar" has an entry outside the root'):
        member_path(member(name), "evil.tar")


def test_endless_names_are_refused() -> None:
    with pytest.raises(SlipwayError, match="a too long name"):
        member_path(member("a/" * 3000), "evil.tar")


@pytest.mark.parametrize(("name", "path"), [("./usr/bin", "usr/bin"), ("a//b/", "a/b"), ("./", "")])
def test_names_are_made_plain(name: str, path: str) -> None:
    assert member_path(member(name), "x.tar") == path


@pytest.mark.parametrize(
    ("kind", "mode", "plain"),
    [
        (Kind.FILE, 0o600, 0o644),
        (Kind.FILE, 0o4755, 0o755),
        (Kind.FILE, 0o2711, 0o755),
        (Kind.FOLDER, 0o700, 0o755),
        (Kind.FOLDER, 0o2775, 0o755),
        (Kind.FOLDER, 0o1777, 0o1777),
        (Kind.FOLDER, 0o1755, 0o755),
        (Kind.SYMLINK, 0o644, 0o777),
    ],
)
def test_modes_are_made_plain(kind: Kind, mode: int, plain: int) -> None:
    assert member_entry(member("x", kind, mode), Content(0)).mode == plain


def sample_tree() -> Tree:
    tree = make_tree(bin__tool="#!/bin/sh\n", etc__empty="", lib="-> usr/lib", zz="last")
    tree.put("tmp", SCRATCH_FOLDER)
    tree.put("bin/tool", file_entry(Content(3, 1, b"x123x"), executable=True))
    tree.put("bin/again", tree.entries["bin/tool"])
    tree.put("a-link", link_entry("../" * 60 + "target"))
    tree.put("caf\udce9", text_entry("not UTF-8"))
    return tree


def test_a_layer_does_not_depend_on_the_order_of_putting(tmp_path: Path) -> None:
    tree = sample_tree()
    shuffled = Tree(dict(reversed(list(tree.entries.items()))))
    one = write_layer(tree, str(tmp_path / "1"), 1000)
    two = write_layer(shuffled, str(tmp_path / "2"), 1000)
    data = (tmp_path / "1").read_bytes()
    assert one == two
    assert data == (tmp_path / "2").read_bytes()
    assert (one.sha256, one.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert one.entries == len(tree.entries)


def test_a_layer_is_sorted_and_of_one_owner_and_time(tmp_path: Path) -> None:
    write_layer(sample_tree(), str(tmp_path / "layer"), 1000)
    with tarfile.open(tmp_path / "layer") as tar:
        members = tar.getmembers()
    names = [os.fsencode(m.name) for m in members]
    assert names == sorted(names)
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in members} == {(0, 0, "", 1000)}
    assert {m.name: m.mode for m in members if m.isreg()}["bin/again"] == 0o755
    # Of two names of one file, the first in order has the content.
    assert [(m.name, m.linkname) for m in members if m.islnk()] == [("bin/tool", "bin/again")]


def test_a_written_layer_is_read_as_the_same_tree(tmp_path: Path) -> None:
    tree = sample_tree()
    write_layer(tree, str(tmp_path / "1"), 1000)
    again = read_layer(str(tmp_path / "1"))
    assert list(tree.without(again).entries) == list(again.without(tree).entries) == []
    write_layer(again, str(tmp_path / "2"), 1000)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_gnu_tar_unpacks_a_layer(tmp_path: Path) -> None:
    write_layer(sample_tree(), str(tmp_path / "layer"), 1000)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "../layer"], cwd=tmp_path / "out", check=True)
    assert (tmp_path / "out" / "bin" / "again").read_bytes() == b"123"


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12")
    with pytest.raises(SlipwayError, match="became shorter"):
        Content(3, path=str(tmp_path / "f")).read()


def test_a_hard_link_to_nothing_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer", "w") as tar:
        info = tarfile.TarInfo("h")
        info.type, info.linkname = tarfile.LNKTYPE, "missing"
        tar.addfile(info)
    with pytest.raises(SlipwayError, match="a hard link to a missing file") as caught:
        read_layer(str(tmp_path / "layer"))
    assert caught.value.found == "h -> missing"


PATHS = st.text("ab/.", min_size=1, max_size=6)


@given(st.lists(st.tuples(PATHS, st.one_of(st.none(), st.just("x"), PATHS.map("-> {}".format)))))
def test_whatever_is_put_stays_inside_and_has_folders_above(
    puts: List[Tuple[str, Optional[str]]],
) -> None:
    tree = Tree()
    for path, value in puts:
        try:
            put(tree, member_path(member(path), "x") or "root", value)
        except SlipwayError:
            continue
    for name in tree.entries:
        assert ".." not in name.split("/")
        above = os.path.dirname(name)
        assert not above or tree.entries[above].kind is Kind.FOLDER


def test_same_as_looks_at_contents_modes_and_targets() -> None:
    assert text_entry("1").same_as(text_entry("1"))
    assert not text_entry("1").same_as(text_entry("2"))
    assert not text_entry("1").same_as(Entry(Kind.FILE, 0o755, text_entry("1").content))
    assert not link_entry("a").same_as(link_entry("b"))
