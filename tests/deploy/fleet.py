"""A coordinator and its hosts: real sshd, real ssh, releases of a few files.

fleet = Fleet(farm, tmp_path)
fleet.deploy(fleet.release("1.0.0"))
assert fleet.served() == {"h1": "1.0.0", ...}
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any, Dict, Iterator

from slipway.deploy import cli
from slipway.deploy.deployment import Deployment, Health
from slipway.deploy.flow import Coordinator
from slipway.deploy.session import Session
from tests.deploy.hosts import Host, HostFarm, require_hosts
from tests.e2e import harness
from tests.unit.deploy.shipping import Shipping
from tests.unit.deploy.tiny_release import write_release

TOP = "/home/app/tiny"


@contextlib.contextmanager
def farm_of(count: int, disk: str = "60m", inodes: int = 4000) -> Iterator[HostFarm]:
    """Hosts in a folder of their own; skips the test where none can be."""
    require_hosts()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(harness.scratch_folder("hosts-"))
        yield stack.enter_context(HostFarm(folder / "farm", count, disk, inodes))


def _said(values: Dict[str, Any]) -> Dict[str, Any]:
    inner = {key: _said(one) if isinstance(one, dict) else one for key, one in values.items()}
    return {key: one for key, one in inner.items() if one not in ("", 0, {}, ())}


class Fleet(Shipping):
    def __init__(self, farm: HostFarm, folder: Path) -> None:
        self.farm, self.folder = farm, folder
        super().__init__(
            Deployment(
                path=TOP,
                hosts=tuple(host.name for host in farm.hosts),
                server_env="prod",
                health=Health(retries=3, interval=1, timeout=5, hold=1),
                stop_timeout=5,
                ssh_options=("-F", str(farm.ssh_config)),
            )
        )

    def connect(self, name: str) -> Session:
        return Session(cli.ssh_command(self.deployment, name))

    def configure(self, **changed: Any) -> None:
        self.deployment = dataclasses.replace(self.deployment, **changed)

    def described(self) -> Dict[str, Any]:
        """The deployment as a file describes it."""
        return _said(dataclasses.asdict(self.deployment))

    def release(self, version: str, **more: Any) -> Path:
        return write_release(self.folder / version, version, **more)

    def status(self, coordinator: Coordinator) -> Dict[str, str]:
        return {host.name: host.status for host in coordinator.hosts}

    def served(self) -> Dict[str, str]:
        """The version that each host serves and runs one process of; else what is wrong."""
        return {host.name: self.served_by(host) for host in self.farm.hosts}

    def served_by(self, host: Host) -> str:
        link = host.run(f"readlink {TOP}/current").stdout.strip()
        running = host.run(
            f"ls -l /proc/[0-9]*/exe 2>/dev/null | sed -n 's|.* -> {TOP}/releases/||p'"
        ).stdout.split()
        ids = sorted(one.split("/")[0] for one in running)
        if ids != [link.rpartition("/")[2]]:
            return f"linked {link or 'nothing'}, running {ids}"
        return ids[0].split("-")[1]

    def end_services(self, host: Host) -> None:
        for pid, command in host.processes().items():
            if TOP in command or "slipway-agent" in command:
                harness.end({pid})

    def clean(self, host: Host) -> None:
        """Ends its faults, and removes all that was deployed."""
        host.mend()
        host.free_disk()
        if not host.is_on:
            host.boot()
        self.end_services(host)
        host.run(f"crontab -r; rm -rf {TOP}")

    def wait_until_settled(self, host: Host, seconds: float = 60) -> None:
        """Until nothing is under way on a host, whoever sees to it."""
        deadline = time.monotonic() + seconds
        while (
            host.path(f"{TOP}/.slipway/doing").exists()
            or host.path(f"{TOP}/.slipway/holder").exists()
        ):
            assert time.monotonic() < deadline, host.path(f"{TOP}/.slipway/journal").read_text()
            time.sleep(0.1)
