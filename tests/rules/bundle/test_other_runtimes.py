"""Applications on a runtime without npm: another Node builds them, and `bin/app` needs no npm."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

import pytest
from pants.engine.internals.scheduler import ExecutionError

from slipway.bundle.programs import build
from slipway.npm.programs import install
from slipway.release.programs import start_probe, tarball
from slipway.runtime import node_process
from slipway.step.rules.build_step import RUNTIME
from tests.rules.workspace import (
    INTEGRITY,
    SHA256,
    Workspace,
    make_build,
    make_definition,
    make_fetch_lock,
    make_lock,
)

QUICKJS = f"""\
version = "1.0.0"

[binary.linux-x64]
url = "https://quickjs.example/quickjs.tar.gz"
sha256 = "{SHA256}"
size = 1

[runtime]
bin = "bin/qjs"
npm = false
check = ["bin/qjs", "--eval", "print(42)"]
says = "42"
"""
TARGET = 'node_runtime(name="qjs", version="1.0.0", {})\n'
BUILT_BY_NODE = 'build_runtime="//toolchains/node"'
MANIFEST = {
    "name": "app",
    "version": "1.0.0",
    "scripts": {"build": "x", "serve": "qjs service/app.js", "test": "qjs test.js"},
}


def write(
    workspace: Workspace,
    fields: str = BUILT_BY_NODE,
    definition: str = QUICKJS,
    bundle: str = "",
    **files: Optional[str],
) -> None:
    workspace.write({"qjs/BUILD": TARGET.format(fields), "qjs/1.0.0.toml": definition})
    build_file = make_build(f'runtime="//qjs:qjs", {bundle}')
    workspace.write_app("app", BUILD=build_file, **{"package.json": json.dumps(MANIFEST), **files})


def fails(workspace: Workspace) -> str:
    with pytest.raises(ExecutionError) as caught:
        workspace.package("app:release")
    return str(caught.value)


def test_node_installs_and_builds_and_the_runtime_is_released(workspace: Workspace) -> None:
    write(workspace)
    workspace.package("app:release")
    (installed,), (built,) = workspace.steps(install.__name__), workspace.steps(build.__name__)
    (probed,) = workspace.steps(start_probe.__name__)
    base, node = installed.trees
    assert node.target == RUNTIME
    assert built.trees[:2] == (base, node)
    assert [one.target for one in built.trees[2:]] == [node_process.RELEASED]
    (released,) = [one for one in probed.trees if one.target == "/build/release/node_runtime"]
    assert released.digest == built.trees[2].digest != node.digest


def test_the_launcher_has_the_scripts_and_the_manifest_the_runtime(workspace: Workspace) -> None:
    write(workspace)
    workspace.package("app:release")
    (step,) = workspace.steps(tarball.__name__)
    arguments = tarball.PROGRAM.read(step.call.arguments)
    assert arguments.launcher.bin == "bin/qjs"
    assert "app_line='qjs service/app.js'" in arguments.launcher.find_script
    node = arguments.manifest.node
    assert (node.version, node.npm, node.bin, node.built_with) == (
        "1.0.0",
        "",
        "bin/qjs",
        "16.20.2",
    )
    (template,) = (
        text for name, text in workspace.contents(step.inputs).items() if name == "app.sh"
    )
    assert "@find_script@" in template
    assert "npm-cli.js" not in template


def test_a_runtime_with_npm_has_no_scripts_in_its_launcher(workspace: Workspace) -> None:
    workspace.write_app("app")
    workspace.package("app:release")
    (step,) = workspace.steps(tarball.__name__)
    launcher = tarball.PROGRAM.read(step.call.arguments).launcher
    assert (launcher.bin, launcher.find_script) == ("bin/node", "")


def test_a_start_script_that_calls_node_is_told(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = {**MANIFEST, "scripts": {"build": "x", "serve": "node service/app.js"}}
    write(workspace, **{"package.json": json.dumps(manifest)})
    workspace.package("app:release")
    assert "the release contains no program node" in caplog.text


def test_a_runtime_that_may_be_called_node_is_found_as_node(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = {**MANIFEST, "scripts": {"build": "x", "serve": "node service/app.js"}}
    iojs = QUICKJS.replace("npm = false", "npm = false\nnode = true").replace("qjs", "iojs")
    write(workspace, definition=iojs, **{"package.json": json.dumps(manifest)})
    workspace.package("app:release")
    assert "the release contains no program" not in caplog.text


BAD: Dict[str, Any] = {
    "no runtime for builds": (
        {"fields": ""},
        [
            "qjs 1.0.0 has no npm that could install the packages of an application",
            "in:    app:bundle, field runtime",
            'next:  set build_runtime="//toolchains/node:16.20.2" in qjs:qjs',
        ],
    ),
    "a runtime for builds without npm": (
        {"fields": 'build_runtime=":qjs2")\n' + TARGET.replace('"qjs"', '"qjs2"').format("")[:-2]},
        [
            'the runtime ":qjs2" has no npm',
            "in:    qjs:qjs, field build_runtime",
            "found: `npm = false` in qjs/1.0.0.toml",
        ],
    ),
    "a runtime with npm that names another": (
        {"definition": make_definition("1.0.0")},
        [
            'the runtime "qjs:qjs" has an npm, so it needs no other runtime for builds',
            "in:    qjs:qjs, field build_runtime",
        ],
    ),
    "something else as the runtime for builds": (
        {"fields": 'build_runtime="//toolchains/gcc48"'},
        ["qjs:qjs, field build_runtime", "node_runtime"],
    ),
    "an npm that the runtime does not have": (
        {"fields": f'{BUILT_BY_NODE}, npm_version="8.19.4"'},
        ['the definition of qjs 1.0.0 does not pin npm "8.19.4"'],
    ),
}


@pytest.mark.parametrize(("spoiled", "lines"), BAD.values(), ids=BAD)
def test_a_mistake_is_named(spoiled: Dict[str, str], lines: Any, workspace: Workspace) -> None:
    write(workspace, **spoiled)
    said = fails(workspace)
    for line in lines:
        assert line in said, said


@pytest.mark.parametrize(("decision", "is_refused"), [("source", True), ("skip", False)])
def test_binaries_for_another_runtime_are_refused_before_the_install(
    workspace: Workspace, decision: str, is_refused: bool
) -> None:
    lock = json.loads(make_lock({"node_modules/b": {"version": "2.0.0", "integrity": INTEGRITY}}))
    lock["packages"][""]["dependencies"] = {"b": "2.0.0"}
    write(
        workspace,
        bundle=f'install_scripts={{"b": "{decision}"}}',
        **{
            "package.json": json.dumps({**MANIFEST, "dependencies": {"b": "2.0.0"}}),
            "package-lock.json": json.dumps(lock),
            "npm-fetch.lock": make_fetch_lock("app", f"b 2.0.0 {INTEGRITY} {SHA256} 1"),
        },
    )
    if not is_refused:
        workspace.package("app:release")
        return
    said = fails(workspace)
    assert "install scripts run under Node.js 16.20.2, and qjs 1.0.0 does not load" in said
    assert "b@2.0.0" in said
    assert "in:    app:bundle, field install_scripts" in said
    assert not workspace.steps(install.__name__)


def test_addons_of_node_are_refused(workspace: Workspace) -> None:
    write(workspace, bundle='addons=["//app/addon"]')
    workspace.write({"app/addon/BUILD": "node_addon()\n"})
    said = fails(workspace)
    assert "qjs 1.0.0 has no headers for native addons" in said
    assert "in:    app:bundle, field addons" in said
