"""A Docker engine of the tests' own: private socket and folders, no network, ended by its id.

with running_engine(folder) as engine:
    workspace.pants(..., env=engine.env)
    assert engine.containers() == []
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from tests.e2e import harness


@dataclass
class Engine:
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def env(self) -> Dict[str, str]:
        """For a run that is to find this engine: the tests' own PATH has no docker."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def docker(self, *arguments: str) -> str:
        return subprocess.run(
            ["docker", f"--host=unix://{self.socket}", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def containers(self) -> List[str]:
        return self.docker("ps", "--all", "--format={{.Names}}").split()

    def images(self) -> List[str]:
        return self.docker("image", "ls", "--no-trunc", "--quiet").split()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


def require_engine() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a Docker engine")
    if shutil.which("dockerd") is None:
        pytest.skip("no dockerd here: apt-get install docker.io")


@contextlib.contextmanager
def running_engine(folder: Path, *options: str) -> Iterator[Engine]:
    """Its folder must be short: a socket's path has a limit of 107 bytes."""
    require_engine()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("dockerd", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}"),
                *(f"--host=unix://{folder / 'docker.sock'}", f"--pidfile={folder / 'pid'}"),
                *("--iptables=false", "--bridge=none", *options),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    engine = Engine(folder, process)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(engine.docker("version", "--format={{.Server.Version}}"))
        return False

    try:
        harness.wait_until(answers, 60, "dockerd answers")
        yield engine
    finally:
        engine.stop()
        for mounted in _mounts_below(folder):
            subprocess.run(["umount", "--lazy", mounted], check=False)


def _mounts_below(folder: Path) -> List[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1] for line in lines]
    return sorted((one for one in points if one.startswith(f"{folder}/")), reverse=True)
