"""A release on QuickJS on a host that has no Node: deployed, updated, and rolled back."""

from __future__ import annotations

import json
from typing import Callable, Iterator

import pytest

from tests.deploy import hosts
from tests.deploy.hosts import HostFarm
from tests.e2e import harness
from tests.e2e.harness import Workspace

pytestmark = pytest.mark.long

TOP = "/home/app/worker"
FOLDER = "examples/quickjs-app"
TARGET = f"//{FOLDER}:prod"
DEPLOYMENT = f"""
node_deployment(
    name="prod", release=":release", inventory="prod.toml", path="{TOP}", health={{health}}
)
"""
CHECKED_BY_SCRIPT = '{"retries": "10", "hold": "1"}'


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    hosts.require_hosts()
    with harness.scratch_folder("qjs-") as folder, HostFarm(folder / "farm", count=1) as made:
        yield made


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace], farm: HostFarm) -> Workspace:
    made = make_workspace("quickjs")
    names = ", ".join(f'"{host.name}"' for host in farm.hosts)
    inventory = f'hosts = [{names}]\nssh_options = ["-F", "{farm.ssh_config}"]\n'
    (made.root / FOLDER / "prod.toml").write_text(inventory)
    return made


def set_health(workspace: Workspace, health: str) -> None:
    file = workspace.root / FOLDER / "BUILD"
    sound = file.read_text().partition("\nnode_deployment(")[0]
    file.write_text(sound + DEPLOYMENT.format(health=health))


def set_version(workspace: Workspace, version: str, worker: str = "") -> None:
    for name in ("package.json", "package-lock.json"):
        path = workspace.root / FOLDER / name
        document = json.loads(path.read_text())
        document["version"] = version
        if "packages" in document:
            document["packages"][""]["version"] = version
        path.write_text(json.dumps(document, indent=2) + "\n")
    if worker:
        (workspace.root / FOLDER / "worker.js").write_text(worker)


def test_a_release_on_another_runtime_is_deployed_and_rolled_back(
    workspace: Workspace, farm: HostFarm
) -> None:
    (host,) = farm.hosts

    def served() -> str:
        return str(json.loads(host.run(f"cat {TOP}/current/package.json").stdout)["version"])

    set_health(workspace, CHECKED_BY_SCRIPT)
    workspace.pants("deploy", TARGET).ok()
    assert served() == "1.0.0"
    assert host.run(f"{TOP}/current/bin/app health").returncode == 0

    set_version(workspace, "1.1.0")
    workspace.pants("deploy", TARGET).ok()
    assert served() == "1.1.0"

    # It ends at once, so no process runs from the release and its check fails.
    set_version(workspace, "1.2.0", "throw new Error('broken');\n")
    build = workspace.root / FOLDER / "BUILD"
    build.write_text(build.read_text().replace('start_probe="run"', 'start_probe="off"'))
    workspace.pants("deploy", TARGET).failed()
    assert served() == "1.1.0"
    assert host.run(f"{TOP}/current/bin/app health").returncode == 0

    workspace.pants("rollback", TARGET).ok()
    assert served() == "1.0.0"
    assert host.run(f"{TOP}/current/bin/app health").returncode == 0


def test_a_health_check_by_url_is_refused(workspace: Workspace, farm: HostFarm) -> None:
    set_health(workspace, '{"url": "http://127.0.0.1:3000/health"}')
    said = workspace.pants("deploy", "--plan", TARGET).failed()
    assert (
        "the health check by URL needs Node.js, and the release has another runtime" in said.output
    )
    assert 'write a script "health" in package.json' in said.output
