"""Bundles with packages whose install scripts run: one step for each, and layers of their own."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

import pytest

from slipway.isolation.network_guard import Attempt
from slipway.step.programs.locked_files import Request
from tests.rules import workspace as stand_ins
from tests.rules.workspace import (
    INTEGRITY,
    SHA256,
    Workspace,
    make_build,
    make_fetch_lock,
    make_lock,
)

PACKAGES: Dict[str, Dict[str, Any]] = {
    "node_modules/bcrypt": {"version": "5.1.1", "integrity": INTEGRITY},
    "node_modules/node-sass": {"version": "8.0.0", "integrity": INTEGRITY, "dev": True},
}
NAMED = 'install_scripts={"bcrypt": "source", "node-sass": "source"}'


@pytest.fixture
def app(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    native = {"node_modules/bcrypt": "5.1.1", "node_modules/node-sass": "8.0.0"}
    report = {
        **stand_ins._REPORTS["install.json"],
        "packages": [{"path": one, "name": "x", "version": "1", "bytes": 7} for one in native],
        "native": native,
    }
    monkeypatch.setitem(stand_ins._REPORTS, "install.json", report)
    compiled = {"bytes": 1, "elsewhere": [], "foreign": ["node_modules/bcrypt/mac.node"]}
    monkeypatch.setitem(stand_ins._REPORTS, "compile.json", compiled)
    monkeypatch.setitem(stand_ins._REPORTS, "asked.json", {"files": []})
    return workspace


def write_app(workspace: Workspace, bundle: str) -> None:
    names = {"bcrypt": "5.1.1", "node-sass": "8.0.0"}
    lock = json.loads(make_lock(PACKAGES))
    lock["packages"][""].update(
        dependencies={"bcrypt": "5.1.1"}, devDependencies={"node-sass": "8.0.0"}
    )
    manifest = {
        "name": "app",
        "version": "1.0.0",
        "scripts": {"build": "x", "serve": "node service/app.js"},
    }
    lines = [f"{name} {version} {INTEGRITY} {SHA256} 1" for name, version in names.items()]
    workspace.write_app(
        "app",
        BUILD=make_build(bundle),
        **{
            "package.json": json.dumps(
                {
                    **manifest,
                    "dependencies": {"bcrypt": "5.1.1"},
                    "devDependencies": {"node-sass": "8.0.0"},
                }
            ),
            "package-lock.json": json.dumps(lock),
            "npm-fetch.lock": make_fetch_lock("app", *lines),
        },
    )


def test_each_named_package_is_compiled_by_itself_and_production_ones_are_released(
    app: Workspace,
) -> None:
    write_app(app, NAMED)
    app.package("app:release")
    steps = {step.description: step for step in app.steps("slipway.npm.programs.compile")}
    assert sorted(steps) == [
        "Compile bcrypt@5.1.1 for Node.js 16.20.2",
        "Compile node-sass@8.0.0 for Node.js 16.20.2",
    ]
    first = steps["Compile bcrypt@5.1.1 for Node.js 16.20.2"]
    assert app.files(first.large["closure"]) == ("addon-bcrypt.tar",)
    (build,) = app.steps("slipway.bundle.programs.build")
    assert app.files(build.large["installed"]) == (
        *("addon-bcrypt.tar", "addon-node-sass.tar", "installed.tar"),
    )
    (release,) = app.steps("slipway.release.programs.tarball")
    arguments = json.loads(release.call.arguments)
    assert arguments["layers"] == ["runtime", "dependencies", "addon-bcrypt", "app"]
    sizes = {one["path"]: one["bytes"] for one in arguments["manifest"]["packages"]}
    assert sizes["node_modules/bcrypt"] == stand_ins._REPORTS["compile.json"]["bytes"]
    assert arguments["manifest"]["abi"]["foreign_dropped"] == ["node_modules/bcrypt/mac.node"]
    (audit,) = app.steps("slipway.release.programs.abi_gate")
    assert json.loads(audit.call.arguments)["layers"] == arguments["layers"]


def test_an_application_without_them_compiles_nothing(workspace: Workspace) -> None:
    write_app(workspace, "")
    workspace.package("app:release")
    (install,) = workspace.steps("slipway.npm.programs.install")
    assert sorted(install.outputs) == [
        *("dependencies.elf.json", "dependencies.layer", "install.json", "installed.tar"),
    ]
    assert not workspace.steps("slipway.npm.programs.compile")


def test_a_package_that_the_lock_lacks_is_told_before_anything_is_fetched(app: Workspace) -> None:
    write_app(app, 'install_scripts={"bcript": "source"}')
    with pytest.raises(Exception, match="do not match the packages of the lockfile") as caught:
        app.package("app:release")
    assert '"bcript"; did you mean bcrypt?' in str(caught.value)
    assert "in:    app:bundle, field install_scripts" in str(caught.value)
    assert not app.made_root()


PIN = f"+ bcrypt 5.1.1 {SHA256} 7 npm_config_bcrypt_lib_binary_host_mirror v5.1.1/bcrypt.tar.gz"


def write_pinned(app: Workspace, bundle: str) -> None:
    write_app(app, bundle)
    lock = app.folder / "app" / "npm-fetch.lock"
    lock.write_text(lock.read_text() + PIN + "\n")


def test_a_pinned_binary_is_an_input_of_the_package_that_takes_it_alone(app: Workspace) -> None:
    decided = {"bcrypt": "prebuilt", "node-sass": "source"}
    write_pinned(app, f"install_scripts={decided}")
    app.package("app:release")
    steps = {
        json.loads(step.call.arguments)["name"]: step
        for step in app.steps("slipway.npm.programs.compile")
    }
    assert [file.request() for file in steps["bcrypt"].locked.files] == [
        Request(
            kind="binary",
            name="bcrypt",
            variable="npm_config_bcrypt_lib_binary_host_mirror",
            file="v5.1.1/bcrypt.tar.gz",
            path=f"binaries/{SHA256}",
            sha256=SHA256,
            size=7,
        )
    ]
    binaries = json.loads(steps["bcrypt"].call.arguments)["binaries"]
    assert binaries == {"v5.1.1/bcrypt.tar.gz": f"in/binaries/{SHA256}"}
    assert not steps["node-sass"].locked.files


def test_lint_finds_binaries_that_nobody_takes(app: Workspace) -> None:
    write_pinned(app, 'install_scripts={"bcrypt": "source", "node-sass": "skip"}')
    said = app.lint("app:bundle")
    assert said.exit_code == 1
    assert "no bundle uses these pinned binaries" in said.stdout
    assert "bcrypt@5.1.1: v5.1.1/bcrypt.tar.gz" in said.stdout
    write_pinned(app, 'install_scripts={"bcrypt": "prebuilt", "node-sass": "skip"}')
    assert app.lint("app:bundle").stdout == ""


@pytest.mark.parametrize("goal", ["lint", "package"])
def test_a_lock_cannot_have_the_value_of_any_variable_sent_away(app: Workspace, goal: str) -> None:
    write_app(app, 'install_scripts={"bcrypt": "prebuilt", "node-sass": "skip"}')
    lock = app.folder / "app" / "npm-fetch.lock"
    line = f"+ bcrypt 5.1.1 {SHA256} 7 CI_DEPLOY_TOKEN bcrypt.tar.gz"
    lock.write_text(f"{lock.read_text()}{line}\n")
    if goal == "lint":
        said = app.lint("app:bundle").stdout
    else:
        with pytest.raises(Exception, match="pinned binaries use variables") as caught:
            app.package("app:release")
        said = str(caught.value)
    assert "bcrypt@5.1.1, bcrypt.tar.gz: CI_DEPLOY_TOKEN" in said
    assert "in:    app/npm-fetch.lock" in said
    assert "--install-scripts-variables=\"{'bcrypt': ['CI_DEPLOY_TOKEN']}\"" in said


def test_the_user_s_table_makes_a_variable_known(
    make_workspace: Callable[..., Workspace],
) -> None:
    app = make_workspace("--install-scripts-variables={'bcrypt': ['OUR_BCRYPT_MIRROR']}")
    write_app(app, 'install_scripts={"bcrypt": "prebuilt", "node-sass": "skip"}')
    lock = app.folder / "app" / "npm-fetch.lock"
    line = f"+ bcrypt 5.1.1 {SHA256} 7 OUR_BCRYPT_MIRROR bcrypt.tar.gz"
    lock.write_text(f"{lock.read_text()}{line}\n")
    assert app.lint("app:bundle").stdout == ""


def test_lint_finds_decisions_on_nothing(app: Workspace) -> None:
    write_app(app, 'install_scripts={"bcript": "source"}')
    assert '"bcript"; did you mean bcrypt?' in app.lint("app:bundle").stdout


def test_only_install_scripts_that_run_need_a_toolchain(app: Workspace) -> None:
    write_app(app, f"{NAMED}, toolchain=None")
    with pytest.raises(
        Exception, match="needs a toolchain, and the bundle has no toolchain"
    ) as caught:
        app.package("app:release")
    assert "in:    app:bundle, field toolchain" in str(caught.value)
    assert 'next:  set toolchain="//toolchains/gcc48"' in str(caught.value)


def test_a_report_of_another_form_is_a_message(
    app: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = {"bytes": "many", "elsewhere": [], "foreign": []}
    monkeypatch.setitem(stand_ins._REPORTS, "compile.json", forged)
    write_app(app, NAMED)
    with pytest.raises(Exception, match="a build step wrote an invalid report") as caught:
        app.package("app:release")
    assert "found: Report.bytes: str, not int" in str(caught.value)


# --- Scripts that try to download.

COMPILE = "slipway.npm.programs.compile"
TRIED = Attempt(
    "binaries.example", "node install.js", "bcrypt", "5.1.1", "install", "node install.js"
)


def package_after(
    app: Workspace, monkeypatch: pytest.MonkeyPatch, decision: str, status: int
) -> str:
    """What the release's build says, whose install scripts tried to download and ended with `status`."""
    monkeypatch.setitem(stand_ins._RESULTS, COMPILE, (status, (TRIED,)))
    write_app(app, f'install_scripts={{"bcrypt": "{decision}", "node-sass": "skip"}}')
    with pytest.raises(Exception, match="tried to download files that are not declared") as caught:
        app.package("app:release")
    return str(caught.value)


WAYS = {
    "source": 'compile from source:  install_scripts={"bcrypt": "source"}',
    "prebuilt": "pin its binary:       ./pants install-scripts --pin=bcrypt app:bundle",
    "skip": 'skip the script:      install_scripts={"bcrypt": "skip"}',
}


@pytest.mark.parametrize(
    ("decision", "status"), [("run", 0), ("run", 1), ("prebuilt", 0), ("source", 1)]
)
def test_no_advice_is_the_decision_that_the_bundle_has(
    app: Workspace, monkeypatch: pytest.MonkeyPatch, decision: str, status: int
) -> None:
    said = package_after(app, monkeypatch, decision, status)
    assert "tried to reach binaries.example" in said
    assert {name for name, way in WAYS.items() if way in said} == WAYS.keys() - {decision}
    assert (f"{COMPILE} failed" in said) == (decision == "source")


def test_a_script_that_compiled_after_a_blocked_download_is_told(
    app: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(stand_ins._RESULTS, COMPILE, (0, (TRIED,)))
    write_app(app, 'install_scripts={"bcrypt": "source", "node-sass": "skip"}')
    app.package("app:release")
    assert (
        'app:bundle: bcrypt@5.1.1 (install script "node install.js") tried to reach binaries.example, '
        "which build steps cannot reach; the script went on and compiled bcrypt@5.1.1"
    ) in caplog.text
