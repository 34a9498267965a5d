"""What is told of one application under two Nodes."""

from __future__ import annotations

from typing import Any, Dict

from slipway.release.differences import Contents, changed_files, facts


def make(node: str, npm: str, files: Dict[str, str], *layers: str, **highest: str) -> Contents:
    manifest: Dict[str, Any] = {
        "node": {"version": node, "npm": npm},
        "packages": [{"name": "koa"}],
        "layers": [{"name": name, "size": 1_000_000} for name in ("runtime", *layers, "app")],
        "abi": {"highest": highest},
    }
    return Contents(manifest, files)


def test_facts_are_side_by_side() -> None:
    before = make("16.20.2", "8.19.4", {}, GLIBC="GLIBC_2.17")
    after = make("6.3.0", "6.14.18", {}, "addon-x", GLIBC="GLIBC_2.4")
    assert facts(before, after) == [
        ("npm", "8.19.4", "6.14.18"),
        ("packages", "1", "1"),
        ("compiled", "", "x"),
        ("size", "2.0 MB", "3.0 MB"),
        ("GLIBC", "2.17", "2.4"),
    ]


def test_files_that_differ_are_listed() -> None:
    before = make("16.20.2", "8", {"a": "1", "b": "1", "same": "1"})
    after = make("6.3.0", "6", {"a": "2", "c": "1", "same": "1"})
    assert changed_files(before, after) == ["files that differ: 3", "~ a", "- b", "+ c"]


def test_equal_files_are_reported_in_one_line() -> None:
    one, other = (make(node, "8", {"a": "1"}) for node in ("16.20.2", "14.21.3"))
    assert changed_files(one, other) == ["all files outside the Node runtime are the same"]


def test_many_files_are_counted() -> None:
    files = {f"{number:03}": "1" for number in range(60)}
    lines = changed_files(make("1", "1", files), make("2", "1", {}))
    assert lines[0] == "files that differ: 60"
    assert lines[-1] == "… and 40 more"
