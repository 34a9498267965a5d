"""A release's own lists, read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from build_rules.lib import layers
from build_rules.lib.layers import Entry
from build_rules.sandbox import read_release


def test_files_are_listed_without_those_of_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in", "out"):
        Path(name).mkdir()
    layers.write_layer("runtime", "runtime", [Entry("node_runtime/bin/node", "file", content=b"1")])
    layers.write_layer(
        "app", "app", [Entry("a", "file", content=b"2"), Entry("b\\c", "file", content=b"3")]
    )
    last = [Entry("release.json", "file", content=b'{"app": "x"}')]
    layers.write_release("in/x.tar.gz", ["runtime", "app"], last)
    read_release.read({"file": "x.tar.gz"})
    contents = json.loads(Path("out/contents.json").read_text())
    assert contents["manifest"] == {"app": "x"}
    assert sorted(contents["files"]) == ["a", "b\\c"]
