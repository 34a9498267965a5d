"""Archives of distributions: on a server and in a folder, signed, by hash, tampered and missing."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping

import pytest

from slipway.runtime.definitions import needs
from slipway.runtime.definitions.trusted_list import LARGEST
from slipway.runtime.programs import read_distribution
from slipway.runtime.programs.read_distribution import ARCHIVE, Arguments, Report
from tests.unit.elf.test_reader import SMALL, content
from tests.unit.fetch.loopback import Page, cut_off, first_fails, serve
from tests.unit.openpgp_signers import Signer, signers
from tests.unit.registry_stub import unused_port
from tests.unit.runtime.programs.network_runs import Run

pytestmark = [
    pytest.mark.skipif(not os.path.exists(SMALL), reason="no x86-64 Debian"),
    pytest.mark.skipif(shutil.which("gpgv") is None, reason="no gpgv on this machine"),
]
NAME = "node-v16.20.2-linux-x64.tar.gz"
LIST, ASC, SIG = "SHASUMS256.txt", "SHASUMS256.txt.asc", "SHASUMS256.txt.sig"
Files = Dict[str, bytes]


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive as Node's releasers make it, with symlinks in `bin`."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, file in files.items():
            info = tarfile.TarInfo(f"node-v16.20.2-linux-x64/{name}")
            info.size = len(file)
            tar.addfile(info, io.BytesIO(file))
        link = tarfile.TarInfo("node-v16.20.2-linux-x64/bin/npm")
        link.type, link.linkname = tarfile.SYMTYPE, "../lib/node_modules/npm/bin/npm-cli.js"
        tar.addfile(link)
    return data.getvalue()


@pytest.fixture(scope="module")
def archive() -> bytes:
    return packed({"bin/node": content(SMALL), "LICENSE": b"MIT"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listed(archive: bytes) -> str:
    return f"{'b' * 64}  node-v16.20.2.pkg\n{sha256(archive)}  {NAME}\n"


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with signers() as make:
        yield make("releaser", kind="ed25519")


def clear_signed(archive: bytes, signer: Signer) -> Files:
    return {NAME: archive, ASC: signer.sign(listed(archive)).encode()}


def detached(archive: bytes, signer: Signer) -> Files:
    text = listed(archive)
    return {NAME: archive, LIST: text.encode(), SIG: signer.gpg("--detach-sign", text=text)}


def as_node_has_it(archive: bytes, signer: Signer) -> Files:
    """nodejs.org has the list with both signatures."""
    return {**clear_signed(archive, signer), **detached(archive, signer)}


SIGNED: Dict[str, Callable[[bytes, Signer], Files]] = {
    "a clear-signed list": clear_signed,
    "a list with a detached signature": detached,
    "a list with both": as_node_has_it,
}


class Distribution(Run[Report]):
    """Runs for a distribution that is in a folder, or on loopback."""

    def __init__(self, folder: Path, is_served: bool, signer: Signer) -> None:
        super().__init__(folder, read_distribution.PROGRAM, read_distribution.REPORT)
        self._is_served = is_served
        self._place = folder / "a b"  # a space is valid in a folder, and escaped in an address
        self._place.mkdir()
        keys = self.folder / "keys"
        keys.mkdir()
        (keys / "releaser.gpg").write_bytes(signer.exported)
        self.asked = ""
        self.paths: Any = []

    def arguments(self, place: str, sha256: str = "") -> Arguments:
        return Arguments(place, "16.20.2", NAME, sha256, "keys", ())

    def with_place(self, files: Mapping[str, Page], call: Callable[[str], Any], below: str) -> Any:
        if self._is_served:
            with serve({f"/dist/{below}{name}": page for name, page in files.items()}) as server:
                self.asked = f"{server.address}/dist"
                try:
                    return call(self.asked)
                finally:
                    self.paths = server.paths
        folder = self._place / below
        folder.mkdir(exist_ok=True)
        for name, page in files.items():
            assert isinstance(page, bytes)
            (folder / name).write_bytes(page)
        self.asked = str(self._place)
        return call(self.asked)

    def takes(self, files: Mapping[str, Page], sha256: str = "", below: str = "") -> Report:
        report: Report = self.with_place(
            files, lambda place: self.reports(self.arguments(place, sha256)), below
        )
        name = f"{below}{NAME}"
        assert report.url == (f"{self.asked}/{name}" if self._is_served else "")
        assert (self.out / ARCHIVE).exists() is not self._is_served
        return report

    def refuses(self, files: Mapping[str, Page], sha256: str = "", below: str = "") -> str:
        error: str = self.with_place(
            files, lambda place: self.fails(self.arguments(place, sha256)), below
        )
        return error


@pytest.fixture(params=[False, True], ids=["a folder", "a server"])
def distribution(tmp_path: Path, signer: Signer, request: Any) -> Distribution:
    return Distribution(tmp_path, request.param, signer)


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Distribution:
    return Distribution(tmp_path, False, signer)


@pytest.fixture
def server(tmp_path: Path, signer: Signer) -> Distribution:
    return Distribution(tmp_path, True, signer)


# --- Trusted.


@pytest.mark.parametrize("make", SIGNED.values(), ids=SIGNED)
def test_an_archive_of_a_signed_list(
    make: Callable[[bytes, Signer], Files],
    distribution: Distribution,
    archive: bytes,
    signer: Signer,
) -> None:
    report = distribution.takes(make(archive, signer))
    assert (report.sha256, report.size) == (sha256(archive), len(archive))
    assert report.needs == needs.of_binary(content(SMALL))
    assert report.reason == f"signed by {signer.fingerprint}"


def test_the_folder_above_the_versions(
    distribution: Distribution, archive: bytes, signer: Signer
) -> None:
    report = distribution.takes(as_node_has_it(archive, signer), below="v16.20.2/")
    assert report.sha256 == sha256(archive)


def test_the_archive_of_a_folder_is_an_output(
    folder: Distribution, archive: bytes, signer: Signer
) -> None:
    folder.takes(clear_signed(archive, signer))
    assert (folder.out / ARCHIVE).read_bytes() == archive


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_the_hash_of_the_archive_needs_no_signature(
    spelling: Callable[[str], str], distribution: Distribution, archive: bytes
) -> None:
    files = {NAME: archive, LIST: listed(archive).encode()}
    report = distribution.takes(files, spelling(sha256(archive)))
    assert report.reason == "the user's hash of the archive"


def test_the_hash_of_the_list_needs_no_signature(
    distribution: Distribution, archive: bytes
) -> None:
    text = listed(archive).encode()
    report = distribution.takes({NAME: archive, LIST: text}, sha256(text))
    assert (report.reason, report.sha256) == ("the user's hash of the list", sha256(archive))


@pytest.mark.parametrize("below", ["", "v16.20.2/"])
def test_the_hash_of_the_archive_needs_no_list(
    below: str, distribution: Distribution, archive: bytes
) -> None:
    report = distribution.takes({NAME: archive}, sha256(archive), below)
    assert report.reason == "the user's hash of the archive"


def test_a_list_from_the_time_of_a_key_that_has_expired(
    distribution: Distribution, archive: bytes
) -> None:
    """Node's releasers let their keys expire; what they signed before stays valid."""
    with signers() as new:
        old = new("old", ends="20210101T000000", since="20200601T000000")
        (distribution.folder / "keys" / "old.gpg").write_bytes(old.exported)
        report = distribution.takes(clear_signed(archive, old))
    assert report.reason == f"signed by {old.fingerprint}"


def test_a_server_that_fails_once(server: Distribution, archive: bytes, signer: Signer) -> None:
    files = clear_signed(archive, signer)
    report = server.takes({ASC: files[ASC], NAME: first_fails(archive)})
    assert report.sha256 == sha256(archive)


def test_a_mirror_of_the_options(server: Distribution, archive: bytes, signer: Signer) -> None:
    """The address of the definition is the one that the user names, and not the mirror's."""
    public = "https://nodejs.example/dist"

    def call(place: str) -> Report:
        server.settings["mirrors"] = {public: place}
        return server.reports(server.arguments(public))

    report = server.with_place(clear_signed(archive, signer), call, "")
    assert report.url == f"{public}/{NAME}"


# --- Not trusted.


def test_a_list_without_a_signature(distribution: Distribution, archive: bytes) -> None:
    error = distribution.refuses({NAME: archive, LIST: listed(archive).encode()})
    assert f'the checksum list "{distribution.asked}/{LIST}" is not signed' in error
    assert "--sha256=<hash>" in error
    assert f"/dist/{NAME}" not in distribution.paths  # an untrusted archive is not even fetched


@pytest.mark.parametrize("make", SIGNED.values(), ids=SIGNED)
def test_a_list_that_a_stranger_signed(
    make: Callable[[bytes, Signer], Files], distribution: Distribution, archive: bytes
) -> None:
    with signers() as new:
        stranger = new("stranger", kind="ed25519")
        error = distribution.refuses(make(archive, stranger))
    assert "is signed with an unknown key" in error
    assert f"found: key {stranger.fingerprint}" in error
    assert f"toolchains/node/keys/{stranger.fingerprint}.asc" in error


@pytest.mark.parametrize("make", SIGNED.values(), ids=SIGNED)
def test_a_list_that_was_changed(
    make: Callable[[bytes, Signer], Files],
    distribution: Distribution,
    archive: bytes,
    signer: Signer,
) -> None:
    other = packed({"bin/node": content(SMALL), "LICENSE": b"other"})
    files = {
        name: data.replace(sha256(archive).encode(), sha256(other).encode())
        for name, data in make(archive, signer).items()
    }
    error = distribution.refuses({**files, NAME: other})
    assert "the signature of the checksum list" in error or "differs from its signed text" in error
    assert f"/dist/{NAME}" not in distribution.paths


def test_an_archive_that_was_changed(
    distribution: Distribution, archive: bytes, signer: Signer
) -> None:
    other = packed({"bin/node": content(SMALL), "LICENSE": b"other"})
    error = distribution.refuses({**as_node_has_it(archive, signer), NAME: other})
    assert f"{distribution.asked}/{NAME} is not the file of the checksum list" in error
    assert f"expected {sha256(archive)}, found {sha256(other)}" in error
    assert "next:  fetch the archive again, or use another server" in error


def test_an_archive_that_is_cut_off(server: Distribution, archive: bytes, signer: Signer) -> None:
    files = as_node_has_it(archive, signer)
    error = server.refuses({**files, NAME: cut_off(archive)})
    assert NAME in error
    assert not list(server.cache.rglob(sha256(archive)))


def test_the_hash_of_another_file(distribution: Distribution, archive: bytes) -> None:
    files = {NAME: archive, LIST: listed(archive).encode()}
    error = distribution.refuses(files, "c" * 64)
    assert "the given hash does not match the checksum list" in error
    assert f"SHA-256 of {NAME} in the list: {sha256(archive)}" in error


def test_the_hash_of_the_archive_and_an_archive_that_was_changed(
    distribution: Distribution, archive: bytes
) -> None:
    other = packed({"bin/node": content(SMALL), "LICENSE": b"other"})
    for files in ({NAME: other}, {NAME: other, LIST: listed(archive).encode()}):
        error = distribution.refuses(files, sha256(archive))
        assert f"expected {sha256(archive)}, found {sha256(other)}" in error


def test_a_hash_that_is_not_a_sha256(distribution: Distribution, archive: bytes) -> None:
    for files in ({NAME: archive}, {NAME: archive, LIST: listed(archive).encode()}):
        error = distribution.refuses(files, "d41d8cd98f00b204e9800998ecf8427e")
        assert "the hash is an MD5 hash, which is broken" in error


# --- Missing.


def test_a_list_without_this_archive(
    distribution: Distribution, archive: bytes, signer: Signer
) -> None:
    text = f"{'b' * 64}  node-v16.20.2.pkg\n"
    error = distribution.refuses({NAME: archive, ASC: signer.sign(text).encode()})
    assert NAME in error
    assert f"{distribution.asked}/{ASC}" in error


def test_an_archive_that_is_only_in_the_list(
    distribution: Distribution, archive: bytes, signer: Signer
) -> None:
    files = as_node_has_it(archive, signer)
    del files[NAME]
    error = distribution.refuses(files)
    assert f"{distribution.asked} has no {LIST} with this archive" in error
    assert "--from=<folder>" in error


@pytest.mark.parametrize("given", ["", "a" * 64])
def test_a_place_without_anything(given: str, distribution: Distribution) -> None:
    error = distribution.refuses({}, given)
    assert f"{distribution.asked} has no {LIST} with this archive" in error


def test_a_folder_that_does_not_exist(folder: Distribution) -> None:
    error = folder.fails(folder.arguments("/nowhere/node"))
    assert f"/nowhere/node has no {LIST} with this archive" in error


def test_a_server_that_is_down(server: Distribution) -> None:
    error = server.fails(server.arguments(f"http://127.0.0.1:{unused_port()}/dist"))
    assert "connection refused" in error
    assert "check the address" in error


@pytest.mark.parametrize("status", [500, 401])
def test_a_server_that_answers_with_an_error_is_not_one_without_a_list(
    status: int, server: Distribution, archive: bytes
) -> None:
    error = server.refuses({ASC: status, NAME: archive}, sha256(archive))
    assert f"HTTP {status}" in error


def test_a_list_that_is_too_long(distribution: Distribution, archive: bytes) -> None:
    files = {NAME: archive, LIST: b"x" * (LARGEST + 1)}
    assert LIST in distribution.refuses(files, sha256(archive))


# --- The archive itself, and the machine.


@pytest.mark.parametrize(
    ("files", "found"),
    [({"LICENSE": b""}, "no such file"), ({"bin/node": b"#!/bin/sh\n"}, "not an ELF file")],
    ids=["without node", "with a script"],
)
def test_an_archive_without_a_usable_node(
    files: Files, found: str, distribution: Distribution, signer: Signer
) -> None:
    error = distribution.refuses(clear_signed(packed(files), signer))
    assert error.startswith(f'the archive "{NAME}" has no usable bin/node\n')
    assert f"in:    {distribution.asked}/{NAME}" in error
    assert f"found: {found}" in error


def test_a_file_that_is_not_an_archive(distribution: Distribution, signer: Signer) -> None:
    assert f'"{NAME}"' in distribution.refuses(clear_signed(b"no archive", signer))


def test_a_machine_without_gpgv(distribution: Distribution, archive: bytes, signer: Signer) -> None:
    distribution.settings["env"] = {"PATH": "/nowhere"}
    error = distribution.refuses(clear_signed(archive, signer))
    assert "cannot check the signature of" in error
    assert "next:  apt-get install gpgv, or give the hash of the archive" in error
    assert distribution.takes(clear_signed(archive, signer), sha256(archive)).url is not None


def test_keys_that_cannot_be_read(
    distribution: Distribution, archive: bytes, signer: Signer
) -> None:
    (distribution.folder / "keys" / "broken.asc").write_text("-----BEGIN PGP")
    error = distribution.refuses(clear_signed(archive, signer))
    assert "broken.asc" in error


def test_a_link_in_place_of_an_archive(
    folder: Distribution, archive: bytes, signer: Signer, tmp_path: Path
) -> None:
    """A copy of a distribution may link to its files; a pipe or a loop is not a file."""
    files = clear_signed(archive, signer)
    place = tmp_path / "a b"
    (tmp_path / "elsewhere").write_bytes(files.pop(NAME))
    (place / NAME).symlink_to(tmp_path / "elsewhere")
    assert folder.takes(files).sha256 == sha256(archive)
    (place / NAME).unlink()
    (place / NAME).symlink_to(NAME)
    assert "with this archive" in folder.refuses(files)
    (place / NAME).unlink()
    os.mkfifo(place / NAME)
    assert "with this archive" in folder.refuses(files)
