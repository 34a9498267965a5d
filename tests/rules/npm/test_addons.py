"""Native addons of a workspace: one step for each Node, archives by its interface, refusals."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest
from pants.core.goals.package import BuiltPackage

from slipway.npm.rules.addon import NodeAddonFieldSet
from tests.rules import workspace as stand_ins
from tests.rules.workspace import (
    Workspace,
    make_build,
    make_definition,
    make_fetch_lock,
    make_lock,
)

BUILD = (
    'node_addon(toolchain="//toolchains/gcc48", **dict(dict(runtimes=["//toolchains/node"]), {}))\n'
)
LINKED: Dict[str, Dict[str, Any]] = {
    "node_modules/hello": {"resolved": "addons/hello", "link": True},
    "addons/hello": {"version": "1.0.0"},
}


@pytest.fixture
def addon(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setitem(stand_ins._REPORTS, "addon.json", {"bytes": 5, "modules": 93})
    write_addon(workspace)
    return workspace


def write_addon(workspace: Workspace, fields: str = "", **manifest: Any) -> None:
    folder = "app/addons/hello"
    own = {"name": "hello", "version": "1.0.0", **manifest}
    lock = json.loads(make_lock())
    lock["packages"][""] = {"name": "hello", "version": "1.0.0"}
    workspace.write(
        {
            f"{folder}/BUILD": BUILD.replace("{}", fields),
            f"{folder}/package.json": json.dumps(own),
            f"{folder}/package-lock.json": json.dumps(lock),
            f"{folder}/npm-fetch.lock": make_fetch_lock(folder),
            f"{folder}/binding.gyp": "{}",
            f"{folder}/src/deep/hello.cc": "",
            f"{folder}/notes.txt": "",
        }
    )


def write_app(workspace: Workspace, fields: str, **lock: Dict[str, Any]) -> None:
    manifest = {
        "name": "app",
        "version": "1.0.0",
        "scripts": {"build": "x", "serve": "node service/app.js"},
    }
    packages = json.loads(make_lock(lock or LINKED))
    if not lock:
        manifest["dependencies"] = {"hello": "file:addons/hello"}
        packages["packages"][""]["dependencies"] = {"hello": "file:addons/hello"}
    workspace.write_app(
        "app",
        BUILD=make_build(fields),
        **{"package.json": json.dumps(manifest), "package-lock.json": json.dumps(packages)},
    )


def package_addon(workspace: Workspace) -> BuiltPackage:
    target = workspace.target("app/addons/hello:hello")
    return workspace.request(BuiltPackage, NodeAddonFieldSet.create(target))


def test_an_addon_is_compiled_for_its_runtimes_and_named_by_their_interface(
    addon: Workspace,
) -> None:
    (artifact,) = package_addon(addon).artifacts
    assert artifact.relpath == "app.addons.hello/hello/hello-v1.0.0-node-v93-linux-x64.tar.gz"
    (step,) = addon.steps("slipway.npm.programs.addon")
    assert step.description == "Compile hello@1.0.0 for Node.js 16.20.2"
    assert addon.files(step.inputs) == (
        *("sources/binding.gyp", "sources/package.json", "sources/src/deep/hello.cc"),
    )


def test_a_bundle_has_its_addons_at_the_place_of_their_folders(addon: Workspace) -> None:
    write_app(addon, 'addons=["//app/addons/hello"]')
    addon.package("app:release")
    (step,) = addon.steps("slipway.bundle.programs.pack_app")
    assert json.loads(step.call.arguments)["addons"] == ["addons/hello"]
    assert addon.files(step.large["addon-0"]) == ("addon.tar",)
    manifest = json.loads(addon.steps("slipway.release.programs.tarball")[0].call.arguments)[
        "manifest"
    ]
    assert manifest["packages"] == [
        {
            "path": "addons/hello",
            "name": "hello",
            "version": "1.0.0",
            "decision": "source",
            "bytes": 5,
        }
    ]
    # The same step as the addon's own package.
    before = len(set(addon.steps("slipway.npm.programs.addon")))
    package_addon(addon)
    assert len(set(addon.steps("slipway.npm.programs.addon"))) == before == 1


def refusal(workspace: Workspace) -> str:
    with pytest.raises(Exception, match=r".") as caught:
        workspace.package("app:release")
    return str(caught.value)


def test_a_linked_folder_that_has_to_be_compiled_is_told(addon: Workspace) -> None:
    write_app(addon, "")
    said = refusal(addon)
    assert "linked folders contain native addons that are not in the field addons" in said
    assert "app/addons/hello/binding.gyp" in said
    assert 'addons=["//app/addons/hello"]' in said


def test_an_addon_that_is_not_linked_is_told(addon: Workspace) -> None:
    write_app(addon, 'addons=["//app/addons/hello"]', **{"addons/other": {"version": "1.0.0"}})
    said = refusal(addon)
    assert 'the application does not link the addon "app/addons/hello:hello"' in said
    assert "cd app && npm install ./addons/hello" in said


def test_another_target_than_an_addon_is_told(addon: Workspace) -> None:
    write_app(addon, 'addons=["//toolchains/node"]')
    assert "toolchains/node:node, a node_runtime" in refusal(addon)


WRONG = {
    "runtimes=[]": "has no runtimes",
    'runtimes=["//toolchains/gcc48"]': "toolchains/gcc48:gcc48, a node_toolchain",
    "toolchain=None": "has no toolchain",
    'toolchain="//toolchains/node"': "must be a node_toolchain",
    'test_script="tets"': "did you mean test?",
    'install_scripts={"hullo": "source"}': '"hullo"',
}


@pytest.mark.parametrize("field", WRONG)
def test_wrong_fields_of_an_addon_are_told(addon: Workspace, field: str) -> None:
    text = BUILD.replace('toolchain="//toolchains/gcc48", ', "") if "toolchain=" in field else BUILD
    addon.write({"app/addons/hello/BUILD": text.replace("{}", field)})
    manifest = {"name": "hello", "version": "1.0.0", "scripts": {"test": "x"}}
    addon.write({"app/addons/hello/package.json": json.dumps(manifest)})
    with pytest.raises(Exception, match=r".") as caught:
        package_addon(addon)
    assert WRONG[field] in str(caught.value)


def test_two_runtimes_of_one_interface_are_told(addon: Workspace) -> None:
    addon.write(
        {
            "toolchains/node/BUILD": 'node_runtime(name="node", version="16.20.2")\n'
            'node_runtime(name="older", version="16.20.1")\n',
            "toolchains/node/16.20.1.toml": make_definition("16.20.1"),
        }
    )
    write_addon(addon, 'runtimes=["//toolchains/node:node", "//toolchains/node:older"]')
    with pytest.raises(Exception, match="have the same binary interface"):
        package_addon(addon)
