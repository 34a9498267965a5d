"""What an install reads: enough for npm to make its own tree, and nothing that would run it again."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Optional

import pytest
from pants.engine.internals.scheduler import ExecutionError

from slipway.step.rules.build_step import Step
from tests.rules.workspace import INTEGRITY, SHA256, Workspace, make_fetch_lock, make_lock

SCRIPTS = {"build": "x", "serve": "node service/app.js"}
MANIFEST = {
    "name": "app",
    "version": "1.0.0",
    "scripts": SCRIPTS,
    "workspaces": ["tools/*"],
}
TOOL = {"name": "tool", "version": "1.0.0", "bin": {"tool": "cli.js", "other": "gone.js"}}
LOCK = json.loads(
    make_lock(
        {
            "node_modules/tool": {"resolved": "tools/tool", "link": True},
            "tools/tool": {**TOOL},
        }
    )
)
LOCK["packages"][""]["workspaces"] = ["tools/*"]


def _app(**changes: str) -> Dict[str, str]:
    return {
        "package.json": json.dumps(MANIFEST),
        "package-lock.json": json.dumps(LOCK),
        "tools/tool/package.json": json.dumps(TOOL),
        "tools/tool/cli.js": "#!/usr/bin/env node\n",
        ".npmrc": "legacy-peer-deps=true\n//npm.example/:_authToken=${TOKEN}\n",
        **changes,
    }


def _install(workspace: Workspace, folder: str = "app", **changes: str) -> Step:
    workspace.write_app(folder, **_app(**changes))
    workspace.package(f"{folder}:release")
    return workspace.steps("slipway.npm.programs.install")[-1]


def test_programs_of_linked_folders_are_there_to_be_linked_but_empty(workspace: Workspace) -> None:
    step = _install(workspace)
    assert "install/tools/tool/gone.js" not in workspace.files(step.inputs)
    assert workspace.contents(step.inputs)["install/tools/tool/cli.js"] == ""


def test_of_the_project_s_settings_those_about_the_tree_count(workspace: Workspace) -> None:
    assert workspace.contents(_install(workspace).inputs)["install/.npmrc"] == (
        "legacy-peer-deps=true\n"
    )


def _engines(**files: str) -> Dict[str, Optional[str]]:
    """An application that depends on koa, which needs a newer Node than the bundle's."""
    root = {"name": "app", "version": "1.0.0", "dependencies": {"koa": "^2.0.0"}}
    koa = {"version": "2.14.2", "integrity": INTEGRITY, "engines": {"node": ">=18"}}
    lock = {"name": "app", "version": "1.0.0", "lockfileVersion": 3}
    packages = {"": root, "node_modules/koa": koa}
    line = f"koa 2.14.2 {INTEGRITY} {SHA256} 99"
    return {
        "package.json": json.dumps({**root, "scripts": {"build": "x", "serve": "y"}}),
        "package-lock.json": json.dumps({**lock, "packages": packages}),
        "npm-fetch.lock": make_fetch_lock("app", line),
        **files,
    }


def test_a_package_that_does_not_support_the_node_is_reported(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write_app("app", **_engines())
    workspace.package("app:release")
    assert (
        "app:bundle: Node 16.20.2 is not in engines.node of these packages:\nkoa@2.14.2: >=18"
    ) in "\n".join(caplog.messages)


def test_with_engine_strict_nothing_is_installed(workspace: Workspace) -> None:
    workspace.write_app("app", **_engines(**{".npmrc": "engine-strict=true\n"}))
    with pytest.raises(ExecutionError, match="engine-strict=true rejects them") as caught:
        workspace.package("app:release")
    assert "app/.npmrc:1" in str(caught.value)
    assert not workspace.steps("slipway.npm.programs.install")


def test_a_setting_that_makes_another_tree_is_refused_before_the_install(
    workspace: Workspace,
) -> None:
    own = {"name": "tool", "version": "1.0.0"}
    link = {"resolved": "tool", "link": True}
    packages: Dict[str, Dict[str, Any]] = {"node_modules/tool": link, "tool": own}
    lock = json.loads(make_lock(packages))
    lock["packages"][""]["dependencies"] = {"tool": "file:tool"}
    manifest = {**lock["packages"][""], "scripts": {"build": "x", "serve": "y"}}
    files = {"package.json": manifest, "package-lock.json": lock, "tool/package.json": own}
    texts = {path: json.dumps(content) for path, content in files.items()}
    workspace.write_app("app", **texts, **{".npmrc": "install-links=true\n"})
    with pytest.raises(ExecutionError, match=r"app/\.npmrc:1: install-links=true"):
        workspace.package("app:release")
    assert not workspace.steps("slipway.npm.programs.install")


NOT_READ: Dict[str, Dict[str, str]] = {
    "a program of a linked folder": {"tools/tool/cli.js": "another\n"},
    "a version": {"package.json": json.dumps({**MANIFEST, "version": "2.0.0"})},
    "a script": {"package.json": json.dumps({**MANIFEST, "scripts": {**SCRIPTS, "go": "y"}})},
    "a login": {".npmrc": "legacy-peer-deps=true\n//npm.example/:_authToken=other\n"},
}


@pytest.mark.parametrize("what", NOT_READ)
def test_an_edit_that_npm_does_not_read_runs_no_install(
    make_workspace: Callable[..., Workspace], what: str
) -> None:
    before = _install(make_workspace())
    assert _install(make_workspace(), **NOT_READ[what]) == before


def test_a_setting_about_the_tree_runs_the_install_again(
    make_workspace: Callable[..., Workspace],
) -> None:
    before = _install(make_workspace())
    assert _install(make_workspace(), **{".npmrc": "legacy-peer-deps=false\n"}) != before
