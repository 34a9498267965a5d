"""Deploys to real sshd hosts: the budget, faults from outside, and the one-file program."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest
import toml

from slipway.core.errors import SlipwayError
from slipway.deploy import shipped_release
from slipway.deploy.programs import pack_coordinator
from slipway.step.interface import ARGUMENTS
from tests.deploy.faults import start_program
from tests.deploy.fleet import TOP, Fleet, farm_of
from tests.deploy.hosts import Host, HostFarm
from tests.places import SOURCES, started
from tests.tiers import long_except

SEED = 20261122


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    with farm_of(3) as made:
        yield made


EVERYWHERE = ("h1", "h2", "h3")


def test_a_release_reaches_all_hosts_and_can_be_taken_back(fleet: Fleet) -> None:
    first = fleet.deploy(fleet.release("1.0.0", files={"a": "1", "b": "x" * 50_000}))
    assert fleet.status(first) == dict.fromkeys(EVERYWHERE, "healthy")
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.0.0")
    second = fleet.deploy(fleet.release("1.1.0", files={"a": "2", "b": "x" * 50_000}))
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.1.0")
    assert all(host.sent < first.hosts[0].sent / 4 for host in second.hosts)

    fleet.run(lambda coordinator: coordinator.rollback())
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.0.0")
    fleet.run(lambda coordinator: coordinator.rollback("1.1.0"))
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.1.0")


def test_a_plan_changes_nothing(fleet: Fleet) -> None:
    release = shipped_release.read(str(fleet.release("1.0.0")))
    coordinator = fleet.run(lambda one: one.deploy(release, only_plan=True))
    assert all(host.plan and host.plan.bytes > 0 for host in coordinator.hosts)
    assert not any(host.path(TOP).exists() for host in fleet.farm.hosts)


def test_an_unhealthy_canary_is_taken_back_and_no_other_host_is_touched(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0"))
    running = {host.name: host.processes() for host in fleet.farm.hosts[1:]}
    with pytest.raises(SlipwayError, match="1 of 3 hosts failed") as raised:
        fleet.deploy(fleet.release("1.1.0", health="false"))
    assert "h1: returned: the release is not healthy" in str(raised.value)
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.0.0")
    for host in fleet.farm.hosts[1:]:
        services = {pid for pid, one in running[host.name].items() if f"{TOP}/releases" in one}
        assert services <= set(host.processes())


def test_a_release_of_another_runtime_is_known_by_its_processes(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0", name="qjs"))
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.0.0")
    with pytest.raises(SlipwayError, match="1 of 3 hosts failed"):
        fleet.deploy(fleet.release("1.1.0", name="qjs", service="true", health="true"))
    assert fleet.served() == dict.fromkeys(EVERYWHERE, "1.0.0")
    health = dataclasses.replace(fleet.deployment.health, url="http://127.0.0.1:3000/health")
    fleet.configure(health=health)
    with pytest.raises(SlipwayError, match="the health check by URL needs Node"):
        fleet.deploy(fleet.release("1.2.0", name="qjs"))


def test_a_program_of_another_runtime_that_lost_its_mode_is_replaced(fleet: Fleet) -> None:
    fleet.configure(hosts=("h1",))
    host = fleet.farm.hosts[0]
    fleet.deploy(fleet.release("1.0.0", name="qjs"))
    fleet.deploy(fleet.release("1.1.0", name="qjs", files={"a": "1"}))
    host.run(f"chmod -x {TOP}/releases/*-1.0.0-*/node_runtime/bin/qjs")
    with pytest.raises(SlipwayError) as raised:
        fleet.run(lambda coordinator: coordinator.rollback())
    assert "node_runtime/bin/qjs" in str(raised.value)
    assert fleet.served_by(host) == "1.1.0"


def test_a_host_that_is_down_counts_against_the_budget(fleet: Fleet) -> None:
    release = fleet.release("1.0.0")
    fleet.farm.hosts[1].power_cut()
    with pytest.raises(SlipwayError, match="max_unhealthy is 0"):
        fleet.deploy(release)
    fleet.configure(max_unhealthy=1)
    done = fleet.deploy(release)
    assert fleet.status(done) == {"h1": "healthy", "h2": "unreachable", "h3": "healthy"}
    assert fleet.served_by(fleet.farm.hosts[2]) == "1.0.0"


def test_a_full_disk_and_used_up_inodes_are_reported_before_anything_is_sent(fleet: Fleet) -> None:
    fleet.deploy(fleet.release("1.0.0"))
    full, without, sound = fleet.farm.hosts
    full.fill_disk(leave=10_000)
    without.use_up_inodes(leave=2)
    fleet.configure(max_unhealthy=2)
    done = fleet.deploy(fleet.release("1.1.0", files={"a": "x"}))
    assert fleet.status(done) == {"h1": "refused", "h2": "refused", "h3": "healthy"}
    assert "kB free" in done.hosts[0].text
    assert "inodes: " in done.hosts[1].text
    for host in (full, without):
        host.free_disk()
        assert fleet.served_by(host) == "1.0.0"
    assert fleet.served_by(sound) == "1.1.0"


def test_of_two_deploys_at_once_one_wins_and_the_other_is_refused(fleet: Fleet) -> None:
    fleet.configure(hosts=("h1",), max_unhealthy=0)
    release = fleet.release("1.0.0", start="sleep 1")
    told = []

    def deploy() -> None:
        try:
            told.append(fleet.status(fleet.deploy(release))["h1"])
        except SlipwayError as error:
            told.append(str(error))

    both = [threading.Thread(target=deploy) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(told)[-1] == "healthy"
    assert "another deploy holds the lock of this host: " in sorted(told)[0]
    assert fleet.served_by(fleet.farm.hosts[0]) == "1.0.0"


@pytest.mark.long
def test_fifty_races_each_have_one_winner(fleet: Fleet) -> None:
    """Two processes at almost the same time, each with a version of its own."""
    releases = [fleet.release(version, start="sleep 1") for version in ("1.0.0", "1.1.0")]
    lost: list[str] = []

    def race(host: Host, chance: random.Random) -> None:
        inventory = fleet.folder / f"{host.name}.json"
        inventory.write_text(json.dumps({**fleet.described(), "hosts": [host.name]}))
        both = []
        for release in chance.sample(releases, 2):
            both.append(start_program(release, inventory))
            time.sleep(chance.uniform(0, 0.5))
        said = [one.communicate(timeout=120)[0] for one in both]
        codes = [one.returncode for one in both]
        assert fleet.served_by(host) in ("1.0.0", "1.1.0")
        # On a busy machine one may begin when the other has ended: no race.
        if codes != [0, 0]:
            assert sorted(codes) == [0, 1], said
            assert re.search(
                "another deploy holds the lock of this host: [^ ]+, since 20", said[codes.index(1)]
            )
            assert f"-{fleet.served_by(host)}-" in said[codes.index(0)]
            lost.append(host.name)
        # A deploy of what is served already is over before the other one stops waiting.
        fleet.clean(host)

    def race_on(host: Host) -> None:
        chance = random.Random(f"{SEED}-{host.name}")
        while len(lost) < 50:
            race(host, chance)

    with ThreadPoolExecutor() as pool:
        list(pool.map(race_on, fleet.farm.hosts))
    assert len(lost) >= 50


# --- The program that needs neither Pants nor source.


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`deploy.pyz`, packed as `package` does, in an otherwise empty folder."""
    folder = tmp_path_factory.mktemp("program")
    sources = folder / "in"
    shutil.copytree(SOURCES / "slipway", sources / "slipway")
    shutil.copytree(Path(str(toml.__file__)).parent, sources / "toml")
    call = pack_coordinator.PROGRAM(
        pack_coordinator.Arguments(main="slipway/deploy/programs/coordinator.py")
    )
    (folder / ARGUMENTS).write_text(call.arguments)
    subprocess.run([sys.executable, *started(call.program)], cwd=folder, check=True)
    place = folder / "empty"
    place.mkdir()
    (folder / "out" / "deploy.pyz").rename(place / "deploy.pyz")
    return place


@pytest.mark.parametrize(
    "python",
    long_except(
        ["/usr/bin/python3"], sorted({os.path.realpath(sys.executable), "/usr/bin/python3"})
    ),
)
def test_the_program_deploys_lists_and_goes_back(fleet: Fleet, program: Path, python: str) -> None:
    if not os.path.exists(python):
        pytest.skip(f"no {python} here")
    inventory = program / "prod.toml"
    inventory.write_text(
        f'path = "{TOP}"\nserver_env = "prod"\nhosts = ["h1", "h2"]\nbatch = "50%"\n'
        f'ssh_options = ["-F", "{fleet.farm.ssh_config}"]\n[health]\nhold = 0\n'
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "deploy.pyz", *arguments, "--to=prod.toml"],
            cwd=program,
            text=True,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "HOME": str(program)},
            check=False,
            timeout=120,
        )

    for version in ("1.0.0", "1.1.0"):
        done = run("deploy", str(fleet.release(version)))
        assert done.returncode == 0, done.stderr
        assert f"-{version}-prod-" in done.stdout
        time.sleep(1.1)  # ids sort by the second
    listed = json.loads(run("releases", "--format=json").stdout)
    assert [len(one["releases"]) for one in listed["hosts"]] == [2, 2]
    assert run("rollback").returncode == 0
    assert [fleet.served_by(host) for host in fleet.farm.hosts[:2]] == ["1.0.0", "1.0.0"]
    wrong = run("deploy", "none.json")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert 'cannot read the release "none.json"' in wrong.stderr
    failed = run("rollback", "--release=9.9.9")
    assert failed.returncode == 1
    assert '"9.9.9" matches 0 releases on the hosts' in failed.stderr
    assert "Traceback" not in failed.stderr
