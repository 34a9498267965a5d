"""The download cache with unexpected files, which a restored cache can contain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Dict

import pytest

from slipway.fetch import integrity as sri
from slipway.fetch.download import Content, ContentCache, Stored

CONTENT = b"content"
HASH = sri.of_bytes("sha512", CONTENT)


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(str(tmp_path / "cache"))


def store(cache: ContentCache) -> Stored:
    return cache.store(Content(hashes=(HASH,)), lambda sink: sink.write(CONTENT))


NAMES: Dict[str, Callable[[Path], object]] = {
    "a device": lambda name: name.write_text("/dev/zero"),
    "a path": lambda name: name.write_text("../../../content"),
    "more than a hash": lambda name: name.write_text("a" * 65),
    "bytes that are not text": lambda name: name.write_bytes(b"\xff" * 64),
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to a device": lambda name: name.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", NAMES)
def test_in_place_of_a_name(cache: ContentCache, tmp_path: Path, what: str) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    name = Path(cache._name(HASH))
    name.parent.mkdir(parents=True)
    NAMES[what](name)
    assert cache.find((HASH,)) is None


CONTENTS: Dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_in_place_of_a_content(cache: ContentCache, tmp_path: Path, what: str) -> None:
    sha256 = store(cache).sha256
    path = Path(cache._path(sha256))
    path.unlink()
    CONTENTS[what](path)
    assert cache.find((HASH,)) is None
    assert cache.digests(sha256, {"sha512"}) is None
    assert not cache.copy_to(Content(sha256, len(CONTENT)), str(tmp_path / "copy"))


def test_what_was_stored_is_found(cache: ContentCache) -> None:
    stored = store(cache)
    found = cache.find((HASH,))
    assert found is not None
    assert (found.sha256, found.size, found.sha512) == (stored.sha256, len(CONTENT), HASH)
