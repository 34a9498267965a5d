"""What programs read of a deploy, how it ends, and what a signal does: by the program itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import pytest

from tests.deploy.faults import PROGRAM
from tests.deploy.sites import Site, plain_site
from tests.e2e import harness


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    with plain_site() as site:
        yield site


class Command:
    """One run of the program, with an inventory of its own."""

    def __init__(self, site: Site, folder: Path, *arguments: str, **changed: Any) -> None:
        described = {
            "path": site.top,
            "hosts": [site.name],
            "server_env": "prod",
            "boot": "off",
            "health": {"retries": 2, "interval": 1, "timeout": 5, "hold": 0},
            "ssh_options": list(site.deployment.ssh_options),
            **changed,
        }
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps(described))
        self.command = [sys.executable, *PROGRAM, *arguments, f"--to={inventory}"]
        self.process: Optional[subprocess.Popen[str]] = None

    def start(self, **env: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **env}
        )

    def run(self, **env: str) -> Tuple[int, str, str]:
        process = self.start(**env)
        out, error = process.communicate(timeout=120)
        assert "Traceback" not in error
        return process.returncode, out, error

    def json(self) -> Tuple[int, Dict[str, Any], Dict[str, Any]]:
        """The exit status, the document, and the record of the first host."""
        self.command.append("--format=json")
        status, out, _ = self.run()
        document = json.loads(out)
        assert (document["format"], document["exit_status"]) == (2, status)
        return status, document, next(iter(document["hosts"]), {})


def deploy(site: Site, folder: Path, version: str, **more: Any) -> Command:
    changed = more.pop("changed", {})
    return Command(site, folder, "deploy", str(site.release(version, **more)), **changed)


def test_a_deploy_and_a_rollback_report_their_outcome(site: Site, tmp_path: Path) -> None:
    said = {"hooks": {"before_local": "echo of a hook", "after_local": "echo of another"}}
    status, document, host = deploy(site, tmp_path, "1.0.0", changed=said).json()
    assert (status, document["command"], document["error"]) == (0, "deploy", None)
    assert (host["status"], host["before"]) == ("healthy", "")
    assert host["served"] == host["target"]
    first = host["served"]
    status, _, host = deploy(site, tmp_path, "1.1.0").json()
    assert (status, host["before"]) == (0, first)
    second = host["served"]
    assert second == host["target"] != first
    status, document, host = Command(site, tmp_path, "rollback").json()
    assert (status, document["command"]) == (0, "rollback")
    assert (host["before"], host["target"], host["served"]) == (second, first, first)
    status, _, host = Command(site, tmp_path, "rollback", "--release=1.1.0").json()
    assert (status, host["served"]) == (0, second)
    status, _, host = Command(site, tmp_path, "releases").json()
    assert status == 0
    (pid,) = next(one["pids"] for one in host["releases"] if one["id"] == second)
    harness.end({pid})
    status, _, host = Command(site, tmp_path, "releases").json()
    assert status == 1
    status, out, _ = Command(site, tmp_path, "releases").run()
    assert status == 1
    assert "NOT running" in out


def test_exit_statuses_of_failed_commands(site: Site, tmp_path: Path) -> None:
    assert deploy(site, tmp_path, "1.0.0").json()[0] == 0
    status, document, host = deploy(site, tmp_path, "1.1.0", health="false").json()
    assert (status, host["status"]) == (3, "returned")
    assert "-1.0.0-" in host["served"]
    assert "-1.1.0-" in host["target"]
    assert document["error"]["what"].startswith("1 of 1 hosts failed")
    both = {"hosts": [site.name, "nowhere.invalid"], "max_unhealthy": 1}
    status, document, _ = deploy(site, tmp_path, "1.2.0", changed=both).json()
    assert [one["status"] for one in document["hosts"]] == ["healthy", "unreachable"]
    assert status == 4
    lost = {"hosts": ["nowhere.invalid"]}
    status, _, host = deploy(site, tmp_path, "1.3.0", changed=lost).json()
    assert (status, host["status"]) == (1, "unreachable")
    status, document, host = Command(site, tmp_path, "rollback", "--release=9.9.9").json()
    assert (status, host["status"]) == (1, "waiting")
    assert document["error"]["what"] == '"9.9.9" matches 0 releases on the hosts'


def test_the_target_of_hosts_that_a_rollback_does_not_reach(site: Site, tmp_path: Path) -> None:
    assert deploy(site, tmp_path, "1.0.0").run()[0] == 0
    first = os.readlink(site.folder / "current").rpartition("/")[2]
    assert deploy(site, tmp_path, "1.1.0").run()[0] == 0
    hooks = {"before_local": "exit 1"}
    status, _, host = Command(site, tmp_path, "rollback", hooks=hooks).json()
    assert (status, host["status"], host["target"]) == (1, "waiting", first)
    site.run_there(f"cd releases/{first} && chmod u+w package.json && echo x >package.json")
    status, _, host = Command(site, tmp_path, "rollback").json()
    assert (status, host["status"], host["target"]) == (1, "refused", first)


@pytest.mark.parametrize("link", ["releases/20240101120000", "/srv/app"])
def test_a_service_of_another_tool_is_unknown(site: Site, tmp_path: Path, link: str) -> None:
    site._run(f"mkdir -p {site.top}/releases/20240101120000 && ln -s {link} {site.top}/current")
    status, out, _ = Command(site, tmp_path, "releases").run()
    assert status == 0
    assert "current unknown" in " ".join(out.split())


def test_a_current_release_that_is_gone(site: Site, tmp_path: Path) -> None:
    assert deploy(site, tmp_path, "1.0.0").run()[0] == 0
    id = os.readlink(site.folder / "current").rpartition("/")[2]
    harness.end(set(site.processes(id)))
    site.run_there(f"chmod -R u+w releases/{id} && rm -r releases/{id}")
    status, out, _ = Command(site, tmp_path, "releases").run()
    assert status == 1
    assert "current NOT running" in " ".join(out.split())
    assert f'"current" points to releases/{id}, which does not exist: deploy again\n' in out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"hosts": ["h2:22"]}, "set the port in its own field: port=22"),
        ({"hosts": []}, "hosts is missing"),
    ],
)
def test_invalid_settings_of_a_deployment(
    site: Site, tmp_path: Path, changed: Dict[str, Any], words: str
) -> None:
    status, document, _ = Command(site, tmp_path, "releases", **changed).json()
    assert (status, document["hosts"]) == (2, [])
    assert words in document["error"]["found"]
    status, out, error = Command(site, tmp_path, "releases", **changed).run()
    assert (status, out) == (2, "")
    assert words in error


def test_unknown_options(site: Site, tmp_path: Path) -> None:
    status, out, error = Command(site, tmp_path, "rollback", "--tp=x").run()
    assert (status, out) == (2, "")
    assert "--tp=x" in error
    status, document, _ = Command(site, tmp_path, "rollback", "--tp=x").json()
    assert (status, document["hosts"]) == (2, [])
    assert "--tp=x" in document["error"]["what"]


@pytest.mark.parametrize("option", ["--form=json", "--t=x"])
def test_options_are_not_abbreviated(site: Site, tmp_path: Path, option: str) -> None:
    status, out, error = Command(site, tmp_path, "releases", option).run()
    assert (status, out) == (2, "")
    assert error.endswith(f"error: unrecognized arguments: {option}\n")


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize(
    ("output", "status", "words"),
    [
        (">/dev/full", 4, "cannot print the outcome: No space left on device\n"),
        ("| exec true", 4, "cannot print the outcome: Broken pipe\n"),
        (">&-", 0, ""),
        (">/dev/null 2>/dev/full", 0, ""),
        ("2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written(
    site: Site, tmp_path: Path, form: str, output: str, status: int, words: str
) -> None:
    command = Command(site, tmp_path, "releases", f"--format={form}")
    late = f'trap "" PIPE; (sleep 0.5; exec "$@") {output}; exit ${{PIPESTATUS[0]}}'
    command.command = ["bash", "-c", late, "bash", *command.command]
    ended, out, error = command.run()
    lines = [line for line in error.splitlines(True) if not line.startswith(f"{site.name}: look")]
    assert (ended, "".join(lines)) == (status, words)
    assert ("plain" in out) == (output == "2>&-")


def test_unknown_options_when_output_cannot_be_written(site: Site, tmp_path: Path) -> None:
    command = Command(site, tmp_path, "releases", "--tp=x", "--format=json")
    command.command = ["sh", "-c", 'exec "$@" >/dev/full 2>/dev/full', "sh", *command.command]
    assert command.run()[0] == 2


def test_a_deploy_continues_when_its_progress_cannot_be_written(site: Site, tmp_path: Path) -> None:
    command = deploy(site, tmp_path, "1.0.0")
    command.command = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command.command]
    assert command.run()[0] == 0
    assert site.served() == "1.0.0"


@pytest.mark.parametrize(
    "text", ['hosts = ["a, "b]', "hosts = 1 = 2", "[[[", '["a"]', "hosts = [{a = 1}, {a = 1}]"]
)
@pytest.mark.parametrize("end", ["toml", "json"])
def test_inventories_that_cannot_be_parsed(site: Site, tmp_path: Path, text: str, end: str) -> None:
    command = Command(site, tmp_path, "releases")
    (tmp_path / f"broken.{end}").write_text(text)
    command.command[-1] = f"--to={tmp_path}/broken.{end}"
    assert command.json()[0] == 2


def test_a_hook_after_the_last_switch_that_fails(site: Site, tmp_path: Path) -> None:
    changed = {"hooks": {"after_local": "exit 3"}}
    status, document, host = deploy(site, tmp_path, "1.0.0", changed=changed).json()
    assert (status, host["status"]) == (4, "healthy")
    assert document["error"]["what"] == "the hook after_local failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_a_host_completes_its_switch(
    site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    assert deploy(site, tmp_path, "1.0.0").run()[0] == 0
    before = len(site.journal())
    process = deploy(site, tmp_path, "1.1.0", start="sleep 4").start()
    harness.wait_until(lambda: "linked" in site.journal()[before:], 30, "the switch")
    began = time.monotonic()
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(number)
    out, error = process.communicate(timeout=20)
    assert time.monotonic() - began < 4
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert error.count(f"ended by {number.name}: ") == 1
    assert "Traceback" not in error
    assert "ended" in out
    assert "the host finishes the switch on its own" in out
    harness.wait_until(lambda: "end, healthy" in site.journal()[before:], 30, "the end")
    assert site.served() == "1.1.0"


def test_a_signal_during_a_hook_of_this_machine(site: Site, tmp_path: Path) -> None:
    assert deploy(site, tmp_path, "1.0.0").run()[0] == 0
    started = tmp_path / "started"
    changed = {"hooks": {"before_local": f"touch {started}; sleep 60; true"}}
    process = deploy(site, tmp_path, "1.1.0", changed=changed).start()
    harness.wait_until(started.exists, 30, "the hook")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert time.monotonic() - began < 4
    assert process.returncode == 143
    assert site.served() == "1.0.0"
    assert deploy(site, tmp_path, "1.2.0").run()[0] == 0


def test_a_user_of_a_windows_domain(site: Site, tmp_path: Path) -> None:
    status, _, error = deploy(site, tmp_path, "1.0.0").run(LOGNAME="CORP\\me")
    assert status == 0, error
    assert "CORP/me@" in site.journal()


def test_more_hosts_than_open_files(site: Site, tmp_path: Path) -> None:
    many = {"hosts": [f"h{number}.invalid" for number in range(200)]}
    command = Command(site, tmp_path, "releases", **many)
    command.command = ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh", *command.command]
    status, _, error = command.run()
    assert status == 1
    assert "200 hosts need 900 open files, and the limit of this process is 300" in error
    command.command[2] = 'ulimit -Sn 300; exec "$@"'
    status, _, error = command.run()
    assert status == 1
    assert "open files" not in error
