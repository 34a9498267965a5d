"""The goal `toolchain-archive`: the packages of images and of the images below, as on a mirror."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest
from pants.engine.internals.scheduler import ExecutionError

from slipway.debian.lock import write_lock
from slipway.step.programs import locked_files
from slipway.toolchain.rules.archive import ToolchainArchive
from tests.rules import workspace as stand_ins
from tests.rules.workspace import Workspace
from tests.unit.debian.builders import locked, make_lock

OWN, BELOW = b"a compiler", b"a shell"


@pytest.fixture
def images(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    contents = {locked(data).sha256: data.decode() for data in (OWN, BELOW)}

    def fetch(arguments: str) -> Dict[str, str]:
        files: Any = json.loads(arguments)["files"]
        return {one["path"]: contents[one["sha256"]] for one in files}

    monkeypatch.setitem(stand_ins.NETWORK, locked_files.__name__, fetch)
    lower = locked(BELOW)
    upper = locked(OWN, version="2.0-1")
    workspace.write_image("below", **{"packages.lock": write_lock(make_lock([lower]))})
    workspace.write_image(
        "own", 'base="//below:image"', **{"packages.lock": write_lock(make_lock([upper]))}
    )
    return workspace


def written(workspace: Workspace, folder: str) -> Dict[str, bytes]:
    top = workspace.folder / folder
    return {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


def test_packages_of_an_image_and_of_the_images_below(images: Workspace) -> None:
    said = images.run_goal(ToolchainArchive, "own:image")
    assert said.stdout == "dist/toolchain-archive: 2 packages, 0.0 MB\n"
    assert written(images, "dist/toolchain-archive") == {
        "pool/main/t/tool/tool_2.0-1_amd64.deb": OWN,
        "pool/main/t/tool/tool_1.0-1_amd64.deb": BELOW,
    }


def test_another_folder_and_two_images_with_the_same_packages(images: Workspace) -> None:
    images.run_goal(ToolchainArchive, "--into=kept/here", "own:image", "below:image")
    assert len(written(images, "kept/here")) == 2


def test_a_folder_outside_of_the_workspace_is_refused(images: Workspace) -> None:
    with pytest.raises(ExecutionError, match='the folder "/srv/kept" is not in the workspace'):
        images.run_goal(ToolchainArchive, "--into=/srv/kept", "own:image")
    with pytest.raises(ExecutionError, match=r'the folder "\.\./kept" is not in the workspace'):
        images.run_goal(ToolchainArchive, "--into=../kept", "own:image")


def test_without_an_image_the_command_is_told(images: Workspace) -> None:
    images.write_app("app")
    with pytest.raises(ExecutionError, match="needs a node_toolchain") as caught:
        images.run_goal(ToolchainArchive, "app:release")
    assert "next:  ./pants toolchain-archive //toolchains/gcc48" in str(caught.value)


def test_a_ready_image_is_refused(images: Workspace) -> None:
    build = 'node_toolchain(name="ready", image="registry.example/a@sha256:' + "a" * 64 + '")\n'
    images.write({"ready/BUILD": build})
    with pytest.raises(ExecutionError, match="is not made of Debian packages") as caught:
        images.run_goal(ToolchainArchive, "ready:ready")
    assert "registry.example/a@sha256:" in str(caught.value)
