"""Deploys to folders of this machine, by the real agent in each shell, without ssh."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from slipway.core.errors import SlipwayError
from slipway.deploy.deployment import Deployment, Health, Hooks
from slipway.deploy.session import Session, SessionLost, agent_text, local_command
from tests.unit.deploy.shipping import Shipping
from tests.unit.deploy.tiny_release import running_from, write_release

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
QUICK = Health(retries=3, interval=0, timeout=5, hold=0)


def _shells() -> Iterator[Any]:
    """dash in the quick tier, each of them in the long one."""
    for name in SHELLS:
        yield pytest.param(name, marks=() if name == "dash" else (pytest.mark.long,))


@pytest.fixture(params=_shells())
def shell(request: Any) -> List[str]:
    command = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    return command


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """Where hosts are folders; what runs from them is ended."""
    yield tmp_path / "hosts"
    for pid in running_from(tmp_path / "hosts"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Farm(Shipping):
    """Hosts that are folders below `top`."""

    def __init__(self, top: Path, shell: List[str], hosts: int = 1) -> None:
        self.names = tuple(f"h{number}" for number in range(1, hosts + 1))
        # The machine of the tests keeps its crontabs.
        super().__init__(
            Deployment("/nowhere", self.names, "prod", health=QUICK, stop_timeout=5, boot="off")
        )
        self.top, self.shell = top, shell

    def connect(self, name: str) -> Session:
        size = len(agent_text().encode())
        return Session(local_command(self.shell, str(self.top / name / "app"), size))

    def host(self, name: str = "h1") -> Path:
        return self.top / name / "app"

    def served(self, name: str = "h1") -> str:
        return os.readlink(self.host(name) / "current").rpartition("/")[2]


@pytest.fixture
def farm(top: Path, shell: List[str]) -> Farm:
    return Farm(top, shell)


def test_a_first_deploy_unpacks_verifies_starts_and_keeps_the_release(
    farm: Farm, tmp_path: Path
) -> None:
    coordinator = farm.deploy(write_release(tmp_path / "one", "1.0.0", files={"a b.js": "1"}))
    (host,) = coordinator.hosts
    assert (host.status, host.text) == ("healthy", "")
    current = farm.host() / "current"
    assert "-1.0.0-prod-" in farm.served()
    assert (current / "a b.js").read_text() == "1"
    assert os.readlink(current / "service" / "link") == "../package.json"
    assert os.access(current / "bin" / "app", os.X_OK)
    assert len(running_from(farm.host())) == 1
    journal = (farm.host() / ".slipway" / "journal").read_text()
    assert "end, healthy" in journal
    assert not (farm.host() / ".slipway" / "doing").exists()


@pytest.mark.long
def test_a_second_deploy_sends_what_differs_and_the_first_can_be_served_again(
    farm: Farm, tmp_path: Path
) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0", files={"a": "1", "b": "x", "gone": "1"}))
    first = farm.served()
    second = write_release(tmp_path / "two", "2.0.0", files={"a": "2", "b": "x"})
    (host,) = farm.deploy(second).hosts
    assert host.plan is not None
    assert host.plan.missing == {"a", "package.json"}
    assert "-2.0.0-" in farm.served()
    release = farm.host() / "current"
    assert {one.name for one in release.iterdir()} >= {"a", "b", "bin", "release.json"}
    assert not (release / "gone").exists()
    assert ((release / "a").read_text(), (release / "b").read_text()) == ("2", "x")

    farm.run(lambda coordinator: coordinator.rollback())
    assert farm.served() == first
    assert len(running_from(farm.host() / "releases" / first)) == 1
    assert len(running_from(farm.host())) == 1


@pytest.mark.long
def test_a_rollback_goes_to_what_some_of_the_hosts_serve_already(
    top: Path, shell: List[str], tmp_path: Path
) -> None:
    farm = Farm(top, shell, hosts=2)
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    farm.deployment = dataclasses.replace(farm.deployment, hosts=("h1",))
    farm.deploy(write_release(tmp_path / "two", "2.0.0"))
    farm.deployment = dataclasses.replace(farm.deployment, hosts=farm.names)
    farm.run(lambda coordinator: coordinator.rollback())
    assert all("-1.0.0-" in farm.served(name) for name in farm.names)


def test_an_unhealthy_release_is_replaced_by_the_old_one(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    first = farm.served()
    faults: List[Dict[str, Any]] = [{"health": "false"}, {"start": "exit 7"}]
    for number, fault in enumerate(faults):
        bad = write_release(tmp_path / f"bad{number}", f"1.0.{number + 1}", **fault)
        (host,) = farm.attempt(bad).hosts
        assert host.status == "returned", host.text
        assert first in host.text
        assert farm.served() == first
        assert len(running_from(farm.host())) == 1
    # A failed release is no target.
    with pytest.raises(SlipwayError, match="no earlier release was healthy"):
        farm.run(lambda coordinator: coordinator.rollback())


def test_a_service_that_does_not_stop_is_ended(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0", stop="sleep 100"))
    (old,) = running_from(farm.host())
    started = time.monotonic()
    farm.deploy(write_release(tmp_path / "two", "2.0.0"))
    assert time.monotonic() - started < 30
    assert "-2.0.0-" in farm.served()
    assert old not in running_from(farm.host())


@pytest.mark.long
def test_a_layer_that_is_gone_leaves_no_list(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0", files={"a": "1"}))
    second = write_release(tmp_path / "two", "2.0.0", files={"a": "1"}, app_layer="server")
    (host,) = farm.deploy(second).hosts
    assert host.plan is not None
    assert host.plan.missing == {"package.json"}
    assert host.sent == host.plan.bytes
    lists = {one.name for one in (farm.host() / "current" / ".release").iterdir()}
    assert lists == {"launcher.sha256", "runtime.sha256", "server.sha256"}


@pytest.mark.long
def test_a_tampered_file_is_sent_again(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0", files={"a": "1", "b": "x"}))
    tampered = farm.host() / "current" / "b"
    tampered.chmod(0o644)
    tampered.write_text("tampered")
    (host,) = farm.deploy(
        write_release(tmp_path / "two", "2.0.0", files={"a": "2", "b": "x"})
    ).hosts
    assert host.status == "healthy", host.text
    assert (farm.host() / "current" / "b").read_text() == "x"


@pytest.mark.long
def test_a_changed_kept_release_is_not_a_target(farm: Farm, tmp_path: Path) -> None:
    first = write_release(tmp_path / "one", "1.0.0", files={"a": "1"})
    farm.deploy(first)
    kept = farm.host() / "releases" / farm.served() / "a"
    farm.deploy(write_release(tmp_path / "two", "2.0.0", files={"a": "2"}))
    kept.chmod(0o644)
    kept.write_text("x")
    with pytest.raises(SlipwayError, match="were changed on the host: a"):
        farm.run(lambda coordinator: coordinator.rollback())
    assert "-2.0.0-" in farm.served()
    # A deploy of it sends it again.
    (host,) = farm.deploy(first).hosts
    assert host.status == "healthy", host.text
    assert "-1.0.0-" in farm.served()
    assert (farm.host() / "current" / "a").read_text() == "1"


@pytest.mark.long
def test_a_shared_path_outlives_releases(farm: Farm, tmp_path: Path) -> None:
    farm.deployment = dataclasses.replace(farm.deployment, shared=("var/uploads",))
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    (farm.host() / "current" / "var" / "uploads" / "photo").write_text("mine")
    farm.deploy(write_release(tmp_path / "two", "2.0.0"))
    assert (farm.host() / "current" / "var" / "uploads" / "photo").read_text() == "mine"
    farm.deployment = dataclasses.replace(farm.deployment, shared=("bin",))
    with pytest.raises(SlipwayError, match='the release contains files at the shared path "bin"'):
        farm.deploy(write_release(tmp_path / "three", "3.0.0"))


def test_of_two_deploys_at_once_one_is_refused_with_the_holder(farm: Farm, tmp_path: Path) -> None:
    release = write_release(tmp_path / "one", "1.0.0")
    holder = farm.connect("h1")
    try:
        holder.ask("begin", 30, by="somebody@elsewhere")
        holder.ask("configure", 30, b"a\nb", lines=1)
        holder.ask("stage", 30, b"nothing", base="")
        with pytest.raises(SlipwayError, match="somebody@elsewhere, since 20"):
            farm.deploy(release)
        # Who was told leaves everything as it is, and so does who only looks.
        farm.run(lambda coordinator: coordinator.releases())
        assert (farm.host() / ".slipway" / "staged").is_dir()
        with pytest.raises(SlipwayError, match="somebody@elsewhere, since 20"):
            farm.deploy(release)
    finally:
        holder.close()
    assert farm.deploy(release).hosts[0].status == "healthy"


@pytest.mark.long
def test_only_keep_releases_are_kept(farm: Farm, tmp_path: Path) -> None:
    farm.deployment = dataclasses.replace(farm.deployment, keep=2)
    for number in range(3):
        farm.deploy(write_release(tmp_path / str(number), f"1.0.{number}"))
        time.sleep(1.1)  # ids sort by the second
    kept = sorted(one.name.split("-")[1] for one in (farm.host() / "releases").iterdir())
    assert kept == ["1.0.1", "1.0.2"]


def versions(host: Path) -> List[str]:
    return sorted(one.name.split("-")[1] for one in (host / "releases").iterdir())


def test_a_release_with_a_process_is_kept_until_that_ends(farm: Farm, tmp_path: Path) -> None:
    farm.deployment = dataclasses.replace(farm.deployment, keep=2)
    for number in range(2):
        farm.deploy(write_release(tmp_path / str(number), f"1.0.{number}"))
    (first,) = (farm.host() / "releases").glob("*-1.0.0-*")
    worker = subprocess.Popen([str(first / "node_runtime" / "bin" / "node"), "1000"])
    farm.deploy(write_release(tmp_path / "2", "1.0.2"))
    assert versions(farm.host()) == ["1.0.0", "1.0.1", "1.0.2"]
    worker.kill()
    worker.wait()
    farm.deploy(write_release(tmp_path / "3", "1.0.3"))
    assert versions(farm.host()) == ["1.0.2", "1.0.3"]


def test_what_is_deployed_by_hand_becomes_a_release_to_go_back_to(
    farm: Farm, tmp_path: Path
) -> None:
    by_hand = farm.host()
    by_hand.mkdir(parents=True)
    (by_hand / "package.json").write_text("{}")
    (by_hand / "server.js").write_text("old")
    bad = write_release(tmp_path / "bad", "1.0.0", health="false")
    farm.attempt(bad)
    assert farm.served().endswith("by-hand")
    assert (farm.host() / "current" / "server.js").read_text() == "old"
    (host,) = farm.deploy(write_release(tmp_path / "one", "1.0.1")).hosts
    assert host.status == "healthy", host.text
    assert not (by_hand / "server.js").exists()


def fake(folder: Path, name: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that comes before the machine's own of that name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)
    if not os.environ["PATH"].startswith(f"{folder}:"):
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("old", [False, True], ids=["a sync of today", "one that takes no files"])
def test_files_that_were_written_are_put_on_the_disk_and_nothing_else(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    told = tmp_path / "told"
    body = f'echo "$# $*" >>{told}\nexit {int(old)}'
    fake(tmp_path / "bin", "sync", body, monkeypatch)
    (host,) = farm.deploy(write_release(tmp_path / "one", "1.0.0", files={"a": "1"})).hosts
    assert host.status == "healthy"
    calls = told.read_text().splitlines()
    assert calls
    for call in calls:
        assert call.split()[1] == "-d"
        assert all(f"{farm.host()}/.slipway/staged/" in one for one in call.split()[2:])


def test_the_log_of_a_service_does_not_grow_without_end(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(
        write_release(
            tmp_path / "one",
            "1.0.0",
            program="/bin/dash",
            files={"service.sh": "while :; do echo a line of the service; sleep 0.01; done"},
            service='"$node" "$top/service.sh"',
        )
    )
    own = farm.host() / ".slipway"
    impatient = agent_text().replace("LONGEST_LOG=10000000", "LONGEST_LOG=2000")
    (own / "agent").write_text(impatient.replace("sleep 30", "sleep 0.2"))
    command = [*farm.shell, str(own / "agent"), str(farm.host()), "keep-log", farm.served()]
    with subprocess.Popen(command) as keeper:
        wait_until((own / "service.log.1").exists)
        time.sleep(2)
        # What a service writes between two looks comes on top.
        assert (own / "service.log").stat().st_size < 8000
        assert (own / "service.log.1").stat().st_size <= 2000
        before = (own / "service.log").read_text()
        wait_until(lambda: (own / "service.log").read_text() != before)  # it goes on
        for pid in running_from(farm.host()):
            os.kill(pid, signal.SIGKILL)
        assert keeper.wait(timeout=20) == 0


def test_a_log_that_cannot_be_copied_is_truncated_anyway(farm: Farm, tmp_path: Path) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    own = farm.host() / ".slipway"
    impatient = agent_text().replace("LONGEST_LOG=10000000", "LONGEST_LOG=2000")
    (own / "agent").write_text(impatient.replace("sleep 30", "sleep 0.2"))
    (own / "service.log.1").mkdir()  # nothing can be written to it, as on a full disk
    (own / "service.log").write_text("x" * 5000)
    command = [*farm.shell, str(own / "agent"), str(farm.host()), "keep-log", farm.served()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as keeper:
        wait_until(lambda: (own / "service.log").stat().st_size == 0)
        for pid in running_from(farm.host()):
            os.kill(pid, signal.SIGKILL)
        assert keeper.wait(timeout=20) == 0


# --- Hosts for which the release is not.


def refused(farm: Farm, manifest: Path) -> str:
    with pytest.raises(SlipwayError) as raised:
        farm.deploy(manifest)
    assert not farm.host().exists()
    return str(raised.value)


def test_a_release_of_another_environment_is_refused(farm: Farm, tmp_path: Path) -> None:
    said = refused(farm, write_release(tmp_path / "one", "1.0.0", server_env="sit"))
    assert "have different values of server_env" in said
    assert 'release: "sit", deployment: "prod"' in said


def test_a_release_that_needs_a_newer_c_library_is_refused(farm: Farm, tmp_path: Path) -> None:
    facts = {"abi": {"highest": {"GLIBC": "GLIBC_9.28"}}}
    said = refused(farm, write_release(tmp_path / "one", "1.0.0", facts=facts))
    assert "h1: refused: the host's C library is glibc 2." in said
    assert "the release needs GLIBC_9.28" in said


@pytest.mark.parametrize(
    ("tool", "says", "words"),
    [
        (
            "uname",
            "echo aarch64",
            "the host's architecture is aarch64, the release is built for x86_64",
        ),
        ("getconf", "echo musl libc", "the host's C library is musl libc, the release needs"),
    ],
)
def test_another_machine_and_another_c_library_are_refused(
    farm: Farm,
    tmp_path: Path,
    tool: str,
    says: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake(tmp_path / "bin", tool, says, monkeypatch)
    facts = {"abi": {"highest": {"GLIBC": "GLIBC_2.17"}}}
    assert words in refused(farm, write_release(tmp_path / "one", "1.0.0", facts=facts))


# --- Ended from outside.


def kill_within_switch(farm: Farm, pid: int, after: float) -> threading.Thread:
    """Ends the agent so many seconds after it has begun to switch."""
    journal = farm.host() / ".slipway" / "journal"
    before = len(journal.read_text())

    def wait_and_kill() -> None:
        wait_until(lambda: "switch from" in journal.read_text()[before:])
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


def recoveries(host: Path) -> List[str]:
    """Processes that complete what was left on a host, or wait for that."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{name}/cmdline").read_bytes().decode().split("\0")
            if command[1:4] == [f"{host}/.slipway/agent", str(host), "recover"]:
                found.append(name)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_reused_process_id_does_not_block_recovery(farm: Farm, tmp_path: Path) -> None:
    farm.deployment = dataclasses.replace(
        farm.deployment, start_timeout=1, stop_timeout=1, hooks=Hooks(timeout=1)
    )
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    own = farm.host() / ".slipway"
    wait_until(lambda: not recoveries(farm.host()))  # of that deploy
    (own / "doing").write_text(f"old=\nnew={farm.served()}\n")
    (own / "running").write_text(f"{os.getpid()}\n")
    (host,) = farm.deploy(write_release(tmp_path / "two", "2.0.0")).hosts
    assert host.status == "healthy", host.text
    assert "recover: unfinished switch" in (own / "journal").read_text()
    assert not (own / "doing").exists()


@pytest.mark.parametrize(
    "after", [0.3, *(pytest.param(one, marks=pytest.mark.long) for one in (0.0, 0.7))]
)
def test_what_a_killed_agent_left_is_completed_without_help(
    farm: Farm, tmp_path: Path, after: float
) -> None:
    farm.deploy(write_release(tmp_path / "one", "1.0.0"))
    slow = write_release(tmp_path / "two", "2.0.0", start="sleep 1")
    farm.attempt(write_release(tmp_path / "two", "2.0.0", start="sleep 1", health="false"))
    first = farm.served()
    session = farm.connect("h1")
    try:
        session.ask("begin", 30, by="a test")
        (second,) = (one.name for one in (farm.host() / "releases").iterdir() if "2.0" in one.name)
        killing = kill_within_switch(farm, session.pid, after)
        with pytest.raises(SessionLost):
            session.ask("switch", 30, id=second)
        killing.join()
    finally:
        session.close()
    wait_until(lambda: not (farm.host() / ".slipway" / "doing").exists())
    assert farm.served() == first
    assert len(running_from(farm.host() / "releases" / first)) == 1
    assert len(running_from(farm.host())) == 1
    # And the next deploy needs no help either.
    assert farm.attempt(slow).hosts[0].status in ("healthy", "returned")
