"""Layers: the same bytes from the same files, and readable by every common tool."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.archive import layers
from slipway.core.errors import SlipwayError

NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\0"),
    min_size=1,
    max_size=60,
).filter(lambda name: name not in (".", "..", "-") and len(name.encode()) < 200)


def make_tree(top: Path, files: Dict[str, bytes]) -> Path:
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return top


def write(path: Path, entries: List[layers.Entry], name: str = "app") -> bytes:
    layers.write_layer(str(path), name, entries)
    return path.read_bytes()


def test_bytes_depend_on_names_contents_and_executable_bits_alone(tmp_path: Path) -> None:
    one = make_tree(tmp_path / "one", {"b/z": b"1", "b.c": b"3", "a": b"2"})
    two = make_tree(tmp_path / "two", {"a": b"2", "b.c": b"3", "b/z": b"1"})
    os.utime(two / "a", (1, 1))
    (two / "b").chmod(0o700)
    (two / "b" / "z").chmod(0o640)
    first = write(tmp_path / "1.gz", layers.walk(str(one)))
    assert first == write(tmp_path / "2.gz", layers.walk(str(two)))
    (two / "a").chmod(0o744)
    assert first != write(tmp_path / "3.gz", layers.walk(str(two)))


def test_a_release_is_read_whole_by_python_and_gnu_tar(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"service/app.js": b"x" * 3000, "package.json": b"{}"})
    os.symlink("app.js", tree / "service" / "link")
    layers.write_layer(str(tmp_path / "1"), "one", layers.walk(str(tree)))
    layers.write_layer(
        str(tmp_path / "2"), "two", [layers.Entry("bin/app", "file", True, content=b"#!")]
    )
    release = tmp_path / "release.tar.gz"
    digest, size = layers.write_release(
        str(release),
        [str(tmp_path / "1"), str(tmp_path / "2")],
        [layers.Entry("release.json", "file", content=b"{}\n")],
    )
    assert digest == hashlib.sha256(release.read_bytes()).hexdigest()
    assert size == release.stat().st_size
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xzf", str(release), "-C", str(out)], check=True)
    assert (out / "bin/app").stat().st_mode & 0o777 == 0o755
    assert os.readlink(out / "service/link") == "app.js"
    with tarfile.open(release, "r:gz") as tar:
        assert tar.getnames()[-1] == "release.json"
        assert {"service/app.js", ".release/one.sha256", ".release/two.sha256"} <= set(
            tar.getnames()
        )
    for listing in ("one", "two"):
        subprocess.run(
            ["sha256sum", "-c", "--strict", f".release/{listing}.sha256"], cwd=out, check=True
        )


def test_the_layer_has_no_end_of_archive(tmp_path: Path) -> None:
    data = gzip.decompress(write(tmp_path / "l", [layers.Entry("a", "file", content=b"x")]))
    assert not data.endswith(layers.END_OF_ARCHIVE)


ODD = (
    "a\\b",
    "\\first",
    " lead",
    "trail ",
    "two  spaces",
    "-dash",
    "--check",
    "*",
    "caf\u00e9",
    "a\u2028b",
)


@pytest.mark.parametrize("program", [["sha256sum"], ["busybox", "sha256sum"]])
def test_a_list_of_any_names_is_checked_by_coreutils_and_busybox(
    program: List[str], tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "tree", {name: name.encode() for name in ODD})
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ODD}
    listed = layers.file_list(hashes)
    assert layers.read_file_list(listed.decode()) == hashes
    check = [*program, "-c"]
    # The list of a layer without files is empty, which sha256sum accepts only beside another list.
    listed = layers.file_list({}) + listed
    subprocess.run(check, cwd=tree, input=listed, check=True, stdout=subprocess.DEVNULL)
    (tree / "a\\b").write_bytes(b"changed")
    changed = subprocess.run(check, cwd=tree, input=listed, capture_output=True, check=False)
    assert changed.returncode == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"caf\xe9.txt", "not UTF-8"),
        (b"new\nline", "control character"),
        (b"-", "sha256sum would read standard input"),
    ],
)
def test_names_that_could_be_misread_are_refused(tmp_path: Path, name: bytes, message: str) -> None:
    (tmp_path / "tree").mkdir()
    with open(os.fsencode(str(tmp_path / "tree")) + b"/" + name, "wb"):
        pass
    with pytest.raises(SlipwayError, match=message) as caught:
        write(tmp_path / "l", layers.walk(str(tmp_path / "tree")))
    assert "rename the file" in str(caught.value)


def test_a_fifo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(SlipwayError, match='"pipe" is not a file'):
        layers.walk(str(tmp_path / "tree"))


def compressed(data: bytes, writes: int, workers: int) -> bytes:
    raw = io.BytesIO()
    member = layers.GzipMember(raw, workers=workers)
    for start in range(0, len(data), writes):
        member.write(data[start : start + writes])
    member.close()
    return raw.getvalue()


@pytest.mark.parametrize(
    "size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20, (5 << 20) + 12345]
)
def test_a_member_is_the_same_for_any_writes_and_any_number_of_threads(size: int) -> None:
    block = hashlib.sha256(b"seed").digest() * 3000
    data = b"".join(block[: number * 997 % len(block)] for number in range(1, 200))[:size]
    data += bytes(size - len(data))
    first = compressed(data, max(size, 1), 1)
    assert gzip.decompress(first) == data
    assert compressed(data, 300_007, 1) == compressed(data, 1 << 20, 5) == first


def test_blocks_share_a_window() -> None:
    """What repeats the end of the block before it takes next to nothing."""
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1 << 15))
    alone = len(compressed(noise, len(noise), 2))
    assert len(noise) == 1 << 20
    repeating = noise + noise[-(16 << 10) :]
    assert len(compressed(repeating, len(repeating), 2)) < alone + 1000


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8))
def test_what_is_written_can_be_read_back(files: Dict[str, bytes]) -> None:
    raw = io.BytesIO()
    member = layers.GzipMember(raw)
    tar = layers.LayerTar(member)
    for name, content in sorted(files.items()):
        tar.add(layers.Entry(name, "file", content=content))
    member.write(layers.END_OF_ARCHIVE)
    member.close()
    raw.seek(0)
    with tarfile.open(fileobj=raw, mode="r:gz") as read:
        found = {info.name: read.extractfile(info).read() for info in read}  # type: ignore[union-attr]
    assert found == files
    assert tar.hashes == {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
