"""The import of a folder of node-build."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.runtime.rules.import_definitions import ImportedDefinitions, ImportRequest
from tests.rules.workspace import Workspace
from tests.unit.runtime.definitions.test_node_build_import import TEXTS


@pytest.fixture
def node_build(tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "node-build"
    folder.mkdir(parents=True)
    for name, text in TEXTS.items():
        (folder / name).write_bytes(text)
    return folder


def take(workspace: Workspace, source: Path, wanted: str = "") -> ImportedDefinitions:
    return workspace.request(ImportedDefinitions, ImportRequest(str(source), "vendor/nb", wanted))


def test_the_definitions_of_a_folder_become_files(workspace: Workspace, node_build: Path) -> None:
    found = take(workspace, node_build)
    names = ("16.20.2.toml", "18.0.0.toml", "8.0.0.toml", "iojs-1.0.0.toml")
    assert workspace.files(found.digest) == tuple(f"vendor/nb/{name}" for name in names)
    assert found.told.splitlines()[-1] == "vendor/nb: 4 definitions written"


def test_a_range_chooses_among_them(workspace: Workspace, node_build: Path) -> None:
    found = take(workspace, node_build, ">=16 <18")
    assert workspace.files(found.digest) == ("vendor/nb/16.20.2.toml",)


def test_nothing_of_a_definition_runs(
    workspace: Workspace, node_build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = node_build / "canary"
    (node_build / "4.0.0").write_text(f"touch {canary}\n$(touch {canary})\n`touch {canary}`\n")
    monkeypatch.chdir(node_build)
    take(workspace, node_build)
    assert not canary.exists()


def test_a_pipe_in_the_folder_is_passed_over(workspace: Workspace, node_build: Path) -> None:
    os.mkfifo(node_build / "16.0.0")
    assert "4 definitions written" in take(workspace, node_build).told


def test_a_folder_that_does_not_exist_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot read the folder") as caught:
        take(workspace, tmp_path / "nowhere")
    assert "in:    option --import-from" in str(caught.value)
    assert "nowhere: No such file or directory" in str(caught.value)


def test_a_folder_without_definitions_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# node-build\n")
    with pytest.raises(Exception, match=r"no definition of .* can be imported"):
        take(workspace, tmp_path)
