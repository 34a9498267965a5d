"""Whose service is healthy: real Nodes, and others that hold the port."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from slipway.deploy.deployment import Health
from tests.deploy.sites import Site, plain_site
from tests.e2e import harness
from tests.npm import npm_tools
from tests.npm.npm_tools import NPM_6_OLD_NODE

SERVER = """
require("http").createServer(function (asked, answer) { answer.end(process.argv[3]); })
  .listen(Number(process.argv[2]), "127.0.0.1");
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    with plain_site() as site:
        yield site


@pytest.fixture(scope="module")
def node() -> str:
    return f"{npm_tools.unpacked(NPM_6_OLD_NODE)[0]}/bin/node"


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def site(site: Site, port: int) -> Site:
    url = f"http://127.0.0.1:{port}/"
    site.configure(health=Health(url=url, retries=4, interval=1, timeout=5, hold=1))
    return site


def ship(site: Site, node: str, port: int, version: str) -> Any:
    return site.ship(
        version,
        program=node,
        files={"server.js": SERVER},
        service=f'"$node" "$top/server.js" {port} {version}',
    )


def test_a_process_that_survived_is_not_the_new_release(
    site: Site, node: str, port: int, tmp_path: Path
) -> None:
    """It runs by the host's own Node, from wherever it was started."""
    (tmp_path / "old.js").write_text(SERVER)
    old = subprocess.Popen([node, str(tmp_path / "old.js"), str(port), "old"], cwd="/")
    try:
        harness.wait_until(lambda: answers(port), 10, "the old one answers")
        host = ship(site, node, port, "1.0.0")
        assert host.status == "DOWN"
        assert "the release is not healthy" in host.text
        assert f"port {port} is answered by " in host.text
        assert answers(port)  # who is not Slipway's is left alone
    finally:
        old.kill()
        old.wait()
    assert ship(site, node, port, "1.0.1").status == "healthy"
    assert ship(site, node, port, "1.0.2").status == "healthy"
    assert site.served() == "1.0.2"


def test_a_service_that_dies_and_restarts_is_not_healthy(site: Site, node: str, port: int) -> None:
    site.configure(health=dataclasses.replace(site.deployment.health, hold=4))
    dies = f"{SERVER}\nsetTimeout(function () {{ process.exit(1); }}, 1500);"
    host = site.ship(
        "1.0.0",
        program=node,
        files={"server.js": dies},
        service=f'(while [ -x "$node" ]; do "$node" "$top/server.js" {port} 1; done)',
    )
    assert host.status == "DOWN", host.text
    site._run("pkill -f server.js; pkill -f releases")


CLUSTER = """
var cluster = require("cluster");
if (cluster.isMaster) { cluster.fork(); cluster.on("exit", function () { cluster.fork(); }); }
else {
  require("http").createServer(function (asked, answer) { answer.end(); })
    .listen(Number(process.argv[2]), "127.0.0.1");
  setTimeout(function () { process.exit(1); }, Number(process.argv[3]));
}
"""


@pytest.mark.parametrize(
    ("lives", "status"),
    [(1500, "DOWN"), pytest.param(60_000, "healthy", marks=pytest.mark.long)],
)
def test_a_worker_that_dies_and_is_forked_again_is_not_healthy(
    site: Site, node: str, port: int, lives: int, status: str
) -> None:
    """Its master lives all the while."""
    site.configure(health=dataclasses.replace(site.deployment.health, hold=4))
    host = site.ship(
        "1.0.0",
        program=node,
        files={"server.js": CLUSTER},
        service=f'"$node" "$top/server.js" {port} {lives}',
    )
    assert host.status == status, host.text


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
