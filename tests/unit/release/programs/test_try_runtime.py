"""A release's own lists, read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core.errors import SlipwayError
from slipway.release.programs import try_runtime
from slipway.release.programs.try_runtime import OUTPUTS, Arguments
from tests.unit.archive.own_archives import file, folder, own_gzip, own_tar


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
    try_runtime.read(Arguments("x.tar.gz"))
    contents = OUTPUTS.contents.read(Path(OUTPUTS.contents.path).read_text())
    assert contents.manifest == {"app": "x"}
    assert sorted(contents.files) == ["a", "b\\c"]


HOSTILE = {
    "a name above": (own_tar([file("../x")]), "its name leaves the archive"),
    "a manifest that is no JSON": (own_tar([file("release.json", b"{")]), '"release.json": '),
    "a list that is no text": (
        own_tar([folder(".release"), file(".release/app.sha256", b"\xff")]),
        '".release/app.sha256": ',
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_release_that_slipway_did_not_write_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    content, fault = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/x.tar.gz").write_bytes(own_gzip(content))
    with pytest.raises(SlipwayError) as raised:
        try_runtime.read(Arguments("x.tar.gz"))
    assert fault in raised.value.found
