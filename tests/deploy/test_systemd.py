"""A real systemd as the first process of a host of its own: the release comes up after its reboot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator, Optional

import pytest

from slipway.deploy.deployment import Deployment, Health
from slipway.deploy.session import Session, agent_text, remote_command
from tests.deploy import hosts
from tests.e2e import harness
from tests.unit.deploy.shipping import Shipping
from tests.unit.deploy.tiny_release import write_release

pytestmark = pytest.mark.long

SYSTEMD = "/lib/systemd/systemd"
TOP = "/home/app/tiny"
# $1 is the folder of its disk, which outlives its reboots. Whatever systemd does at a boot, such as
# emptying /tmp, it does to layers of its own above this machine's files.
INIT = f"""\
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
for folder in dev run tmp; do mount -t tmpfs tmpfs $folder; done
mkdir run/lock dev/shm dev/pts
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mkdir -p .before
pivot_root . .before
umount -l .before
exec env -i container=test PATH={harness.PATH} {SYSTEMD} --unit=multi-user.target \\
    --log-target=console --show-status=no </dev/null >>/log 2>&1
"""


class SystemdHost(Shipping):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        health = Health(retries=5, interval=1, timeout=5, hold=1)
        super().__init__(Deployment(TOP, ("here",), "prod", health=health, stop_timeout=5))
        self._process: Optional[subprocess.Popen[bytes]] = None
        hosts.mount("tmpfs", folder, 0, "size=200m,mode=755")
        units = folder / "up" / "etc" / "systemd" / "system"
        for one in (units, folder / "up" / "home" / "app", folder / "work", folder / "root"):
            one.mkdir(parents=True)
        # Services of this machine are not started.
        for unit in Path("/etc/systemd/system").glob("*.wants/*"):
            if not (units / unit.name).is_symlink():
                (units / unit.name).symlink_to("/dev/null")
        (folder / "init").write_text(INIT)

    def boot(self) -> None:
        self._process = subprocess.Popen(
            [
                *("unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup"),
                *("sh", str(self.folder / "init"), str(self.folder)),
            ],
            start_new_session=True,
        )
        # A boot that goes on would take /tmp from a session.
        harness.wait_until(self.is_up, 60, "systemd is up")

    def is_up(self) -> bool:
        return self.said_by("systemctl", "is-system-running") in ("running", "degraded")

    def power_cut(self) -> None:
        if self._process is not None:
            harness.end({self.first})
            self._process.wait(30)

    @property
    def first(self) -> int:
        assert self._process is not None
        children = sorted(harness.descendants(self._process.pid))
        return children[0] if children else self._process.pid

    def enter(self) -> list[str]:
        inside = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
        return ["nsenter", f"--target={self.first}", *inside]

    def said_by(self, *command: str) -> str:
        done = subprocess.run(
            [*self.enter(), *command], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout.strip()

    def connect(self, name: str) -> Session:
        command = remote_command(TOP, len(agent_text().encode()))
        return Session([*self.enter(), "sh", "-c", command])

    def running(self) -> str:
        return self.said_by("sh", "-c", f"ls -l /proc/[0-9]*/exe | grep -o '{TOP}/releases/[^/]*'")


@pytest.fixture
def host() -> Iterator[SystemdHost]:
    hosts.require_hosts()
    if not os.path.exists(SYSTEMD) or shutil.which("systemctl") is None:
        pytest.skip("no systemd here: apt-get install systemd")
    with harness.scratch_folder("systemd-") as folder:
        made = SystemdHost(folder)
        made.boot()
        try:
            yield made
        finally:
            made.power_cut()
            hosts.unmount(folder)


def test_the_release_comes_up_after_a_reboot(host: SystemdHost, tmp_path: Path) -> None:
    (done,) = host.deploy(write_release(tmp_path / "one", "1.0.0")).hosts
    assert (done.status, done.text) == ("healthy", "")
    (unit,) = host.said_by("sh", "-c", "cd /etc/systemd/system && ls slipway-*").split()
    assert unit.startswith("slipway-home-app-tiny-")
    assert host.said_by("systemctl", "is-enabled", unit) == "enabled"
    before = host.running()
    assert "-1.0.0-prod-" in before
    host.power_cut()
    host.boot()
    harness.wait_until(lambda: host.running() == before, 60, "the release comes up")
    harness.wait_until(
        lambda: host.said_by("systemctl", "is-active", unit) == "active", 60, "its unit is done"
    )
    # The next deploy finds it so, and leaves one line.
    (done,) = host.deploy(write_release(tmp_path / "two", "1.1.0")).hosts
    assert (done.status, done.text) == ("healthy", "")
    assert "-1.1.0-prod-" in host.running()
    assert host.said_by("systemctl", "is-failed", unit) == "active"
