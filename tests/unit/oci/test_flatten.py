"""A ready image as a root: stacked layers, and rejection of hostile images."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.archive.rootfs import MOUNT_POINTS, write_layer
from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.oci.flatten import ReadyImage, read_ready_image
from tests.unit.debian.builders import (
    BASE_LAYER,
    File,
    folder,
    link,
    make_docker_archive,
    make_oci_archive,
    make_tar,
    program,
    special,
)

Entries = Sequence[Tuple[str, File]]


def read(top: Path, archive: bytes) -> ReadyImage:
    (top / "image.tar").write_bytes(archive)
    (top / "scratch").mkdir(exist_ok=True)
    return read_ready_image(str(top / "image.tar"), str(top / "scratch"))


def stack(top: Path, *layers: Entries) -> Dict[str, str]:
    """The tree of `layers` above a minimal image: files by content, links by target."""
    image = read(top, make_docker_archive([make_tar(BASE_LAYER), *map(make_tar, layers)]))
    own = {name for name, _ in BASE_LAYER}
    return {
        path: entry.content.read().decode() if entry.content else "-> " + entry.target
        for path, entry in image.tree.entries.items()
        if entry.kind is not Kind.FOLDER and path not in own
    }


def test_an_upper_layer_replaces_and_adds(tmp_path: Path) -> None:
    lower: Entries = [("a", b"1"), ("b/c", b"2"), ("l", link("a"))]
    upper: Entries = [("a", b"new"), ("b/d", b"3"), ("l", b"file now")]
    assert stack(tmp_path, lower, upper) == {
        "a": "new",
        "b/c": "2",
        "b/d": "3",
        "l": "file now",
    }


def test_a_whiteout_hides_a_file_and_a_whole_folder(tmp_path: Path) -> None:
    lower: Entries = [("a/x", b"1"), ("a/y", b"2"), ("b/c/d", b"3"), ("bc", b"4")]
    upper: Entries = [("a/.wh.x", b""), (".wh.b", b""), (".wh.never-there", b"")]
    assert stack(tmp_path, lower, upper) == {"a/y": "2", "bc": "4"}


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_never_hides_what_its_own_layer_brings(first: bool, tmp_path: Path) -> None:
    lower: Entries = [("d/old", b"1"), ("e/old", b"1")]
    upper: List[Tuple[str, File]] = [("d/.wh..wh..opq", b""), (".wh.e", b"")]
    new: List[Tuple[str, File]] = [("d/new", b"2"), ("e/new", b"2")]
    layer = upper + new if first else new + upper
    assert stack(tmp_path, lower, layer) == {"d/new": "2", "e/new": "2"}


def test_an_opaque_root_hides_everything_below(tmp_path: Path) -> None:
    archive = [make_tar([("gone", b"1")]), make_tar([(".wh..wh..opq", b""), *BASE_LAYER])]
    assert "gone" not in read(tmp_path, make_docker_archive(archive)).tree.entries


def test_a_whiteout_goes_through_links_of_lower_layers(tmp_path: Path) -> None:
    lower: Entries = [("usr/lib/x", b"1"), ("lib", link("usr/lib"))]
    assert stack(tmp_path, lower, [("lib/.wh.x", b""), ("lib/y", b"2")]) == {
        "lib": "-> usr/lib",
        "usr/lib/y": "2",
    }


def test_book_keeping_of_old_engines_is_dropped(tmp_path: Path) -> None:
    layer: Entries = [(".wh..wh.plnk", folder()), (".wh..wh.plnk/1.2", b"x"), (".wh..wh.aufs", b"")]
    assert stack(tmp_path, layer) == {}


def test_hard_links_reach_into_lower_layers(tmp_path: Path) -> None:
    hard = link("a", tarfile.LNKTYPE)
    assert stack(tmp_path, [("a", b"1")], [("b", hard), ("a", b"2")]) == {"a": "2", "b": "1"}


@pytest.mark.parametrize("target", ["/etc", "../../../etc", "/../../etc"])
def test_links_are_followed_inside_the_root_only(target: str, tmp_path: Path) -> None:
    found = stack(tmp_path, [("x/link", link(target))], [("x/link/motd", b"inside")])
    assert found == {"x/link": "-> " + target, "etc/motd": "inside"}


def test_devices_and_set_id_bits_are_dropped_and_counted(tmp_path: Path) -> None:
    layer: Entries = [
        ("dev/null", special(tarfile.CHRTYPE)),
        ("run/pipe", special(tarfile.FIFOTYPE)),
        ("bin/su", program(0o4755)),
        ("bin/wall", program(0o2755)),
    ]
    image = read(tmp_path, make_docker_archive([make_tar([*BASE_LAYER, *layer])]))
    assert image.left_out == {"devices": 2, "set_id_bits": 2}
    assert "dev/null" not in image.tree.entries
    assert image.tree.entries["bin/su"].mode == 0o755


def test_a_step_finds_its_user_and_its_mount_points(tmp_path: Path) -> None:
    image = read(tmp_path, make_docker_archive([make_tar(BASE_LAYER)]))
    passwd = image.tree.entries["etc/passwd"].content
    assert passwd
    assert passwd.read().decode().splitlines() == [
        "root:x:0:0:root:/root:/bin/sh",
        "build:x:1000:1000:build:/home/build:/bin/sh",
    ]
    assert all(path in image.tree.entries for path in MOUNT_POINTS)


def test_a_user_1000_of_the_image_stays(tmp_path: Path) -> None:
    theirs = b"root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n"
    layers = [make_tar(BASE_LAYER), make_tar([("etc/passwd", theirs)])]
    passwd = read(tmp_path, make_docker_archive(layers)).tree.entries["etc/passwd"].content
    assert passwd
    assert passwd.read() == theirs


SAMPLE = [make_tar([*BASE_LAYER, ("a", b"1")]), make_tar([(".wh.a", b""), ("b", b"2")])]
FORMS: Dict[str, Callable[[], bytes]] = {
    "docker": lambda: make_docker_archive(SAMPLE),
    "docker, gzip layers": lambda: make_docker_archive(SAMPLE, compression=".gz"),
    "docker, all under gzip": lambda: gzip.compress(make_docker_archive(SAMPLE)),
    "oci, plain layers": lambda: make_oci_archive(SAMPLE, compression=""),
    "oci, gzip layers": lambda: make_oci_archive(SAMPLE),
    "oci, index of platforms": lambda: make_oci_archive(SAMPLE, nested=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_image_gives_the_same_layer(form: str, tmp_path: Path) -> None:
    image = read(tmp_path, FORMS[form]())
    written = write_layer(image.tree, str(tmp_path / "layer"), 0)
    first = read(tmp_path, FORMS["docker"]())
    assert written == write_layer(first.tree, str(tmp_path / "first"), 0)
    assert {"a", "b"} & set(image.tree.entries) == {"b"}


def test_the_image_id_is_the_hash_of_the_configuration(tmp_path: Path) -> None:
    archive = make_docker_archive(SAMPLE)
    with tarfile.open(tmp_path / "x", "w"):
        pass
    (tmp_path / "x").write_bytes(archive)
    with tarfile.open(tmp_path / "x") as tar:
        config = tar.extractfile("config.json")
        assert config
        expected = "sha256:" + hashlib.sha256(config.read()).hexdigest()
    assert read(tmp_path, archive).image_id == expected


def test_equal_layers_that_old_engines_link_are_found(tmp_path: Path) -> None:
    layer = make_tar(BASE_LAYER)
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest, digest]}}
    manifest = [{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]
    archive = make_tar(
        [
            ("c.json", json.dumps(config).encode()),
            ("1/layer.tar", layer),
            ("2/layer.tar", link("../1/layer.tar")),
            ("manifest.json", json.dumps(manifest).encode()),
        ]
    )
    assert "bin/sh" in read(tmp_path, archive).tree.entries


def hostile(*entries: Tuple[str, File]) -> bytes:
    return make_docker_archive([make_tar([*BASE_LAYER, *entries])])


HARD = tarfile.LNKTYPE
BAD: Dict[str, Tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a valid tar archive"),
    "no archive": (lambda: b"PK\x03\x04" + bytes(2000), "not a valid tar archive"),
    "another tar": (lambda: make_tar([("package.json", b"{}")]), "is not an image archive"),
    "cut off": (lambda: make_docker_archive(SAMPLE)[:3000], "not a valid tar archive"),
    "cut-off gzip": (lambda: gzip.compress(make_docker_archive(SAMPLE))[:-9], "is truncated"),
    "layer missing": (
        lambda: make_docker_archive(SAMPLE, leave_out=["layer1/layer.tar"]),
        "names a file that it does not contain",
    ),
    "configuration missing": (
        lambda: make_docker_archive(SAMPLE, leave_out=["config.json"]),
        "names a file that it does not contain",
    ),
    "wrong hash of a layer": (
        lambda: make_docker_archive(SAMPLE, diff_ids=["sha256:" + "0" * 64] * 2),
        "does not match the hash in the configuration",
    ),
    "more layers than listed": (
        lambda: make_docker_archive(SAMPLE, diff_ids=["sha256:" + "0" * 64]),
        "has 2 layers, but its configuration lists 1",
    ),
    "hash of no kind": (
        lambda: make_docker_archive(SAMPLE, diff_ids=["md5:1", "md5:2"]),
        "a SHA-256 digest at $.rootfs.diff_ids[0]",
    ),
    "another machine": (
        lambda: make_docker_archive(SAMPLE, config={"architecture": "arm64"}),
        '"amd64" at $.architecture',
    ),
    "another system": (
        lambda: make_docker_archive(SAMPLE, config={"os": "windows"}),
        '"linux" at $.os',
    ),
    "layer in zstd": (
        lambda: make_docker_archive(SAMPLE, compression=".zst"),
        "zstd, which Slipway does not",
    ),
    "manifest no JSON": (lambda: make_tar([("manifest.json", b"{")]), "is not JSON"),
    "manifest nested deep": (lambda: make_tar([("manifest.json", b"[" * 99999)]), "is not JSON"),
    "manifest of two images": (
        lambda: make_tar([("manifest.json", b"[{}, {}]")]),
        "must contain exactly one image",
    ),
    "manifest of nothing": (lambda: make_tar([("manifest.json", b"[{}]")]), 'the field "Config"'),
    "index of nothing": (
        lambda: make_tar([("index.json", b'{"manifests": []}')]),
        "must contain exactly one image for linux/amd64",
    ),
    "blob under a wrong name": (
        lambda: make_oci_archive(SAMPLE).replace(b'"layers"', b'"Layers"'),
        "does not match its digest",
    ),
    "no shell": (
        lambda: make_docker_archive([make_tar(BASE_LAYER[1:])]),
        "lacks programs that every build step needs",
    ),
    "no layers at all": (
        lambda: make_docker_archive([]),
        "lacks programs that every build step needs",
    ),
    "name with dots": (lambda: hostile(("../../etc/x", b"1")), "an entry outside the root"),
    "dots in the middle": (lambda: hostile(("a/../../x", b"1")), "an entry outside the root"),
    "absolute name": (lambda: hostile(("/etc/x", b"1")), "an entry outside the root"),
    "hard link to outside": (
        lambda: hostile(("x", link("../../etc/shadow", HARD))),
        "an entry outside the root",
    ),
    "hard link to an absolute name": (
        lambda: hostile(("x", link("/etc/shadow", HARD))),
        "an entry outside the root",
    ),
    "hard link to nothing": (
        lambda: hostile(("x", link("missing", HARD))),
        "a hard link to a missing file",
    ),
    "hard link to a folder": (
        lambda: hostile(("x", link("bin", HARD))),
        "a hard link to a missing file",
    ),
    "links that go round": (
        lambda: hostile(("a", link("b")), ("b", link("a")), ("a/x", b"1")),
        "has too many symlinks",
    ),
    "below a file": (lambda: hostile(("bin/sh/x", b"1")), "which is not a folder"),
    "root that is a link": (lambda: hostile((".", link("/etc"))), "has a root that is a"),
    "whiteout of nothing": (lambda: hostile(("bin/.wh.", b"")), "a whiteout without a name"),
    "whiteout of the parent": (lambda: hostile(("a/b/.wh...", b"")), "a whiteout without a name"),
    "endless name": (lambda: hostile(("a/" * 3000 + "x", b"1")), "a too long name"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_refused_with_the_way_out(case: str, tmp_path: Path) -> None:
    make, text = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, make())
    assert text in caught.value.what
    assert str(tmp_path / "image.tar") in str(caught.value)
    assert caught.value.next


def test_the_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, make_docker_archive([make_tar([("etc/x", b"")])]))
    assert "/bin/sh" in caught.value.found


def test_an_old_system_without_python_3_is_an_image_too(tmp_path: Path) -> None:
    found = read(tmp_path, make_docker_archive([make_tar([BASE_LAYER[0]])]))
    assert BASE_LAYER[0][0] in found.tree.entries


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.sampled_from(sorted(FORMS)),
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=6)), max_size=3
    ),
    cut=st.integers(0, 3),
)
def test_a_damaged_archive_gives_a_tree_or_words(
    form: str, changes: List[Tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    whole = FORMS[form]()
    damaged = bytearray(whole[: len(whole) * (4 - cut) // 4])
    for place, new in changes:
        at = place % len(damaged)
        damaged[at : at + len(new)] = new
    result: Any = None
    try:
        result = read(tmp_path, bytes(damaged))
    except SlipwayError as error:
        result = error
    assert result is not None
