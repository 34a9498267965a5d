"""What is told of one application under two Nodes."""

from __future__ import annotations

from typing import Any, Dict

from slipway.release.differences import Contents, render


def make(node: str, npm: str, files: Dict[str, str], *layers: str, **highest: str) -> Contents:
    manifest: Dict[str, Any] = {
        "node": {"version": node, "npm": npm},
        "packages": [{"name": "koa"}],
        "layers": [{"name": name, "size": 1_000_000} for name in ("runtime", *layers, "app")],
        "abi": {"highest": highest},
    }
    return Contents(manifest, files)


def test_facts_are_side_by_side_and_files_below() -> None:
    before = make("16.20.2", "8.19.4", {"a": "1", "b": "1", "same": "1"}, GLIBC="GLIBC_2.17")
    after = make(
        "6.3.0", "6.14.18", {"a": "2", "c": "1", "same": "1"}, "addon-x", GLIBC="GLIBC_2.4"
    )
    assert render(before, after).splitlines() == [
        "          Node.js 16.20.2  Node.js 6.3.0",
        "npm       8.19.4           6.14.18",
        "packages  1                1",
        "compiled                   x",
        "size      2.0 MB           3.0 MB",
        "GLIBC     2.17             2.4",
        "",
        "files that differ: 3",
        "~ a",
        "- b",
        "+ c",
    ]


def test_equal_files_are_reported_in_one_line() -> None:
    one, other = (make(node, "8", {"a": "1"}) for node in ("16.20.2", "14.21.3"))
    assert render(one, other).splitlines()[-1] == "all files outside the Node runtime are the same"


def test_many_files_are_counted() -> None:
    files = {f"{number:03}": "1" for number in range(60)}
    lines = render(make("1", "1", files), make("2", "1", {})).splitlines()
    assert "files that differ: 60" in lines
    assert lines[-1] == "… and 40 more"
