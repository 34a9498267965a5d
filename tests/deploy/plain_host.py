"""A host that nobody prepared for Slipway: this machine's sshd on loopback, and an ordinary user.

    with plain_host(folder) as host:
        host.run("mkdir app")

Its user is known in a mount namespace of its own, where /etc/passwd has one more line.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from tests.e2e import harness

USER = "deployer"
# Of this process alone: at the end, all that runs as this user is ended.
NUMBER = 60_100 + os.getpid() % 4_000
NAME = "plain"
_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
_SSH = """\
Host {name} {name}-*
    HostName 127.0.0.1
    HostKeyAlias {name}
    Port {port}
    User {user}
    IdentityFile {folder}/client_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""
_AS_USER = ("setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups", "env")
# Files of the machine that the namespace has in another form.
_CHANGED = ("passwd", "group", "shadow")


@dataclass(frozen=True)
class PlainHost:
    folder: Path
    sshd: int

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """As the user, in the home, on the host's own side."""
        return subprocess.run(
            [*self.enter(), *_AS_USER, f"HOME={self.home}", "sh", "-c", f"cd && {command}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def enter(self) -> List[str]:
        return ["nsenter", f"--target={self.sshd}", "--mount", "--"]

    def set_shell(self, shell: str) -> None:
        (self.folder / "passwd").write_text(_passwd(self.home, shell))


def _passwd(home: Path, shell: str) -> str:
    line = f"{USER}:x:{NUMBER}:{NUMBER}:A user:{home}:{shell}\n"
    return Path("/etc/passwd").read_text() + line


@contextlib.contextmanager
def plain_host() -> Iterator[PlainHost]:
    """Skips the test where this user may not have one."""
    if os.geteuid() != 0 or shutil.which("sshd", path=harness.PATH) is None:
        pytest.skip("needs root, and sshd: apt-get install openssh-server")
    with harness.scratch_folder("plain-") as folder:
        folder.chmod(0o755)
        port = _make_files(folder)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        process = subprocess.Popen(_command(folder, port), stderr=subprocess.DEVNULL)
        host = PlainHost(folder, process.pid)
        try:
            harness.wait_until(lambda: _listens(port), 10, "sshd listens")
            yield host
        finally:
            for pid in _processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            harness.end(harness.descendants(process.pid) | {process.pid})
            process.wait()


def _make_files(folder: Path) -> int:
    home = folder / "home"
    home.mkdir()
    os.chown(home, NUMBER, NUMBER)
    (folder / "passwd").write_text(_passwd(home, "/bin/sh"))
    (folder / "group").write_text(Path("/etc/group").read_text() + f"{USER}:x:{NUMBER}:\n")
    (folder / "shadow").write_text(Path("/etc/shadow").read_text() + f"{USER}:*:::::::\n")
    for name in ("client_key", "host_key"):
        key = ["-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(["ssh-keygen", "-q", *key], check=True)
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    kind, key_text, *_ = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"{NAME} {kind} {key_text}\n")
    (folder / "sshd_config").write_text(_SSHD.format(folder=folder))
    text = _SSH.format(name=NAME, port=port, user=USER, folder=folder)
    (folder / "ssh_config").write_text(text)
    return port


def _command(folder: Path, port: int) -> Tuple[str, ...]:
    mounts = "".join(f"mount --bind {folder}/{name} /etc/{name} && " for name in _CHANGED)
    program = shutil.which("sshd", path=harness.PATH)
    sshd = f"exec {program} -D -f {folder}/sshd_config -p {port} -o ListenAddress=127.0.0.1"
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", f"{mounts}{sshd}")


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _processes() -> List[int]:
    """All that runs as the user."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == NUMBER:
                found.append(int(name))
    return found
