"""Hostile archives: rejected before anything is written, and never written outside the target."""

from __future__ import annotations

import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.archive import layers, unpacking
from slipway.archive.layers import Entry
from slipway.archive.tar_reading import Kind, Member
from slipway.archive.unpacking import PACKED, ROOT, Form, Rules
from slipway.core.errors import SlipwayError
from slipway.isolation import tree_cache
from slipway.isolation.tree_cache import Layer
from tests.unit.archive.own_archives import (
    CHARACTERS,
    FIFO,
    file,
    folder,
    hard_link,
    link,
    own_gzip,
    own_tar,
    patched,
    special,
)
from tests.unit.debian.builders import make_tar

SIZE, MODE, KIND, UID, MTIME, OWNER = 124, 100, 156, 108, 136, 265


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder to unpack into, beside a folder that nothing may write to."""
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "file").write_text("as it was")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def tree(top: Path) -> Dict[str, object]:
    return {
        entry.name: entry.target or (entry.executable, Path(entry.source or "").read_bytes())
        if entry.kind != "folder"
        else "folder"
        for entry in layers.walk(str(top))
    }


def unpack(
    target: Path, *archives: bytes, form: Form = Form.TAR, rules: Rules = PACKED
) -> Dict[str, object]:
    paths = []
    for number, content in enumerate(archives):
        paths.append(str(target.parent / f"{number}.tar"))
        Path(paths[-1]).write_bytes(content)
    unpacking.unpack_all(paths, str(target), form, rules)
    return tree(target)


def pax(records: bytes) -> bytes:
    return patched(own_tar([file("PaxHeaders/a", records), file("a")]), KIND, b"x")


Case = Tuple[Callable[[], bytes], str]
# A member, and the expected fault.
HOSTILE: Dict[str, Case] = {
    "absolute": (lambda: own_tar([file("/etc/cron.d/x")]), '"/etc/cron.d/x": an absolute name'),
    "parent": (lambda: own_tar([file("../x")]), '"../x": its name leaves the archive'),
    "parent inside": (
        lambda: own_tar([folder("a"), file("a/../../x")]),
        '"a/../../x": its name leaves the archive',
    ),
    "dot": (lambda: own_tar([file("./a")]), '"./a": a name that is not normalized'),
    "two slashes": (
        lambda: own_tar([folder("a"), file("a//b")]),
        '"a//b": a name that is not normalized',
    ),
    "no name": (lambda: own_tar([file("")]), '"": a name that is not normalized'),
    "the top itself": (lambda: own_tar([folder(".")]), '".": a name that is not normalized'),
    "line break": (lambda: own_tar([file("a\nb")]), "'a\\nb': a control character in a name"),
    "escape": (lambda: own_tar([file("\x1b[2J")]), "'\\x1b[2J': a control character in a name"),
    "not UTF-8": (lambda: own_tar([file("caf\udce9")]), "'caf\\udce9': a name that is not UTF-8"),
    "set-uid": (
        lambda: own_tar([file("a", mode=0o4755)]),
        '"a": a set-uid, set-gid or sticky bit, mode 4755',
    ),
    "set-gid folder": (
        lambda: own_tar([folder("a", 0o2755)]),
        '"a": a set-uid, set-gid or sticky bit, mode 2755',
    ),
    "a folder for all": (lambda: own_tar([folder("a", 0o1777)]), "sticky bit, mode 1777"),
    "open to all": (lambda: own_tar([file("a", mode=0o666)]), '"a": mode 666'),
    "device": (lambda: own_tar([special("a", CHARACTERS)]), '"a": a device, pipe or socket'),
    "pipe": (lambda: own_tar([special("a", FIFO)]), '"a": a device, pipe or socket'),
    "hard link": (
        lambda: own_tar([file("a"), hard_link("b", "a")]),
        '"b": a hard link to "a"',
    ),
    "hard link outwards": (
        lambda: own_tar([hard_link("b", "/etc/shadow")]),
        '"b": a hard link to "/etc/shadow"',
    ),
    "duplicate": (lambda: own_tar([file("a"), file("a")]), '"a": an earlier entry has the same'),
    "a link, then a file through it": (
        lambda: own_tar([link("a", "../canary"), file("a")]),
        '"a": an earlier entry has the same name',
    ),
    "below a link": (
        lambda: own_tar([link("a", "../canary"), file("a/file")]),
        '"a/file": it is below "a", a symbolic link',
    ),
    "folder below a link": (
        lambda: own_tar([link("a", "../canary"), folder("a/b"), file("a/b/c")]),
        '"a/b": it is below "a", a symbolic link',
    ),
    "a link in place of a folder": (
        lambda: own_tar([folder("a"), link("a", "../canary"), file("a/file")]),
        '"a": an earlier entry has the same name',
    ),
    "below a file": (lambda: own_tar([file("a"), file("a/b")]), '"a/b": it is below "a", a file'),
    "no folder": (lambda: own_tar([file("a/b")]), '"a/b": its folder "a" is not an earlier entry'),
    "link to nothing": (lambda: own_tar([link("a", "")]), '"a": a symlink with an empty'),
    "link with an escape": (lambda: own_tar([link("a", "\x1b")]), "a control character in a name"),
    "long name": (lambda: own_tar([file("n" * 5000)]), "a name that is too long"),
    "long part": (lambda: own_tar([file("n" * 256)]), "a name that is too long"),
    "deep name": (lambda: own_tar([file("a/" * 300 + "a")]), "a path with too many folders"),
    "another owner": (
        lambda: patched(own_tar([file("a")]), UID, b"0001750\0"),
        '"a": its header differs from what Slipway writes',
    ),
    "an owner's name": (
        lambda: patched(own_tar([file("a")]), OWNER, b"root"),
        "differs from what Slipway writes",
    ),
    "a time before 1970": (
        lambda: patched(own_tar([file("a")]), MTIME, b"\xff" * 12),
        "differs from what Slipway writes",
    ),
    "written by another tar": (
        lambda: make_tar([("a", b"1")], tarfile.USTAR_FORMAT),
        '"a": its header differs from what Slipway writes',
    ),
    "old kind of file": (
        lambda: patched(own_tar([file("a")]), KIND, b"\0"),
        "differs from what Slipway writes",
    ),
    "name as a folder's": (
        lambda: own_tar([file("a/", b"", 0o755)]),
        "differs from what Slipway writes",
    ),
}
UNSOUND: Dict[str, Case] = {
    "empty": (lambda: b"", "truncated"),
    "no tar": (lambda: b"\x7fELF" + b"x" * 4096, "is not an octal number"),
    "cut off in the header": (lambda: own_tar([file("a")])[:300], "truncated"),
    "cut off in the content": (lambda: own_tar([file("a", b"1" * 5000)])[:2000], "is truncated"),
    "cut off between entries": (lambda: own_tar([file("a"), file("b")])[:1024], "truncated"),
    "one empty block": (lambda: own_tar([file("a")])[:-512], "unexpected data after the last"),
    "an entry after the end": (
        lambda: own_tar([file("a")]) + own_tar([file("b")]),
        "unexpected data after the last",
    ),
    "hidden after one empty block": (
        lambda: own_tar([file("a")])[:-512] + own_tar([file("b")]),
        "unexpected data after the last",
    ),
    "an endless end": (lambda: own_tar([], end=bytes(1 << 20)), "unexpected data after the last"),
    "negative size": (lambda: patched(own_tar([file("a")]), SIZE, b"\xff" * 12), "truncated"),
    "huge size": (
        lambda: patched(own_tar([file("a")]), SIZE, b"\x80" + b"\x7f" * 11),
        "is truncated",
    ),
    "size that is not a number": (
        lambda: patched(own_tar([file("a")]), SIZE, b"1x\0"),
        "is not an octal number",
    ),
    "wrong checksum": (lambda: b"b" + own_tar([file("a")])[1:], "checksum is wrong"),
    "unknown kind": (lambda: patched(own_tar([file("a")]), KIND, b"V"), "the unknown type"),
    "sparse": (lambda: patched(own_tar([file("a")]), KIND, b"S"), "the unknown type"),
    "pax name": (lambda: pax(b"20 path=/etc/passwd\n"), "a pax header"),
    "pax size": (lambda: pax(b"11 size=-5\n"), "a pax header"),
    "pax target": (lambda: pax(b"15 linkpath=/x\n"), "a pax header"),
    "pax global": (
        lambda: patched(own_tar([file("g", b"12 path=/x\n"), file("a")]), KIND, b"g"),
        "a pax header",
    ),
    "long name of a megabyte": (
        lambda: patched(own_tar([file("L", bytes(1 << 20)), file("a")]), KIND, b"L"),
        "a header of 1048576 bytes",
    ),
    "endless long names": (
        lambda: b"".join(
            patched(own_tar([file("L", b"x" * 200)], end=b""), KIND, b"L") for _ in range(99)
        ),
        "a header of 200 bytes",
    ),
}


def assert_nothing_is_written(target: Path) -> None:
    assert os.listdir(target) == []
    assert (target.parent / "canary" / "file").read_text() == "as it was"
    assert os.listdir(target.parent / "canary") == ["file"]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_entry_is_named_before_anything_is_written(target: Path, case: str) -> None:
    make, fault = HOSTILE[case]
    sound = own_tar([file("0", b"sound")], end=b"")
    with pytest.raises(SlipwayError) as raised:
        unpack(target, sound + make())
    assert raised.value.what.endswith('.tar" is not an archive that Slipway wrote')
    assert raised.value.where.endswith("0.tar")
    assert fault in raised.value.found
    assert raised.value.found.isprintable()
    assert "--no-remote-cache-read" in raised.value.next
    assert_nothing_is_written(target)


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_archive_is_refused_with_the_place(target: Path, case: str) -> None:
    make, fault = UNSOUND[case]
    with pytest.raises(SlipwayError) as raised:
        unpack(target, make())
    assert raised.value.what.endswith('.tar" is not a valid tar archive')
    assert fault in raised.value.found
    assert_nothing_is_written(target)


def test_what_is_in_a_root_is_more() -> None:
    found = unpacking.Tree(ROOT)
    archive = own_tar(
        [file("a"), hard_link("b", "a"), folder("tmp", 0o1777), file("caf\udce9"), link("l", "/")]
    )
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(archive)
        temporary.flush()
        with unpacking.opened(temporary.name, Form.TAR) as opened:
            names = [member.name for member in opened.members(found)]
    assert names == ["a", "b", "tmp", "caf\udce9", "l"]


ROOT_HOSTILE: Dict[str, Tuple[List[bytes], str]] = {
    "hard link outwards": ([own_tar([hard_link("b", "/etc/shadow")])], "not an earlier file"),
    "hard link upwards": ([own_tar([hard_link("b", "../canary/file")])], "not an earlier file"),
    "hard link to a link": (
        [own_tar([link("a", "../canary/file"), hard_link("b", "a")])],
        'a hard link to "a", which is not an earlier file of the archive',
    ),
    "hard link to another archive's file": (
        [own_tar([file("a")]), own_tar([hard_link("b", "a")])],
        "not an earlier file of the archive",
    ),
    "hard link through a link": (
        [own_tar([link("d", "../canary"), hard_link("b", "d/file")])],
        "not an earlier file",
    ),
    "set-uid": ([own_tar([file("a", mode=0o4755)])], "a set-uid"),
    "sticky file": ([own_tar([file("a", mode=0o1755)])], "sticky"),
    "through a lower archive's link": (
        [own_tar([link("a", "../canary")]), own_tar([file("a/file")])],
        'it is below "a", a symbolic link',
    ),
    "through a link in place of a lower folder": (
        [own_tar([folder("a"), folder("a/b")]), own_tar([link("a", "../canary"), file("a/b/c")])],
        'it is below "a", a symbolic link',
    ),
    "through a link in place of a lower folder with a new entry": (
        [own_tar([folder("a")]), own_tar([file("a/b"), link("a", "../canary"), file("a/file")])],
        'it is below "a", a symbolic link',
    ),
}


@pytest.mark.parametrize("case", ROOT_HOSTILE)
def test_layers_of_a_root_are_checked_together(target: Path, case: str) -> None:
    archives, fault = ROOT_HOSTILE[case]
    with pytest.raises(SlipwayError) as raised:
        unpack(target, *archives, rules=ROOT)
    assert fault in raised.value.found
    assert_nothing_is_written(target)


def test_a_tree_of_the_host_is_not_written_outside_of_itself(tmp_path: Path) -> None:
    """The case that was found: a runtime whose tar had an absolute, set-uid member appended."""
    outside = tmp_path / "outside"
    content = own_tar([file("bin", mode=0o755)], end=b"") + own_tar(
        [file(str(outside), mode=0o4755)]
    )
    layer = tmp_path / "runtime.tar"
    layer.write_bytes(content)
    cache = tmp_path / "cache"
    sha256 = tree_cache._file_sha256(str(layer))
    with pytest.raises(SlipwayError, match="an absolute name"), tree_cache.unpacked(
        str(cache), [Layer(str(layer), sha256)]
    ):
        pass
    assert not outside.exists()
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_what_is_already_there_is_replaced_and_not_followed(target: Path) -> None:
    (target / "a").symlink_to("../canary")
    (target / "b").symlink_to("../canary/file")
    (target / "c").mkdir()
    (target / "c" / "old").write_text("")
    found = unpack(target, own_tar([folder("a"), file("a/file"), file("b"), link("c", "a")]))
    assert found == {"a": "folder", "a/file": (False, b"x"), "b": (False, b"x"), "c": "a"}
    assert (target.parent / "canary" / "file").read_text() == "as it was"


def test_a_folder_in_the_way_that_becomes_a_link_is_not_followed(target: Path) -> None:
    """A change that no check can see, because another process writes to the target."""
    writer = unpacking._Writer(str(target), keep_times=False)
    (target / "a").symlink_to("../canary")
    (member,) = unpacking.check([_written(target, own_tar([folder("a")]))])[0][1]
    through = Member("a/new", Kind.FILE, 0o644, "", 0, 0)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        writer.add(through, list)
    writer.add(member, list)
    writer.add(through, list)
    writer.close()
    assert tree(target) == {"a": "folder", "a/new": (False, b"")}


def _written(target: Path, content: bytes) -> str:
    (target.parent / "x.tar").write_bytes(content)
    return str(target.parent / "x.tar")


def test_a_layer_replaces_folders_and_files_of_a_lower_one(target: Path) -> None:
    lower = own_tar([folder("a"), folder("a/b"), file("a/b/c"), file("f")])
    upper = own_tar([file("a"), folder("f"), file("f/x")])
    assert unpack(target, lower, upper, rules=ROOT) == {
        "a": (False, b"x"),
        "f": "folder",
        "f/x": (False, b"x"),
    }


def test_a_folder_that_comes_back_without_its_parts_is_refused(target: Path) -> None:
    archives = [
        own_tar([folder("a"), folder("a/b")]),
        own_tar([file("a")]),
        own_tar([folder("a"), file("a/b/c")]),
    ]
    with pytest.raises(SlipwayError) as raised:
        unpack(target, *archives, rules=ROOT)
    assert '"a/b/c": No such file or directory' in raised.value.found


LAYER = own_gzip(own_tar([file("a")], end=b""))
PACKED_HOSTILE: Dict[str, Tuple[bytes, Form, str]] = {
    "empty": (b"", Form.LAYER, "data that is not a gzip member"),
    "not packed": (own_tar([file("a")]), Form.LAYER, "data that is not a gzip member"),
    "cut off": (LAYER[:-9], Form.LAYER, "the file is truncated"),
    "damaged": (LAYER[:15] + b"\xff\xff" + LAYER[17:], Form.LAYER, "Error "),
    "wrong checksum": (LAYER[:-8] + bytes(8), Form.LAYER, "incorrect data check"),
    "a second member": (LAYER + LAYER, Form.LAYER, "data that is not a gzip member"),
    "more after it": (LAYER + b"more", Form.LAYER, "data that is not a gzip member"),
    # GNU gzip ignores data after zeros, but Python reads it.
    "hidden after zeros": (LAYER + bytes(8) + LAYER, Form.TARBALL, "data that is not a gzip"),
    "a name in the header": (
        LAYER[:3] + b"\x08" + LAYER[4:10] + b"name\0" + LAYER[10:],
        Form.LAYER,
        "data that is not a gzip member",
    ),
    "an end in a layer": (own_gzip(own_tar([file("a")])), Form.LAYER, "an empty block"),
    "no end in a tarball": (LAYER, Form.TARBALL, "truncated"),
    "an end in between": (
        own_gzip(own_tar([file("a")])) + own_gzip(own_tar([file("b")])),
        Form.TARBALL,
        "unexpected data after the last",
    ),
    "content cut off": (own_gzip(own_tar([file("a", b"x" * 999)])[:600]), Form.LAYER, "truncated"),
}


@pytest.mark.parametrize("case", PACKED_HOSTILE)
def test_packed_archives_are_one_stream_of_members(target: Path, case: str) -> None:
    content, form, fault = PACKED_HOSTILE[case]
    with pytest.raises(SlipwayError) as raised:
        unpack(target, content, form=form)
    assert fault in raised.value.found
    assert_nothing_is_written(target)


def test_a_bomb_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = unpacking.GZIP_HEADER + deflate.compress(bytes(64 << 20)) + deflate.flush()
    chunks = unpacking.inflated([packed], "bomb", Form.LAYER, most=1 << 20)
    with pytest.raises(SlipwayError, match="more than 1048576 bytes after decompression"):
        assert sum(map(len, chunks)) <= 1 << 20


def test_modes_and_times_do_not_hang_on_the_umask(target: Path) -> None:
    archive = _written(target, own_tar([folder("a"), file("a/x", mode=0o755)], mtime=99))
    before = os.umask(0o077)
    try:
        unpacking.unpack(archive, str(target), keep_times=True)
    finally:
        os.umask(before)
    for name, mode in (("a", 0o755), ("a/x", 0o755)):
        state = os.stat(target / name)
        assert (state.st_mode & 0o7777, state.st_mtime) == (mode, 99)


NAMES = st.lists(
    st.text(
        st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\0"),
        min_size=1,
        max_size=40,
    ).filter(lambda name: name not in (".", "..")),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6), st.booleans())
def test_whatever_layers_writes_is_read_back(files: Dict[str, bytes], packed: bool) -> None:
    names = sorted(files)
    clear = [n for n in names if not any(other.startswith(n + "/") for other in names)]
    written = [Entry(name, "file", len(name) % 2 == 0, content=files[name]) for name in clear]
    with tempfile.TemporaryDirectory() as top:
        path, target = f"{top}/archive", f"{top}/target"
        os.mkdir(target)
        if packed:
            layers.write_layer(path, "app", written)
            unpacking.unpack(path, target, Form.LAYER)
        else:
            layers.write_tar(path, written)
            unpacking.unpack(path, target)
        found = {
            entry.name: (entry.executable, Path(entry.source).read_bytes())
            for entry in layers.walk(target, keep=lambda name: name != layers.LISTING_FOLDER)
            if entry.source
        }
    assert found == {name: (len(name) % 2 == 0, files[name]) for name in clear}


SAMPLE = own_tar(
    [
        folder("d"),
        file("d/f", b"content" * 99),
        link("l", "../canary"),
        hard_link("h", "d/f"),
        file("d/" + "ä" * 70, b"long"),
        file("z"),
    ]
)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(SAMPLE) - 1),
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from([b"../", b"/", b"l/x\0", b"d\0", b"0", b"1", b"2", b"5", b"L", b"x"]),
        ),
    ),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(CHANGES, st.booleans())
def test_a_changed_archive_is_written_inside_or_refused_in_words(
    changes: List[Tuple[int, bytes]], sums: bool
) -> None:
    damaged = bytearray(SAMPLE)
    for at, new in changes:
        damaged[at : at + len(new)] = new
    if sums:  # as an attacker would
        for at in range(0, len(damaged) - 511, 512):
            block = damaged[at : at + 512]
            if block[257:262] == b"ustar":
                total = sum(block[:148]) + 8 * 32 + sum(block[156:])
                damaged[at + 148 : at + 156] = b"%06o\0 " % total
    with tempfile.TemporaryDirectory() as top:
        for name in ("target", "canary"):
            os.mkdir(f"{top}/{name}")
        Path(f"{top}/archive").write_bytes(damaged)
        try:
            unpacking.unpack_all([f"{top}/archive"], f"{top}/target", rules=ROOT)
        except SlipwayError:
            assert os.listdir(f"{top}/target") == []
        assert os.listdir(f"{top}/canary") == []
        assert sorted(os.listdir(top)) == ["archive", "canary", "target"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(Form))
def test_any_bytes_are_refused_in_words(data: bytes, form: Form) -> None:
    with tempfile.TemporaryDirectory() as top:
        Path(f"{top}/archive").write_bytes(data)
        with pytest.raises(SlipwayError):
            unpacking.check([f"{top}/archive"], form)
