"""Archives from outside: unusual archives are rejected, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.archive import package_tarball
from slipway.core.errors import SlipwayError, SlipwayErrors
from tests.places import SOURCES

TOP = str(SOURCES)
Part = Tuple[str, Dict[str, Any]]


def member(name: str, content: bytes = b"", **facts: Any) -> Tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def make_tgz(*members: Tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A package with a sound package.json and `members`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, content in (member("package/package.json", b"{}"), *members):
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def check(folder: Path, data: bytes) -> None:
    (folder / "package.tgz").write_bytes(data)
    package_tarball.check(str(folder / "package.tgz"), "odd@1.0.0")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Tuple[tarfile.TarInfo, bytes]:
    return member(name, linkname=target, type=kind)


HOSTILE = {
    "a name that leaves": (
        member("package/../../up"),
        '"package/../../up": its name leaves the package',
    ),
    "an absolute name": (member("/etc/passwd"), '"/etc/passwd": an absolute name'),
    "a link that leaves": (
        link("package/a/up", "../../../etc"),
        '"package/a/up": a symlink out of the package: "../../../etc"',
    ),
    "a link that leaves by one step": (
        link("package/up", "../up"),
        '"package/up": a symlink out of the package: "../up"',
    ),
    "a link that leaves and returns": (
        link("package/a", "../../package/x"),
        '"package/a": a symlink out of the package: "../../package/x"',
    ),
    "an absolute link": (
        link("package/passwd", "/etc/passwd"),
        '"package/passwd": a symlink out of the package: "/etc/passwd"',
    ),
    "a device": (
        member("package/null", type=tarfile.CHRTYPE),
        '"package/null": a device, pipe or socket',
    ),
    "a pipe": (
        member("package/pipe", type=tarfile.FIFOTYPE),
        '"package/pipe": a device, pipe or socket',
    ),
    "a set-uid file": (
        member("package/su", b"x", mode=0o4755),
        '"package/su": a set-uid or set-gid file',
    ),
    "a set-gid file": (
        member("package/sg", b"x", mode=0o2755),
        '"package/sg": a set-uid or set-gid file',
    ),
    "a name that is not UTF-8": (
        member("package/\udcff"),
        "b'package/\\xff': its name is not UTF-8 or contains a control character",
    ),
    "a line break in a name": (
        member("package/a\nb"),
        "b'package/a\\nb': its name is not UTF-8 or contains a control character",
    ),
}


@pytest.mark.parametrize(("odd", "fault"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_not_belong_into_a_release_is_refused(
    tmp_path: Path, odd: Tuple[tarfile.TarInfo, bytes], fault: str
) -> None:
    with pytest.raises(SlipwayErrors) as caught:
        check(tmp_path, make_tgz(odd))
    assert caught.value.what == (
        'the package "odd@1.0.0" contains entries that a release must not contain'
    )
    assert caught.value.faults == (fault,)
    assert "use another version" in caught.value.next
    target = tmp_path / "unpacked"
    with pytest.raises(SlipwayErrors):
        package_tarball.unpack(str(tmp_path / "package.tgz"), "odd@1.0.0", str(target))
    assert list(target.iterdir()) == []


def test_all_faults_are_told_at_once_and_many_are_counted(tmp_path: Path) -> None:
    with pytest.raises(SlipwayErrors) as caught:
        check(tmp_path, make_tgz(*(member(f"/{n}") for n in range(14))))
    assert len(caught.value.faults) == 11
    assert caught.value.faults[-1] == "… and 4 more"


def test_what_ordinary_packages_hold_is_let_through(tmp_path: Path) -> None:
    check(
        tmp_path,
        make_tgz(
            member("package/bin/cli.js", b"#!/usr/bin/env node\n", mode=0o755),
            member("package/Ünï-☃.txt", b"x"),
            member("package/folder", type=tarfile.DIRTYPE, mode=0o755),
            link("package/lib/main.js", "../bin/cli.js"),
            member("package/" + "deep/" * 60 + "file", b"x"),
            member("package/file", b"x", mode=0o1644),
        ),
    )


def test_unpacking_drops_the_top_folder_and_keeps_two_modes(tmp_path: Path) -> None:
    (tmp_path / "p.tgz").write_bytes(
        make_tgz(
            member("package/bin/cli", b"x", mode=0o711),
            member("package/data", b"first", mode=0o666),
            member("package/data", b"second", mode=0o600),
            link("package/link", "bin/cli"),
        )
    )
    package_tarball.unpack(str(tmp_path / "p.tgz"), "p@1.0.0", str(tmp_path / "p"))
    assert (tmp_path / "p" / "data").read_bytes() == b"second"
    assert (tmp_path / "p" / "bin" / "cli").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "p" / "data").stat().st_mode & 0o7777 == 0o644
    assert os.readlink(tmp_path / "p" / "link") == "bin/cli"


def test_a_link_does_not_carry_a_later_file_out_of_the_package(tmp_path: Path) -> None:
    """A folder that became a link would let `link/file` be written behind it."""
    (tmp_path / "p.tgz").write_bytes(
        make_tgz(link("package/link", "."), member("package/link/../escaped", b"x"))
    )
    with pytest.raises(SlipwayErrors, match="leaves the package"):
        package_tarball.unpack(str(tmp_path / "p.tgz"), "p@1.0.0", str(tmp_path / "p"))


UNSOUND: Dict[str, Tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[: len(data) // 2], '"odd@1.0.0" is truncated'),
    "no gzip": (lambda data: b"<html>404</html>" * 50, '"odd@1.0.0" is not a valid tar archive'),
    "empty": (lambda data: b"", '"odd@1.0.0" is not a valid tar archive'),
    "damaged": (lambda data: data[:40] + b"\xff\xff\xff" + data[43:], '"odd@1.0.0" is'),
    "a tar cut off in gzip": (
        lambda data: gzip.compress(gzip.decompress(data)[:700]),
        '"odd@1.0.0" is not a valid tar archive',
    ),
}


@pytest.mark.parametrize(("spoil", "text"), UNSOUND.values(), ids=UNSOUND)
def test_what_is_no_archive_is_said_to_be_none(
    tmp_path: Path, spoil: Callable[[bytes], bytes], text: str
) -> None:
    with pytest.raises(SlipwayError) as caught:
        check(tmp_path, spoil(make_tgz(member("package/a", b"x" * 5000))))
    assert caught.value.what.startswith(text)


_CHECK = """\
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from slipway.archive import package_tarball
started = time.process_time()
try:
    package_tarball.check(sys.argv[2], "bomb@1.0.0")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.process_time() - started)
"""


def check_apart(path: Path) -> Tuple[str, int, float]:
    """The message, the memory in MB and the seconds of a check in a separate process."""
    argv = [sys.executable, "-I", "-S", "-B", "-c", _CHECK, TOP, str(path)]
    # No file of more than 3 GB: a bomb must not fill the disk first.
    limit = (3 << 30, 3 << 30)
    said = subprocess.check_output(
        argv,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    message, _, facts = said.rstrip().rpartition("\n")
    memory, seconds = facts.split()
    return message, int(memory), float(seconds)


def test_ten_gigabytes_are_given_up_at_one(tmp_path: Path) -> None:
    """A gzip of one block, repeated: each MB of the archive is 1 GB of zeros."""
    header = member("package/big", size=10 << 30)[0].tobuf(tarfile.GNU_FORMAT)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(tmp_path / "bomb.tgz", "wb") as file:
        file.write(packer.compress(header))
        zeros = bytes(1 << 24)
        # Blocks that were flushed in the same way can be repeated, so writing the file is fast.
        file.write(packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH))
        block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
        for _ in range(10 << 30 >> 24):
            file.write(block)
    message, memory, seconds = check_apart(tmp_path / "bomb.tgz")
    assert message.splitlines() == [
        'SlipwayError: "bomb@1.0.0" is too large',
        f"  found: more than {1 << 30} bytes after decompression",
        "  next:  use another version of the package, or report this one to its registry",
    ]
    assert memory < 200
    assert seconds < 30


def test_a_million_entries_are_given_up_early(tmp_path: Path) -> None:
    entry = member("package/x")[0].tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(tmp_path / "many.tgz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(entry * 10_000)
        file.write(bytes(1024))
    message, memory, seconds = check_apart(tmp_path / "many.tgz")
    assert message.splitlines() == [
        'SlipwayError: "bomb@1.0.0" is too large',
        "  found: more than 100000 entries",
        "  next:  use another version of the package, or report this one to its registry",
    ]
    assert memory < 200
    assert seconds < 30


SOUND = make_tgz(
    member("package/a", b"some text " * 100, mode=0o755),
    member("package/" + "long/" * 40, b"x"),
    link("package/link", "a"),
    member("package/folder", type=tarfile.DIRTYPE),
)
PLAIN = gzip.decompress(SOUND)
Change = Tuple[int, Union[int, bytes]]


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=12)), max_size=6
    ),
    cut=st.none() | st.integers(0, len(PLAIN)),
    packed=st.booleans(),
)
def test_whatever_bytes_come_they_pass_or_end_in_words(
    tmp_path_factory: pytest.TempPathFactory, changes: List[Change], cut: Any, packed: bool
) -> None:
    """Changes inside the tar, where they matter, or in the compressed bytes."""
    data = bytearray(PLAIN if packed else SOUND)
    for at, new in changes:
        assert isinstance(new, bytes)
        data[at % len(data) : at % len(data) + len(new)] = new
    data = data[:cut]
    folder = tmp_path_factory.getbasetemp()
    started = time.monotonic()
    said = "odd@1.0.0"
    try:
        check(folder, gzip.compress(bytes(data), 1) if packed else bytes(data))
    except SlipwayError as error:
        said = str(error)
    assert "odd@1.0.0" in said
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("target", ["package/package.json", "/etc/passwd", "../../up"])
def test_hard_links_are_refused_only_where_npm_does_not_skip_them(
    tmp_path: Path, target: str
) -> None:
    data = make_tgz(link("package/hard", target, tarfile.LNKTYPE))
    check(tmp_path, data)
    with pytest.raises(SlipwayErrors, match=r'1\. "package/hard": a hard link to '):
        package_tarball.unpack(str(tmp_path / "package.tgz"), "odd@1.0.0", str(tmp_path / "odd"))
