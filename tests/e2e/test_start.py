"""A release is started once before it is written, as its hosts would start it."""

from __future__ import annotations

from typing import Callable

import pytest

from tests.e2e.harness import Result, Workspace
from tests.e2e.tiny_app import TinyApp

SERVER = "require('http').createServer().listen(process.env.PORT, '127.0.0.1');\n"
BACKGROUND = (
    "require('child_process').spawn(process.execPath, ['service/server.js'],"
    " {detached: true, stdio: 'ignore'}).unref();\n"
)
NO_DATABASE = "require('net').connect(5432, '127.0.0.1');\n"
SECRET = "if (process.env.HOME_OF_USER) throw new Error('an environment that hosts lack');\n"


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("start", daemon=True)


def package(workspace: Workspace, name: str, program: str, start: str = "listen") -> Result:
    app = TinyApp(workspace, f"apps/{name}", release_fields=f'start_probe="{start}"')
    app.bundle = 'build_script=""'
    app.write()
    app.put("service/app.js", program)
    app.put("service/server.js", SERVER)
    return workspace.pants("package", app.release, env={"HOME_OF_USER": "x"})


def test_a_server_listens(workspace: Workspace) -> None:
    said = package(workspace, "listens", SECRET + SERVER).ok()
    assert "Start tiny for prod" in said.output
    assert "the release was started" not in said.output


def test_a_server_in_the_background_is_the_release_s(workspace: Workspace) -> None:
    said = package(workspace, "background", BACKGROUND).ok()
    assert "the release was started" not in said.output


def test_a_missing_module_writes_nothing(workspace: Workspace) -> None:
    said = package(workspace, "lacks", "require('./config');\n").failed()
    assert "the release does not start: it ended with exit status 1" in said.output
    assert "in:    apps/lacks:release, field run_script" in said.output
    assert "Cannot find module './config'" in said.output
    assert not workspace.dist("apps.lacks").exists()


def test_a_database_that_is_not_there_is_a_warning(workspace: Workspace) -> None:
    said = package(workspace, "refused", NO_DATABASE).ok()
    assert 'started with the script "serve": it ended with exit status 1' in said.output
    assert "connect ECONNREFUSED 127.0.0.1:5432" in said.output
    assert workspace.dist("apps.refused", "release").exists()


@pytest.mark.long
def test_a_worker_runs(workspace: Workspace) -> None:
    said = package(workspace, "works", "setInterval(() => {}, 1000);\n", "run").ok()
    assert "the release was started" not in said.output
