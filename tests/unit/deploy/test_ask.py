"""Whose answer a health check counts: real Nodes, old and new, and servers that are somebody else's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Iterator, List

import pytest

from slipway.deploy.session import agent_text
from tests.e2e import harness
from tests.npm import npm_tools
from tests.npm.npm_tools import NPM_6_OLD_NODE, NPM_8, Npm
from tests.places import SOURCES

ASK = SOURCES / "slipway" / "deploy" / "programs" / "ask.js"
SERVER = """
require("http").createServer(function (asked, answer) {
  answer.statusCode = Number(asked.url.slice(1)) || 200;
  answer.end("body");
}).listen(Number(process.argv[1] || 0), process.argv[2], function () { console.log(this.address().port); });
"""
CLUSTER = """
var cluster = require("cluster");
if (cluster.isMaster) {
  cluster.fork().on("message", function (port) { console.log(port); });
} else {
  require("http").createServer(function (asked, answer) { answer.end(); }).listen(0, function () {
    process.send(this.address().port);
  });
}
"""
# Takes a connection itself, and hands it to its child a while later.
HANDING_ON = """
if (process.argv[2]) {
  var http = require("http").createServer(function (asked, answer) { answer.end(); });
  process.on("message", function (text, socket) { http.emit("connection", socket); socket.resume(); });
} else {
  var child = require("child_process").fork(__filename, ["child"]);
  require("net").createServer({ pauseOnConnect: true }, function (socket) {
    setTimeout(function () { child.send("yours", socket); }, 300);
  }).listen(0, function () { console.log(this.address().port); });
}
"""


@pytest.fixture(scope="module", params=[NPM_8, NPM_6_OLD_NODE], ids=str)
def node(request: pytest.FixtureRequest) -> str:
    npm: Npm = request.param  # type: ignore[attr-defined]
    return f"{npm_tools.unpacked(npm)[0]}/bin/node"


@contextlib.contextmanager
def serving(node: str, *program: str) -> Iterator[Served]:
    """`program` is a file and its arguments, else a server at any port of any address."""
    command = [node, *(program or ("-e", SERVER, "0"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Served(process.pid, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def at(address: str, port: int = 0) -> List[str]:
    return ["-e", SERVER, str(port), address]


class Served:
    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port


def ask(node: str, url: str, pids: List[int], answered: str = os.devnull) -> str:
    """What is said to be wrong, if anything."""
    done = subprocess.run(
        [node, "-e", ASK.read_text(), url, answered, *map(str, pids)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode == 0) == (not done.stdout)
    return done.stdout.strip()


@pytest.mark.parametrize("address", ["127.0.0.1", "::", "0.0.0.0"])
def test_the_release_s_own_answer_counts(node: str, address: str) -> None:
    with serving(node, *at(address)) as server:
        assert ask(node, f"http://127.0.0.1:{server.port}/", [server.pid]) == ""
        assert ask(node, f"http://localhost:{server.port}/", [1, server.pid]) == ""


def test_a_worker_of_a_cluster_is_of_the_release_too(node: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.js").write_text(CLUSTER)
    with serving(node, str(tmp_path / "cluster.js")) as server:
        pids = [server.pid, *harness.descendants(server.pid)]
        assert ask(node, f"http://127.0.0.1:{server.port}/", pids) == ""


def test_who_was_handed_the_connection_has_answered(node: str, tmp_path: Path) -> None:
    """Also a worker that began after the processes of the release were listed."""
    (tmp_path / "server.js").write_text(HANDING_ON)
    with serving(node, str(tmp_path / "server.js")) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert ask(node, url, [server.pid], str(tmp_path / "answered")) == ""
        (worker,) = harness.descendants(server.pid)
    assert (tmp_path / "answered").read_text() == str(worker)


def test_another_process_at_the_same_port_does_not_count(node: str) -> None:
    with serving(node, *at("127.0.0.1")) as old, serving(node, *at("127.0.0.1")) as new:
        said = ask(node, f"http://127.0.0.1:{old.port}/", [new.pid])
    assert said == (
        f"health: port {old.port} is answered by process {old.pid}, "
        "which does not run from this release"
    )


def test_a_process_at_the_same_port_of_another_address_does_not_count(node: str) -> None:
    """The old one holds the loopback address that is asked, the new one listens on another."""
    with serving(node, *at("127.0.0.1")) as old, serving(node, *at("127.0.0.2", old.port)) as new:
        said = ask(node, f"http://127.0.0.1:{old.port}/", [new.pid])
    assert f"is answered by process {old.pid}" in said


def test_a_process_that_closes_each_connection_does_not_count(node: str) -> None:
    closing = SERVER.replace(
        "answer.statusCode", "answer.shouldKeepAlive = false; answer.statusCode"
    )
    old_one = serving(node, "-e", closing, "0", "127.0.0.1")
    with old_one as old, serving(node, *at("::1", old.port)) as new:
        for _ in range(5):
            said = ask(node, f"http://127.0.0.1:{old.port}/", [new.pid])
            assert f"is answered by process {old.pid}" in said
        assert ask(node, f"http://[::1]:{old.port}/", [new.pid]) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_a_process_of_another_user_does_not_count(node: str) -> None:
    with serving(node) as server:
        command = ["setpriv", "--reuid=65534", "--clear-groups", node, "-e", ASK.read_text()]
        url = f"http://127.0.0.1:{server.port}/"
        done = subprocess.run([*command, url], stdout=subprocess.PIPE, text=True, check=False)
    assert "is answered by a process of another user, which does not run" in done.stdout


@pytest.mark.parametrize("status", [200, 302, 399, 400, 404, 503])
def test_an_error_is_not_healthy(node: str, status: int) -> None:
    with serving(node) as server:
        said = ask(node, f"http://127.0.0.1:{server.port}/{status}", [server.pid])
    assert said == ("" if status < 400 else f"health: the response status is {status}")


def test_no_process_listens(node: str) -> None:
    assert "ECONNREFUSED" in ask(node, "http://127.0.0.1:9/", [1])


def test_the_agent_contains_it_as_one_shell_string() -> None:
    assert "'" not in ASK.read_text()
    assert ASK.read_text() in agent_text()
    assert "@ask.js@" not in agent_text()
