"""One host in two ways: root of a namespace of the harness, and an ordinary user of a plain sshd.

What is promised of hosts holds on both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from slipway.deploy import cli
from slipway.deploy.deployment import Deployment, Health
from slipway.deploy.host import Host
from slipway.deploy.session import Session
from tests.deploy.fleet import TOP, farm_of
from tests.deploy.plain_host import NAME, PlainHost, plain_host
from tests.e2e import harness
from tests.unit.deploy.shipping import Shipping
from tests.unit.deploy.tiny_release import running_from, write_release

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


class Site(Shipping):
    """`top` is the deployment's path on the host; `folder` is where this machine sees it."""

    def __init__(self, name: str, top: str, folder: Path, ssh_config: Path, run: Run) -> None:
        self.name, self.top, self.folder, self._run = name, top, folder, run
        self.releases = Path()
        super().__init__(
            Deployment(
                path=top,
                hosts=(name,),
                server_env="prod",
                health=Health(retries=3, interval=1, timeout=5, hold=1),
                stop_timeout=5,
                boot="off",
                ssh_options=("-F", str(ssh_config)),
            )
        )

    def connect(self, name: str) -> Session:
        return Session(cli.ssh_command(self.deployment, name))

    def configure(self, **changed: Any) -> None:
        self.deployment = dataclasses.replace(self.deployment, **changed)

    def release(self, version: str, **more: Any) -> Path:
        return write_release(self.releases / version, version, **more)

    def ship(self, version: str, **more: Any) -> Host:
        """Deploys a new release; of one that its budget ended, what the host came to."""
        (host,) = self.attempt(self.release(version, **more)).hosts
        return host

    def run_there(self, command: str) -> str:
        done = self._run(f"cd {self.top} && {command}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def served(self) -> str:
        """The version that is linked and runs."""
        link = os.readlink(self.folder / "current").rpartition("/")[2]
        assert self.processes(link), f"nothing runs from {link}"
        return link.split("-")[1] if "-" in link else link

    def processes(self, id: str) -> List[int]:
        listed = self._run(
            f"ls -l /proc/[0-9]*/exe 2>/dev/null | grep -F ' {self.top}/releases/{id}/'"
        )
        return [int(line.split("/proc/")[1].split("/")[0]) for line in listed.stdout.splitlines()]

    def kept(self) -> List[str]:
        """Versions, or names of what is not Slipway's."""
        names = (one.name for one in (self.folder / "releases").iterdir())
        return sorted(name.split("-")[1] if name.count("-") > 2 else name for name in names)

    def journal(self) -> str:
        return (self.folder / ".slipway" / "journal").read_text()

    def clean(self) -> None:
        self._run("crontab -r")
        with contextlib.suppress(FileNotFoundError):
            harness.end(set(running_from(self.folder)))
        self._run(f"chmod -R u+w {self.top}; rm -rf {self.top} ~/.slipway* ~/.profile ~/told")


def snapshot(folder: Path) -> Dict[str, Any]:
    """All that a deploy could change of foreign files: kind, mode, owner, time, content, target."""
    found: Dict[str, Any] = {}
    for path in [folder, *folder.rglob("*")]:
        about = path.lstat()
        content = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        name = str(path.relative_to(folder))
        found[name] = (about.st_mode, about.st_uid, about.st_mtime_ns, about.st_ino, content)
    return found


@contextlib.contextmanager
def namespace_site() -> Iterator[Site]:
    with farm_of(1, disk="100m") as farm:
        host = farm.hosts[0]
        yield Site(host.name, TOP, host.path(TOP), farm.ssh_config, host.run)


@contextlib.contextmanager
def plain_site() -> Iterator[Site]:
    with plain_host() as host:
        yield site_of(host)


def site_of(host: PlainHost) -> Site:
    top = host.home / "apps" / "tiny"
    return Site(NAME, str(top), top, host.ssh_config, host.run)


SITES = {"root of a namespace": namespace_site, "user of a plain sshd": plain_site}
