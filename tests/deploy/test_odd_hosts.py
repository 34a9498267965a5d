"""Hosts and releases in states that nobody planned, each on real sshd."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from slipway.core.errors import SlipwayError
from slipway.deploy.deployment import Health, Hooks
from tests.deploy.faults import start_program
from tests.deploy.fleet import TOP, Fleet, farm_of
from tests.deploy.hosts import Host, HostFarm
from tests.e2e import harness

LARGE = {"big": os.urandom(4_000_000).hex()}


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    with farm_of(1, disk="100m") as made:
        yield made


@pytest.fixture
def host(farm: HostFarm) -> Host:
    return farm.hosts[0]


def test_current_is_a_folder(fleet: Fleet, host: Host) -> None:
    fleet.deploy(fleet.release("1.0.0"))
    host.run(f"cd {TOP} && cp -a $(readlink current) copy && rm current && mv copy current")
    with pytest.raises(SlipwayError, match=f"{TOP}/current is not a symlink: move it") as raised:
        fleet.deploy(fleet.release("1.1.0"))
    assert "Slipway changes no further host" in str(raised.value)
    assert len(list(host.path(f"{TOP}/releases").iterdir())) == 1


def test_current_is_gone_and_its_service_runs(fleet: Fleet, host: Host) -> None:
    fleet.deploy(fleet.release("1.0.0"))
    host.run(f"rm {TOP}/current")
    with pytest.raises(SlipwayError, match=r"1\.0\.0-prod-[0-9a-f]* is served again"):
        fleet.deploy(fleet.release("1.1.0", health="false"))
    assert fleet.served_by(host) == "1.0.0"
    host.run(f"rm {TOP}/current")
    fleet.deploy(fleet.release("1.2.0"))
    assert fleet.served_by(host) == "1.2.0"


@pytest.mark.long
def test_current_leads_nowhere(fleet: Fleet, host: Host) -> None:
    fleet.deploy(fleet.release("1.0.0"))
    fleet.end_services(host)
    host.run(f"cd {TOP} && rm -rf $(readlink current)")
    fleet.deploy(fleet.release("1.1.0"))
    assert fleet.served_by(host) == "1.1.0"


@pytest.mark.long
def test_a_health_script_that_hangs(fleet: Fleet, host: Host) -> None:
    fleet.configure(health=Health(retries=2, interval=0, timeout=1, hold=0))
    fleet.deploy(fleet.release("1.0.0"))
    with pytest.raises(SlipwayError, match="h1: returned: the release is not healthy"):
        fleet.deploy(fleet.release("1.1.0", health="sleep 600"))
    assert fleet.served_by(host) == "1.0.0"


@pytest.mark.long
def test_a_service_that_dies_five_seconds_after_its_start(fleet: Fleet, host: Host) -> None:
    fleet.configure(health=Health())
    fleet.deploy(fleet.release("1.0.0"))
    dies = '(sleep 5; kill $(ls -l /proc/[0-9]*/exe | sed -n "s|.* /proc/\\([0-9]*\\)/exe -> $node.*|\\1|p")) &'
    with pytest.raises(SlipwayError, match="h1: returned: the release is not healthy"):
        fleet.deploy(fleet.release("1.1.0", start=f"{dies} true"))
    assert fleet.served_by(host) == "1.0.0"


@pytest.mark.long
def test_a_service_that_ignores_sigterm(fleet: Fleet, host: Host) -> None:
    fleet.deploy(fleet.release("1.0.0", start="trap '' TERM"))
    fleet.deploy(fleet.release("1.1.0"))
    assert fleet.served_by(host) == "1.1.0"
    assert "KILL to" in host.path(f"{TOP}/.slipway/journal").read_text()


@pytest.mark.long
def test_hooks_run_where_they_should_and_a_failing_one_ends_the_deploy(
    fleet: Fleet, host: Host, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    fleet.configure(
        hooks=Hooks(
            before_switch="pwd >~/before",
            after_switch="readlink -f . >~/after",
            before_local=f"echo before >>{told}",
            after_local=f"echo after >>{told}",
        )
    )
    fleet.deploy(fleet.release("1.0.0"))
    assert told.read_text() == "before\nafter\n"
    for name in ("before", "after"):
        assert "-1.0.0-prod-" in host.path(f"/root/{name}").read_text()
    for number, hook in enumerate(("before_switch", "after_switch")):
        fleet.configure(hooks=dataclasses.replace(Hooks(), **{hook: "exit 3"}))
        with pytest.raises(SlipwayError, match=f"the hook {hook} failed"):
            fleet.deploy(fleet.release(f"1.1.{number}"))
        assert fleet.served_by(host) == "1.0.0"
    fleet.configure(hooks=Hooks(before_local="exit 3"))
    with pytest.raises(SlipwayError, match="the hook before_local failed"):
        fleet.deploy(fleet.release("1.2.0"))
    assert fleet.served_by(host) == "1.0.0"


@pytest.mark.long
def test_a_transfer_that_was_cut_goes_on_and_a_damaged_part_is_sent_again(
    fleet: Fleet, host: Host, tmp_path: Path
) -> None:
    release = fleet.release("1.0.0", files=LARGE)
    part = send_a_part(fleet, host, release, tmp_path)
    size = part.stat().st_size
    (done,) = fleet.deploy(release).hosts
    assert done.plan is not None
    assert done.sent == done.plan.bytes - size

    host.run(f"rm -rf {TOP}/releases/* {TOP}/current")
    fleet.end_services(host)
    part = send_a_part(fleet, host, release, tmp_path)
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"flipped!")
    (done,) = fleet.deploy(release).hosts
    assert (done.status, done.text) == ("healthy", "")
    assert done.plan is not None
    assert done.sent > done.plan.bytes


def send_a_part(fleet: Fleet, host: Host, release: Path, folder: Path) -> Path:
    """A deploy whose ssh is killed in the middle of the transfer; what arrived stays."""
    inventory = folder / "h1.json"
    inventory.write_text(json.dumps(fleet.described()))
    subprocess.run(
        ["tc", "qdisc", "add", "dev", host.port, "root", "tbf", "rate", "20mbit"]
        + ["burst", "64kb", "latency", "1s"],
        check=True,
    )
    incoming = host.path(f"{TOP}/.slipway/incoming")

    def parts() -> list[Path]:
        found = [one for one in incoming.glob("*") if len(one.name) == 64]
        return [one for one in found if one.stat().st_size > 100_000]

    process = start_program(release, inventory)
    try:
        harness.wait_until(lambda: bool(parts()), 60, "a part has arrived")
        harness.end(harness.descendants(process.pid), signal.SIGKILL)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        subprocess.run(["tc", "qdisc", "del", "dev", host.port, "root"], check=True)
    lock = f"flock -n {TOP}/.slipway/lock true"
    harness.wait_until(lambda: host.run(lock).returncode == 0, 15, "the session has ended")
    (part,) = parts()
    return part


def test_a_live_control_master_is_used(fleet: Fleet, host: Host, tmp_path: Path) -> None:
    """As with a bastion that asks for a second factor: who has logged in once is not asked again."""
    socket = tmp_path / "m"
    config = tmp_path / "ssh_config"
    master = f"Host *\n    ControlMaster auto\n    ControlPath {socket}\n"
    config.write_text(master + fleet.farm.ssh_config.read_text())
    subprocess.run(["ssh", "-F", str(config), "-Nf", "-o", "ControlPersist=60", "h1"], check=True)
    try:
        before = host.sshd_log().count("Accepted publickey")
        fleet.configure(ssh_options=("-F", str(config)))
        fleet.deploy(fleet.release("1.0.0"))
        assert fleet.served_by(host) == "1.0.0"
        assert host.sshd_log().count("Accepted publickey") == before
    finally:
        subprocess.run(["ssh", "-F", str(config), "-O", "exit", "h1"], check=True)


@pytest.mark.long
def test_a_rollback_goes_further_back_each_time(fleet: Fleet, host: Host) -> None:
    versions = ("1.0.0", "1.1.0", "1.2.0")
    releases = {}
    for version in versions:
        releases[version] = fleet.release(version)
        fleet.deploy(releases[version])
        time.sleep(1.1)  # times are by the second
    for version in ("1.1.0", "1.0.0"):
        fleet.run(lambda coordinator: coordinator.rollback())
        assert fleet.served_by(host) == version
        time.sleep(1.1)
    with pytest.raises(SlipwayError, match="no earlier release was healthy on all hosts"):
        fleet.run(lambda coordinator: coordinator.rollback())
    # What was left can be deployed again, and is then gone back to.
    fleet.deploy(releases["1.2.0"])
    time.sleep(1.1)
    fleet.deploy(releases["1.1.0"])
    fleet.run(lambda coordinator: coordinator.rollback())
    assert fleet.served_by(host) == "1.2.0"


@pytest.mark.long
def test_what_is_sent_is_packed_by_what_both_sides_have(fleet: Fleet, host: Host) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here: apt-get install zstd")
    text = {"a": "".join(f"line {number}\n" for number in range(50_000))}
    (by_zstd,) = fleet.deploy(fleet.release("1.0.0", files=text)).hosts
    host.run("mount --bind /dev/null $(command -v zstd)")
    (by_gzip,) = fleet.deploy(fleet.release("1.1.0", files={"a": f"{text['a']}!"})).hosts
    host.run("umount $(readlink -f /usr/bin/zstd)")
    assert (by_zstd.packed, by_gzip.packed) == ("zstd", "gzip")
    assert (by_zstd.status, by_gzip.status) == ("healthy", "healthy")
    assert by_zstd.sent < by_gzip.sent
