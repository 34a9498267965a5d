"""Building a tree from packages and a spec: which files are included, omitted or rejected."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest

from slipway.archive.rootfs import MOUNT_POINTS, Tree, text_entry
from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.toolchain.package_tree import build_tree
from tests.unit.debian.builders import File, folder, link, make_deb, program, special, write_inputs

HARD = b"1"


def build(
    top: Path,
    packages: Mapping[str, Sequence[Tuple[str, File]]],
    lower: Optional[Tree] = None,
    **spec: Any,
) -> Tree:
    """The tree of `packages`: what each holds, by its name."""
    debs = {name: make_deb(entries, name=name) for name, entries in packages.items()}
    read, lock = write_inputs(top, debs, **spec)
    return build_tree(read, lock, str(top / "debs"), lower or Tree())


def texts(tree: Tree) -> Dict[str, bytes]:
    return {path: e.content.read() for path, e in tree.entries.items() if e.content is not None}


def test_files_links_and_folders_of_packages_are_there(tmp_path: Path) -> None:
    tree = build(
        tmp_path,
        {
            "one": [("./usr/bin/a", b"1"), ("./usr/bin/b", link("a")), ("./var/empty", folder())],
            "two": [("./usr/bin/c", b"3"), ("./usr/bin/d", link("./usr/bin/c", HARD))],
        },
    )
    assert texts(tree) == {"usr/bin/a": b"1", "usr/bin/c": b"3", "usr/bin/d": b"3"}
    assert tree.entries["usr/bin/d"] is tree.entries["usr/bin/c"]
    assert tree.entries["usr/bin/b"].target == "a"
    assert tree.entries["var/empty"].kind is Kind.FOLDER
    assert all(path in tree.entries for path in MOUNT_POINTS)


def test_what_the_spec_says_stands_above_packages(tmp_path: Path) -> None:
    tree = build(
        tmp_path,
        {"tool": [("./etc/hosts", b"theirs"), ("./bin/tool", b"1"), ("./tmp", folder(0o700))]},
        files={"etc/hosts": ["ours"]},
        links={"bin": "usr/bin", "usr/bin/alias": "tool"},
        folders={"tmp": "1777"},
    )
    assert texts(tree) == {"etc/hosts": b"ours\n", "usr/bin/tool": b"1"}
    assert tree.entries["tmp"].mode == 0o1777
    assert tree.entries["bin"].target == "usr/bin"


def test_a_file_that_names_its_interpreter_is_a_program(tmp_path: Path) -> None:
    files = {"usr/bin/cc": ["#!/bin/sh", 'exec gcc "$@"'], "etc/hosts": ["127.0.0.1 localhost"]}
    tree = build(tmp_path, {"tool": [("./x", b"1")]}, files=files)
    assert tree.entries["usr/bin/cc"].mode == 0o755
    assert tree.entries["etc/hosts"].mode == 0o644


def test_texts_of_packages_are_edited(tmp_path: Path) -> None:
    edits = {
        "usr/include/x.h": [
            {"find": "^#define (X|Y) 1$", "replace": r"/* \1 */", "times": 2, "why": "too new"}
        ]
    }
    text = b"#define X 1\n#define Y 1\n#define Z 1\n"
    tree = build(tmp_path, {"tool": [("./usr/include/x.h", text)]}, edits=edits)
    assert texts(tree) == {"usr/include/x.h": b"/* X */\n/* Y */\n#define Z 1\n"}


def test_left_out_paths_go_with_what_is_below_and_kept_ones_stay(tmp_path: Path) -> None:
    doc = "./usr/share/doc/tool/"
    tree = build(
        tmp_path,
        {"tool": [(doc + "README", b"1"), (doc + "copyright", b"2"), ("./usr/share/man/x", b"3")]},
        leave_out={"usr/share/doc/*/*": "documentation", "usr/share/man": "documentation"},
        keep=["usr/share/doc/*/copyright"],
    )
    assert texts(tree) == {"usr/share/doc/tool/copyright": b"2"}


def test_a_hard_link_survives_when_its_file_is_left_out(tmp_path: Path) -> None:
    tree = build(
        tmp_path,
        {"tool": [("./a", b"1"), ("./b", link("./a", HARD))]},
        leave_out={"a": "for the test"},
    )
    assert texts(tree) == {"b": b"1"}


def test_the_same_file_in_two_packages_is_no_fault(tmp_path: Path) -> None:
    files = [("./usr/share/x", b"same")]
    assert texts(build(tmp_path, {"one": files, "two": files})) == {"usr/share/x": b"same"}


def test_a_folder_may_be_a_link_in_another_package(tmp_path: Path) -> None:
    tree = build(
        tmp_path,
        {
            "one": [("./usr/doc/real", folder()), ("./usr/doc/alias", link("real"))],
            "two": [("./usr/doc/alias", folder()), ("./usr/doc/alias/f", b"1")],
        },
    )
    assert texts(tree) == {"usr/doc/real/f": b"1"}


def test_layers_below_are_part_of_the_tree(tmp_path: Path) -> None:
    lower = Tree()
    lower.put("usr/bin/a", text_entry("1"))
    lower.put("bin", build(tmp_path, {"tool": [("./x", link("usr/bin"))]}).entries["x"])
    (tmp_path / "upper").mkdir()
    tree = build(
        tmp_path / "upper",
        {"tool": [("./usr/bin/a", b"1"), ("./bin/b", b"2")]},
        lower=lower,
        links={"usr/bin/c": "a"},
    )
    assert texts(tree.without(lower)) == {"usr/bin/b": b"2"}
    assert "usr/bin/c" in tree.without(lower).entries
    assert "b" not in texts(lower)


def make_elf(*libraries: str) -> bytes:
    """A file with one dynamic segment that asks for `libraries`."""
    names = b"\0" + b"".join(library.encode() + b"\0" for library in libraries)
    base = 64 + 2 * 56
    entries, at = b"", 1
    for library in libraries:
        entries += struct.pack("<qQ", 1, at)
        at += len(library) + 1
    for tag, value in ((5, base), (10, len(names)), (0, 0)):
        entries += struct.pack("<qQ", tag, value)
    size = base + len(names) + len(entries)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 1)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, base + len(names), 0, 0, len(entries), 0, 1)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return head + load + dynamic + names + entries


def test_libraries_are_found_in_library_folders_through_links_and_beside(tmp_path: Path) -> None:
    lib = "./usr/lib/x86_64-linux-gnu/"
    tree = build(
        tmp_path,
        {
            "tool": [
                ("./usr/bin/tool", make_elf("liba.so.1", "libb.so.2")),
                (lib + "liba.so.1", link("liba.so.1.0")),
                (lib + "liba.so.1.0", b"x"),
                ("./lib/libb.so.2", b"x"),
                (lib + "gconv/C.so", make_elf("libD.so")),
                (lib + "gconv/libD.so", b"x"),
            ]
        },
        links={"lib": "usr/lib"},
    )
    assert texts(tree)["usr/lib/x86_64-linux-gnu/liba.so.1.0"] == b"x"


# What is in the packages, what the spec says, what the message says, found and the way out.
BAD: Dict[str, Tuple[Mapping[str, List[Tuple[str, File]]], Dict[str, Any], str, str, str]] = {
    "one path, two contents": (
        {"one": [("./f", b"1"), ("./g", b"1")], "two": [("./f", b"2"), ("./g", b"2")]},
        {},
        "packages of the image have different entries at the same path",
        "1. /f differs between two and one\n2. /g differs between two and one",
        'or the path to "leave_out"',
    ),
    "one path, two modes": (
        {"one": [("./f", program(0o644))], "two": [("./f", program(0o755))]},
        {},
        "different entries",
        "/f differs between two and one",
        "leave_out",
    ),
    "a folder in place of a file": (
        {"one": [("./f", b"1")], "two": [("./f", folder())]},
        {},
        "different entries",
        "/f differs between two and one",
        "leave_out",
    ),
    "a pattern that matches nothing": (
        {"tool": [("./f", b"1")]},
        {"leave_out": {"usr/shar": "documentation"}},
        '"image.json" leaves out paths that no package has',
        "1. usr/shar",
        "remove these lines",
    ),
    "an edit that no longer fits": (
        {"tool": [("./a.h", b"#define X 2\n")]},
        {"edits": {"a.h": [{"find": "X 1", "replace": "X 0", "why": "x"}]}},
        '"image.json" has edits that do not match their files',
        "1. /a.h: 'X 1' matches 0 times, not 1",
        "the packages have changed",
    ),
    "an edit of a file that is not there": (
        {"tool": [("./a.h", b"1")]},
        {"edits": {"b.h": [{"find": "1", "replace": "2", "why": "x"}]}},
        "has edits that do not match their files",
        "1. /b.h: '1' matches 0 times, not 1",
        "correct the patterns",
    ),
    "a link surface without a policy": (
        {"tool": [("./a.h", b"1")]},
        {"link_surface": {"folder": "stubs", "links_in": "usr/lib"}},
        '"image.json" has a link surface, but the image has no ABI policy',
        "",
        'abi_policy="abi.toml"',
    ),
    "a link that leads nowhere": (
        {"tool": [("./usr/bin/mawk", b"1")]},
        {"links": {"usr/bin/awk": "gawk"}},
        '"image.json" has links with missing targets',
        "1. usr/bin/awk -> gawk",
        "correct the targets",
    ),
    "a library that is not there": (
        {"tool": [("./usr/bin/watch", make_elf("libncursesw.so.6"))]},
        {},
        "programs or libraries of the image need missing libraries",
        "1. /usr/bin/watch needs libncursesw.so.6",
        'package from "cut"',
    ),
    "a device": (
        {"tool": [("./dev/sda", special(b"4"))]},
        {},
        'the package "tool" contains a device',
        "dev/sda",
        'add "tool" to "cut", or remove it from "wanted"',
    ),
    "a name that leaves the root": (
        {"tool": [("./../../etc/passwd", b"1")]},
        {},
        '"tool" has an entry outside the root',
        "./../../etc/passwd",
        'add "tool" to "cut"',
    ),
    "a hard link to outside": (
        {"tool": [("./x", link("../../etc/shadow", HARD))]},
        {},
        '"tool" has an entry outside the root',
        "../../etc/shadow",
        'add "tool" to "cut"',
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_told_with_what_to_change(case: str, tmp_path: Path) -> None:
    files, spec, what, found, way_out = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        build(tmp_path, files, **spec)
    assert what in caught.value.what
    assert found in caught.value.found
    assert way_out in caught.value.next


WRONG_FILES: Dict[str, Tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: path.unlink(), "cannot read the package", "No such file"),
    "shorter": (
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "does not match the lock",
        "",
    ),
    "longer": (
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        "does not match the lock",
        "",
    ),
    "one bit": (
        lambda path: path.write_bytes(path.read_bytes().replace(b"2.0\n", b"2.1\n")),
        "does not match the lock",
        "SHA-256",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_is_not_the_locked_package_is_named(case: str, tmp_path: Path) -> None:
    change, what, found = WRONG_FILES[case]
    spec, lock = write_inputs(tmp_path, {"tool": make_deb()})
    change(next((tmp_path / "debs").iterdir()))
    with pytest.raises(SlipwayError) as caught:
        build_tree(spec, lock, str(tmp_path / "debs"), Tree())
    assert 'the package "tool 1.0-1"' in caught.value.what
    assert what in caught.value.what
    assert found in caught.value.found
    assert caught.value.where.endswith(lock.packages[0].sha256 + ".deb")
    assert caught.value.next == "run the same command again, which fetches the package again"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"name": "other"}, "Package: other"),
        ({"version": "2"}, "Version: 2"),
        ({"architecture": "arm64"}, "Architecture: arm64"),
    ],
)
def test_a_package_that_says_otherwise_of_itself_is_refused(
    changed: Dict[str, str], found: str, tmp_path: Path
) -> None:
    spec, lock = write_inputs(tmp_path, {"tool": make_deb(**changed)})  # type: ignore[arg-type]
    with pytest.raises(SlipwayError, match="contradicts the lock") as caught:
        build_tree(spec, lock, str(tmp_path / "debs"), Tree())
    assert caught.value.found == found


def test_packages_are_looked_up_by_their_hash(tmp_path: Path) -> None:
    deb = make_deb()
    write_inputs(tmp_path, {"tool": deb})
    assert [p.name for p in (tmp_path / "debs").iterdir()] == [
        hashlib.sha256(deb).hexdigest() + ".deb"
    ]
