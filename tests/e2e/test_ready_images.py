"""Images that a team has already: by digest from a real registry, by ID from a real engine."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from tests.e2e import harness
from tests.e2e.engine import Engine
from tests.e2e.harness import Result, Workspace
from tests.e2e.tiny_app import TinyApp

# In parts, because the test searches the workspace for it, and this file is in the workspace.
USER, PASSWORD = "robot", "-".join(("canary", "of", "the", "registry"))
# bcrypt of the password above, as htpasswd writes it.
HTPASSWD = "robot:$2b$05$abcdefghijklmnopqrstuuTQLdDQ2arfM5hmv74DJrVlfO6Ojq7Qm"
TEAM = "toolchains/team"


@dataclass
class Registry:
    host: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module")
def registry(session_folder: Path) -> Iterator[Registry]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no docker-registry here: apt-get install docker-registry")
    folder = session_folder / "registry"
    folder.mkdir()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (folder / "htpasswd").write_text(HTPASSWD + "\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "team", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        harness.wait_until(lambda: answers(port), 30, "the registry answers")
        yield Registry(f"127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("ready-images", daemon=True)


@dataclass(frozen=True)
class Pushed:
    """The base image, as an engine has it and as a registry has it."""

    image_id: str
    reference: str


@pytest.fixture(scope="module")
def pushed(workspace: Workspace, engine: Engine, registry: Registry) -> Pushed:
    workspace.pants("package", "//toolchains/base").ok()
    archive = workspace.dist("toolchains.base/base/base.tar")
    loaded = engine.docker("load", f"--input={archive}").partition("image: ")[2].strip()
    image_id = engine.docker("image", "inspect", "--format={{.Id}}", loaded).strip()
    name = f"{registry.host}/team/base"
    engine.docker("tag", image_id, name)
    config = f"--config={engine.folder / 'logins'}"
    engine.docker(config, "login", f"--username={USER}", f"--password={PASSWORD}", registry.host)
    said = engine.docker(config, "push", name)
    return Pushed(image_id, f"{name}@{said.partition('digest: ')[2].split()[0]}")


@pytest.fixture
def logged_in(workspace: Workspace, engine: Engine) -> Iterator[None]:
    folder = workspace.home / ".docker"
    shutil.copytree(engine.folder / "logins", folder)
    yield
    shutil.rmtree(folder)


def write_team(workspace: Workspace, image: str) -> None:
    folder = workspace.root / TEAM
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "BUILD").write_text(f'node_toolchain(name="team", image="{image}")\n')


def lock(workspace: Workspace, **more: Any) -> Result:
    return workspace.pants("generate-lockfiles", "--resolve=toolchain:team", **more)


def package(workspace: Workspace, app: TinyApp, **more: Any) -> Result:
    return workspace.pants(f"--slipway-base-image=//{TEAM}", "package", app.release, **more)


@pytest.mark.long
def test_an_image_of_a_registry_is_the_root_of_every_step(
    workspace: Workspace, pushed: Pushed, registry: Registry, scratch: Path, logged_in: None
) -> None:
    write_team(workspace, pushed.reference)
    app = TinyApp(workspace, "apps/ready")
    app.write()
    said = package(workspace, app).failed()
    assert "next:  ./pants generate-lockfiles --resolve=toolchain:team" in said.output
    lock(workspace).ok()
    said = package(workspace, app).ok()
    assert any(
        one.startswith("Unpack the ready image of toolchains/team") for one in said.counts.ran
    )
    written = (workspace.root / TEAM / "packages.lock").read_text()
    # What is cached needs no registry, nor a login.
    asked = registry.log.count("GET")
    again = package(workspace, app).ok()
    assert again.counts.ran == []
    assert registry.log.count("GET") == asked
    for place in (workspace.caches.store, workspace.caches.named, workspace.root / "dist"):
        found = subprocess.run(
            ["grep", "-rlF", PASSWORD, str(place)], stdout=subprocess.PIPE, check=False
        )
        assert found.stdout == b""
    assert PASSWORD not in said.output + written


@pytest.mark.long
def test_an_image_of_the_local_engine_is_taken_by_its_id(
    workspace: Workspace,
    pushed: Pushed,
    engine: Engine,
    with_docker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_team(workspace, pushed.image_id)
    app = TinyApp(workspace, "apps/by-id")
    app.write()
    monkeypatch.setattr(workspace, "path", with_docker)
    lock(workspace, env=engine.env).ok()
    package(workspace, app, env=engine.env).ok()
    # The flattened root is the same as the registry's, whatever compressed its layers there.
    gone = {"DOCKER_HOST": "unix:///nowhere.sock"}
    assert package(workspace, app, env=gone).ok().counts.ran == []


@pytest.mark.long
def test_what_is_wrong_with_an_image_is_told(
    workspace: Workspace, pushed: Pushed, registry: Registry, engine: Engine, with_docker: str
) -> None:
    write_team(workspace, pushed.reference)
    said = lock(workspace).failed()
    assert f"next:  docker login {registry.host}" in said.output

    write_team(workspace, "team/base:latest@sha256:" + "0" * 64)
    said = lock(workspace).failed()
    assert "toolchains/team:team, field image" in said.output
    assert 'image="registry.example/team/image@sha256:…"' in said.output

    write_team(workspace, "sha256:" + "0" * 64)
    said = lock(workspace).failed()
    assert "no docker program on the PATH" in said.output
    said = lock(workspace, env={**engine.env, "PATH": with_docker}).failed()
    assert "o such image" in said.output
    assert "docker image ls --no-trunc" in said.output
    assert "Traceback" not in said.output
    assert not (workspace.root / TEAM / "packages.lock").exists()


@pytest.mark.long
def test_a_gone_image_is_told_with_its_registry(
    workspace: Workspace, pushed: Pushed, registry: Registry, logged_in: None
) -> None:
    write_team(workspace, pushed.reference[:-64] + "0" * 64)
    said = lock(workspace).failed()
    assert "HTTP 404" in said.output
    assert f"if it is private: docker login {registry.host}" in said.output
