"""Bundled files are found by name; a missing file is not an error."""

from __future__ import annotations

from slipway.data import bundled


def test_a_bundled_file_is_read_by_its_name() -> None:
    content = bundled.read("archive_verifier.lock")
    assert content is not None
    assert b"gpgv" in content


def test_a_name_without_a_file_has_no_content() -> None:
    assert bundled.read("node/0.0.0.toml") is None
    assert bundled.read("images/none/image.json") is None
