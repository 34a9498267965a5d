"""Fifty hosts, some of them broken: max_unhealthy decides, and the table says why."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple

import pytest

from slipway.deploy import report
from slipway.deploy.flow import Coordinator
from tests.deploy.fleet import TOP, Fleet, farm_of
from tests.deploy.hosts import FARM, Host, HostFarm
from tests.e2e import harness

pytestmark = pytest.mark.long

COUNT = 50
SEED = 20261122


class Bad(NamedTuple):
    """What is done to a host, what the deploy makes of it, and how it is undone."""

    status: str
    text: str
    spoil: Callable[[Host], None]
    mend: Callable[[Host], None]


def run(command: str) -> Callable[[Host], None]:
    def step(host: Host) -> None:
        done = host.run(command)
        assert done.returncode == 0, done.stderr

    return step


def other_host_key(host: Host) -> None:
    host.stop_sshd()
    key = host.folder / "host_key"
    key.rename(host.folder / "host_key.right")
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True)
    host.start_sshd()


def right_host_key(host: Host) -> None:
    host.stop_sshd()
    (host.folder / "host_key.right").rename(host.folder / "host_key")
    host.start_sshd()


def take_all_starts(host: Host) -> None:
    """Somebody's connections that never log in take all that MaxStartups allows."""
    host.stop_sshd()
    config = host.folder / "sshd_config"
    config.write_text(config.read_text().replace("MaxStartups 10:30:100", "MaxStartups 1:100:1"))
    host.start_sshd()
    answer = host.run(
        f"bash -c 'exec 5<>/dev/tcp/{host.address}/22; sleep 600' >/dev/null 2>&1 & sleep 0.3"
    )
    assert answer.returncode == 0, answer.stderr


def free_starts(host: Host) -> None:
    harness.end({pid for pid, one in host.processes().items() if "sleep 600" in one})
    host.stop_sshd()
    config = host.folder / "sshd_config"
    config.write_text(config.read_text().replace("MaxStartups 1:100:1", "MaxStartups 10:30:100"))
    host.start_sshd()


def cut_in_mid_transfer(host: Host) -> None:
    """A partition as soon as parts of the release arrive."""
    incoming = host.path(f"{TOP}/.slipway/staged")

    def wait_and_cut() -> None:
        harness.wait_until(incoming.exists, 300, "a transfer begins")
        host.cut()

    threading.Thread(target=wait_and_cut, daemon=True).start()


READ_ONLY = f"mkdir -p {TOP} && mount --bind {TOP} {TOP} && mount -o remount,ro,bind {TOP}"
SLOW = "tc qdisc add dev eth0 root tbf rate 2mbit burst 16kb latency 400ms"
KEYS = f"{FARM}/authorized_keys"
BAD: Dict[str, Bad] = {
    "down": Bad("unreachable", "", Host.power_cut, Host.boot),
    "full disk": Bad("refused", "kB free", Host.fill_disk, Host.free_disk),
    "another host key": Bad(
        "unreachable", "Host key verification failed", other_host_key, right_host_key
    ),
    "no key of ours": Bad(
        "unreachable", "Permission denied", run(f"mv {KEYS} {KEYS}.x"), run(f"mv {KEYS}.x {KEYS}")
    ),
    "read-only folder": Bad("refused", "cannot write", run(READ_ONLY), run(f"umount {TOP}")),
    "inodes gone": Bad("refused", "inodes: ", Host.use_up_inodes, Host.free_disk),
    "all starts taken": Bad("unreachable", "", take_all_starts, free_starts),
    "cut in mid-transfer": Bad("lost", "", cut_in_mid_transfer, Host.mend),
    "slow": Bad("healthy", "", run(SLOW), run("tc qdisc del dev eth0 root")),
    "a clock a day ahead": Bad(
        "healthy", "", lambda host: host.shift_clock(86_400), lambda host: host.shift_clock(0)
    ),
}
ROUNDS = (
    ("down", "full disk", "another host key"),
    ("no key of ours", "read-only folder", "slow"),
    ("all starts taken", "cut in mid-transfer", "a clock a day ahead"),
    ("inodes gone", "down", "cut in mid-transfer"),
)


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    with farm_of(COUNT, disk="40m") as made:
        yield made


@pytest.fixture(scope="module")
def fleet(farm: HostFarm, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    made = Fleet(farm, tmp_path_factory.mktemp("fifty"))
    made.configure(canary=2, batch="25%")
    return made


@pytest.fixture(scope="module")
def deployed(fleet: Fleet) -> Fleet:
    started = time.monotonic()
    done = fleet.deploy(fleet.release("1.0.0", files={"a": "x" * 500_000}))
    print(f"first deploy to {COUNT} hosts: {time.monotonic() - started:.1f} s")
    assert set(fleet.status(done).values()) == {"healthy"}
    return fleet


def deploy(fleet: Fleet, version: str) -> Coordinator:
    release = fleet.release(version, files={"a": version * 100_000})
    started = time.monotonic()
    coordinator = fleet.attempt(release)
    print(f"{version}: {time.monotonic() - started:.1f} s")
    return coordinator


@pytest.mark.parametrize("number", range(len(ROUNDS)))
def test_three_failed_hosts_within_max_unhealthy(deployed: Fleet, number: int) -> None:
    fleet = deployed
    fleet.configure(max_unhealthy=3)
    chance = random.Random(f"{SEED}-{number}")
    chosen = dict(zip(chance.sample(fleet.farm.hosts, 3), ROUNDS[number]))
    before = fleet.served()
    for host, name in chosen.items():
        BAD[name].spoil(host)
    version = f"1.{number + 1}.0"
    try:
        coordinator = deploy(fleet, version)
    finally:
        for host, name in chosen.items():
            BAD[name].mend(host)
    print(report.outcome_table(coordinator.hosts))
    by_name = {host.name: host for host in coordinator.hosts}
    for host, name in chosen.items():
        found = by_name[host.name]
        assert (name, found.status) == (name, BAD[name].status), found.text
        assert BAD[name].text in found.text
        fleet.wait_until_settled(host)
    served = fleet.served()
    failed = {host.name for host, name in chosen.items() if BAD[name].status != "healthy"}
    for name, release in served.items():
        assert release == (before[name] if name in failed else version), name
    # The next deploy needs no manual step.
    assert set(fleet.status(deploy(fleet, f"1.{number + 1}.1")).values()) == {"healthy"}


def test_one_failed_host_too_many_and_nothing_changes(deployed: Fleet) -> None:
    fleet = deployed
    fleet.configure(max_unhealthy=2)
    before = fleet.served()
    chosen = fleet.farm.hosts[10:13]
    for host in chosen:
        host.power_cut()
    try:
        coordinator = deploy(fleet, "2.0.0")
    finally:
        for host in chosen:
            host.boot()
    assert sum(host.failed for host in coordinator.hosts) == 3
    harness.wait_until(lambda: fleet.served() == before, 60, "all serve what they served")


def test_a_rollback_of_all_hosts_takes_seconds(deployed: Fleet) -> None:
    fleet = deployed
    fleet.configure(max_unhealthy=0)
    (now,) = set(fleet.served().values())
    deploy(fleet, "3.0.0")
    started = time.monotonic()
    fleet.run(lambda coordinator: coordinator.rollback())
    print(f"rollback of {COUNT} hosts: {time.monotonic() - started:.1f} s")
    assert set(fleet.served().values()) == {now}


def test_all_hosts_behind_one_jump_host(deployed: Fleet, tmp_path: Path) -> None:
    """Its sshd has the usual MaxStartups, which refuses some of twenty that begin at once."""
    fleet = deployed
    config = tmp_path / "ssh_config"
    others = " ".join(host.name for host in fleet.farm.hosts[1:])
    config.write_text(f"Host {others}\n    ProxyJump h1\n{fleet.farm.ssh_config.read_text()}")
    fleet.configure(ssh_options=("-F", str(config)))
    try:
        coordinator = fleet.run(lambda one: one.releases())
    finally:
        fleet.configure(ssh_options=("-F", str(fleet.farm.ssh_config)))
    assert [host.text for host in coordinator.hosts if host.failed] == []
    assert len({host.name for host in coordinator.hosts if host.state}) == COUNT
