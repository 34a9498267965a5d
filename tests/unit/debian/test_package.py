"""Reading packages: real packages as dpkg reads them, and errors for invalid packages."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.debian.package import read_package
from tests.unit.debian.builders import link, make_ar, make_deb, make_tar
from tests.unit.debian.real_packages import fetch_packages

# Small packages that together have folders, links of both kinds, programs and set-uid bits.
REAL = ("base-files", "dash", "gzip", "hostname", "libc-bin", "procps", "zlib1g")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    return fetch_packages(tmp_path_factory.mktemp("debs"), REAL)


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not on this machine")
@pytest.mark.parametrize("name", REAL)
def test_a_real_package_is_read_as_dpkg_reads_it(name: str, real: Dict[str, Path]) -> None:
    package = read_package(real[name].read_bytes(), name)
    command = ["dpkg-deb", "--fsys-tarfile", str(real[name])]
    listing = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(listing), mode="r:") as tar:
        theirs = [
            (info.name.rstrip("/"), info.mode, info.linkname, sha256(content(tar, info)))
            for info in tar
        ]
    ours = [
        (m.name.rstrip("/"), m.mode, m.target, sha256(package.data[m.offset : m.offset + m.size]))
        for m in package.members
    ]
    assert ours == theirs
    assert package.control["Package"] == name


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info) if info.isreg() else None
    return file.read() if file else b""


@pytest.mark.parametrize("compression", ["", ".gz", ".xz"])
def test_every_compression_of_packages_is_read(compression: str) -> None:
    package = read_package(make_deb(compression=compression, version="2:1~x"), "tool")
    assert package.control == {"Package": "tool", "Version": "2:1~x", "Architecture": "amd64"}
    assert [(m.name, m.kind) for m in package.members] == [
        ("./", Kind.FOLDER),
        ("./usr/bin/tool", Kind.FILE),
    ]


def parts(**changed: bytes) -> bytes:
    members = {
        "debian-binary": b"2.0\n",
        "control.tar": make_tar([("./control", b"Package: tool\n")]),
        "data.tar": make_tar([("./f", b"1"), ("./l", link("f"))]),
    }
    members.update({name.replace("_", "."): value for name, value in changed.items()})
    return make_ar([(name, value) for name, value in members.items() if value])


WHOLE = make_deb()
LABEL = "tool 1.0-1, debs/ab.deb"
BAD: Dict[str, Tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is not a Debian package"),
    "an error page": (lambda: b"<html>not found</html>", "is not a Debian package"),
    "format of tomorrow": (lambda: WHOLE.replace(b"2.0\n", b"3.0\n", 1), "of format 2"),
    "no control": (lambda: parts(control_tar=b""), "must have exactly one control.tar"),
    "no data": (lambda: parts(data_tar=b""), "must have exactly one data.tar"),
    "two data": (lambda: parts(data_tar_gz=b"x"), "must have exactly one data.tar"),
    "damaged ar header": (lambda: WHOLE[:66] + b"?" + WHOLE[67:], "damaged ar header"),
    "cut off": (lambda: WHOLE[:-40], f"is truncated\n  in:    {LABEL}, byte "),
    "cut off in a header": (lambda: WHOLE[:40], "damaged ar header"),
    "control without control": (
        lambda: parts(control_tar=make_tar([("./md5sums", b"")])),
        "has no control file",
    ),
    "control of two packages": (
        lambda: parts(control_tar=make_tar([("control", b"Package: a\n\nPackage: b\n")])),
        "has no control file with exactly one stanza",
    ),
    "data that is not an archive": (lambda: parts(data_tar=b"x" * 1024), "not a valid tar archive"),
    "data in zstd": (lambda: make_deb(compression=".zst"), "zstd, which Slipway does not"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_package_is_named(case: str) -> None:
    make, text = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read_package(make(), LABEL)
    assert LABEL in caught.value.what
    assert text in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([make_deb(compression=form) for form in ("", ".gz", ".xz")]),
    st.lists(st.tuples(st.integers(0, 12000), st.binary(min_size=1, max_size=8)), max_size=3),
    st.integers(0, 4),
)
def test_a_damaged_package_gives_a_package_or_words(
    deb: bytes, changes: List[Tuple[int, bytes]], quarters: int
) -> None:
    damaged = bytearray(deb[: len(deb) * (4 - quarters) // 4] if quarters else deb)
    for place, new in changes:
        at = place % len(deb)
        damaged[at : at + len(new)] = new
    text = "tool"
    try:
        read_package(bytes(damaged), "tool")
    except SlipwayError as error:
        text = error.what
    assert "tool" in text
