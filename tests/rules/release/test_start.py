"""A release that cannot start is not made: its start script is read, and then started."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from slipway.release.programs import start_probe
from slipway.step.interface import Call
from tests.rules import workspace as stand_ins
from tests.rules.workspace import Workspace, make_build

COMPILED = 'runtime_sources=[], build_outputs=["dist"], static_dir=""'


def write_app(
    workspace: Workspace, scripts: Dict[str, str], bundle: str = "", release: str = ""
) -> None:
    manifest = {"name": "app", "version": "1.0.0", "scripts": scripts}
    workspace.write_app(
        "app", BUILD=make_build(bundle, release), **{"package.json": json.dumps(manifest)}
    )


def steps_report(monkeypatch: pytest.MonkeyPatch, name: str, report: Dict[str, Any]) -> None:
    monkeypatch.setitem(stand_ins._REPORTS, name, report)


def files(*app: str, static: Any = ()) -> Dict[str, Any]:
    return {
        "app": {"files": list(app), "links": []},
        "static": {"files": list(static), "links": []},
    }


def test_a_file_in_the_static_archive_is_not_in_the_release(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_app(workspace, {"build": "x", "start": "node dist/main"}, "", 'run_script="start"')
    steps_report(monkeypatch, "files.json", files("package.json", static=["dist/main.js"]))
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    said = str(caught.value)
    assert "in:    app:release, field run_script" in said
    assert '1. "start": node dist/main: the release contains no file dist/main' in said
    assert 'next:  set static_dir="" in app:bundle: dist/main is in the static archive' in said
    assert not workspace.steps("slipway.release.programs.tarball")


def test_a_static_archive_that_is_included_has_the_file(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = 'run_script="start", static="include"'
    write_app(workspace, {"build": "x", "start": "node dist/main"}, "", release)
    steps_report(monkeypatch, "files.json", files("package.json", static=["dist/main.js"]))
    workspace.package("app:release")


def test_a_file_outside_of_the_build_outputs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_app(workspace, {"build": "x", "serve": "node out/main.js"})
    steps_report(monkeypatch, "build.json", {"undeclared": ["out/main.js"]})
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    assert 'add "out" to build_outputs in app:bundle' in str(caught.value)


def test_a_file_outside_of_the_runtime_sources(workspace: Workspace) -> None:
    write_app(workspace, {"build": "x", "serve": "node server/main.js"})
    workspace.write({"app/server/main.js": ""})
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    assert 'add "server/**" to runtime_sources in app:bundle' in str(caught.value)


def test_a_command_of_a_dev_dependency_names_a_script_that_works(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"build": "nest build", "start": "nest start", "start:prod": "node dist/main"}
    write_app(workspace, scripts, "", 'run_script="start"')
    installed = {**stand_ins._REPORTS["install.json"], "bins_left_out": ["nest"]}
    steps_report(monkeypatch, "install.json", installed)
    steps_report(monkeypatch, "files.json", files("package.json", static=["dist/main.js"]))
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    said = str(caught.value)
    assert '"start": nest start: the release contains no program nest' in said
    assert 'next:  set run_script="start:prod" in app:release' in said
    assert 'set static_dir="" in app:bundle: dist/main is in the static archive' in said


def test_a_script_that_does_not_exist(workspace: Workspace) -> None:
    write_app(workspace, {"build": "x", "start": "node service/app.js"})
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    said = str(caught.value)
    assert 'package.json has no script "serve"' in said
    assert 'next:  set run_script="start" in app:release' in said


def test_a_release_may_have_no_run_script(workspace: Workspace) -> None:
    write_app(workspace, {"build": "x"}, "", 'run_script=""')
    workspace.package("app:release")
    assert not workspace.steps(start_probe.__name__)


def test_what_depends_on_the_hosts_is_a_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    write_app(workspace, {"build": "x", "serve": "java -jar service/app.jar"})
    workspace.package("app:release")
    assert (
        "app:release: whether the release starts depends on its hosts: "
        '"serve": java -jar service/app.jar: the release contains no program java' in caplog.text
    )


def test_a_server_that_its_build_writes_needs_no_runtime_sources(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_report(monkeypatch, "files.json", files("package.json", "dist/main.js"))
    scripts = {"build": "x", "serve": "node dist/main.js"}
    for fields in (COMPILED, 'static_dir=""'):
        write_app(workspace, scripts, fields)
        workspace.write({"app/service/app.js": ""})
        (workspace.folder / "app" / "service" / "app.js").unlink()
        workspace.package("app:release")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param('runtime_sources=["servr/**"], static_dir=""', id="a misspelt folder"),
        pytest.param("runtime_sources=[]", id="all outputs are static"),
        pytest.param('runtime_sources=[], build_script=""', id="no build"),
    ],
)
def test_a_release_of_nothing_is_refused(workspace: Workspace, fields: str) -> None:
    write_app(workspace, {"build": "x", "serve": "node dist/main.js"}, fields)
    with pytest.raises(
        Exception, match='the field runtime_sources of "app:bundle" matches no file'
    ):
        workspace.package("app:release")


def test_packages_that_are_not_released_are_missing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {**stand_ins._REPORTS["install.json"], "bins": ["koa"]}
    steps_report(monkeypatch, "install.json", installed)
    write_app(workspace, {"build": "x", "serve": "koa"})
    workspace.package("app:release")
    write_app(workspace, {"build": "x", "serve": "koa"}, 'node_modules="none"')
    with pytest.raises(Exception, match="the release cannot start") as caught:
        workspace.package("app:release")
    assert "the release contains no program koa" in str(caught.value)


def report(last: str, **watched: Any) -> Dict[str, Any]:
    return {"watched": {"processes": 0, "ports": [], **watched}, "last": last.splitlines()}


def test_a_release_that_lacks_a_module_is_an_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write_app("app")
    last = "Error: Cannot find module 'left'\n  code: 'MODULE_NOT_FOUND'"
    steps_report(monkeypatch, "start.json", report(last, status=1))
    with pytest.raises(Exception, match="the release does not start") as caught:
        workspace.package("app:release")
    said = str(caught.value)
    assert 'it ended with exit status 1 (script "serve")' in said
    assert "in:    app:release, field run_script" in said
    assert "Cannot find module 'left'" in said
    assert 'start_probe="off" in app:release' in said


def test_a_release_without_its_database_is_a_warning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.write_app("app")
    last = "Error: connect ECONNREFUSED 127.0.0.1:5432"
    steps_report(monkeypatch, "start.json", report(last, status=1))
    workspace.package("app:release")
    assert 'started with the script "serve": it ended with exit status 1' in caplog.text
    assert last in caplog.text


@pytest.mark.parametrize(
    ("field", "patience", "listens"), [("listen", 30_000, True), ("run", 5_000, False)]
)
def test_a_worker_has_only_to_run(
    workspace: Workspace, field: str, patience: int, listens: bool
) -> None:
    workspace.write_app("app", BUILD=make_build("", f'start_probe="{field}"'))
    workspace.package("app:release")
    (step,) = workspace.steps(start_probe.__name__)
    arguments = read(step.call)
    assert (arguments.patience, arguments.listens) == (patience, listens)


def test_the_environment_file_of_hosts_is_not_read(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build("", 'env_file="/etc/app/env"'))
    workspace.package("app:release")
    (step,) = workspace.steps(start_probe.__name__)
    assert read(step.call).launcher.env_file == ""


def test_nothing_is_started_if_nobody_asks(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build("", 'start_probe="off"'))
    workspace.package("app:release")
    assert not workspace.steps(start_probe.__name__)


def read(call: Call) -> start_probe.Arguments:
    return start_probe.PROGRAM.read(call.arguments)
