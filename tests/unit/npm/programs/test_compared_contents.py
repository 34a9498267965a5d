"""What `lint` learns of a fetch lock from the contents that a machine has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import pytest

from slipway.fetch import integrity as sri
from slipway.fetch.download import Content, ContentCache
from slipway.fetch.settings import Settings
from slipway.npm.programs import compared_contents
from slipway.npm.programs.compared_contents import REPORT, Arguments, Entry, Report
from slipway.step.interface import OUT
from tests.unit.npm.builders import sha1, sha512

LEFT, RIGHT = b"left " * 2000, b"right " * 2000


@pytest.fixture(autouse=True)
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / OUT).mkdir()
    monkeypatch.chdir(tmp_path)


def compare(folder: Path, *entries: Entry) -> Report:
    settings = Settings(str(folder / "cache"))
    compared_contents.compare(Arguments(entries), settings)
    return REPORT.read(Path(REPORT.path).read_text())


def make_entry(*integrities: str, content: bytes = LEFT, **fields: Any) -> Entry:
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(Entry("left", "1.0.0", integrities, sha256, len(content)), **fields)


def keep(folder: Path, content: bytes, integrity: str) -> None:
    """As a build has it that fetched `content` by its integrity."""
    cache = ContentCache(str(folder / "cache"))
    cache.store(Content(hashes=sri.parse(integrity)), lambda sink: sink.write(content))


def test_contents_that_were_never_fetched_are_unknown(tmp_path: Path) -> None:
    found = compare(tmp_path, make_entry(sha512(LEFT)))
    assert found == Report((), 1)
    assert not (tmp_path / "cache").exists()


def test_a_sound_line(tmp_path: Path) -> None:
    keep(tmp_path, LEFT, sha512(LEFT))
    found = compare(tmp_path, make_entry(sha512(LEFT)), make_entry(sha512(LEFT), sha1(LEFT)))
    assert found == Report((), 0)


@pytest.mark.parametrize(
    "integrities", [[sha512(LEFT)], [sha512(RIGHT), sha1(LEFT)], [sha512(LEFT), sha1(RIGHT)]]
)
def test_a_sha256_of_another_content(tmp_path: Path, integrities: List[str]) -> None:
    """The line names what was committed under any name and is on this machine already."""
    keep(tmp_path, RIGHT, sha512(RIGHT))
    found = compare(tmp_path, make_entry(*integrities, content=RIGHT))
    (fault,) = found.faults
    assert fault.startswith("left@1.0.0: the content of SHA-256 ")


def test_a_sha256_that_was_never_seen_for_an_integrity_that_was(tmp_path: Path) -> None:
    keep(tmp_path, LEFT, sha512(LEFT))
    found = compare(tmp_path, make_entry(sha512(LEFT), content=RIGHT))
    (fault,) = found.faults
    assert f"the content of {sha512(LEFT)} has SHA-256 {hashlib.sha256(LEFT).hexdigest()}" in fault


def test_a_damaged_cache_is_not_reported_as_a_fault_of_the_lock(tmp_path: Path) -> None:
    keep(tmp_path, LEFT, sha512(LEFT))
    (content,) = (one for one in (tmp_path / "cache" / "sha256").rglob("*") if one.is_file())
    content.chmod(0o644)
    content.write_bytes(RIGHT)
    found = compare(tmp_path, make_entry(sha512(LEFT)))
    assert found == Report((), 1)
