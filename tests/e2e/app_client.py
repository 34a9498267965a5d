"""Starting and asking a release's application, as an operator and a visitor do."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

from tests.e2e import harness
from tests.e2e.harness import User


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def get(port: int, path: str) -> Tuple[int, str]:
    address = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return get(port, "/healthz")[0] == 200
    return False


@dataclass(frozen=True)
class Operator:
    """A user of a host without Node, in front of an unpacked release."""

    release: Path
    logs: Path
    port: int
    path: str
    user: Optional[User] = None

    def environment(self) -> Dict[str, str]:
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "LOG_DIR": str(self.logs)}
        return {"PATH": self.path, **own}

    def app(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bin/app", *arguments],
            cwd=self.release,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=harness.start_as(self.user, 0o022),
        )
