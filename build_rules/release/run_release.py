"""Unpacks a release to a scratch folder and runs it in the foreground until it ends or Ctrl-C.

Started by `run`, outside of any sandbox, on the runner's own CPython.  Whatever happens, neither
the application nor the folder is left behind: the application gets the signal that came and two
seconds to stop, since Pants kills this program three seconds after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from types import FrameType
from typing import Dict, List, Optional

_PATIENCE = 2.0  # seconds
_DROPPED = ("NODE_OPTIONS", "NODE_PATH", "NODE_ENV", "PID_FILE", "SERVER_ENV")


def main(arguments: List[str]) -> int:
    tarball, *rest = arguments
    # A Ctrl-C while unpacking raises here and the folder goes with the context.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="slipway-run-") as scratch:
        try:
            release = os.path.join(scratch, "release")
            with tarfile.open(tarball, "r:gz") as tar:
                tar.extractall(release)
            return _run(release, scratch, rest)
        except KeyboardInterrupt:
            return 130


def _run(release: str, scratch: str, arguments: List[str]) -> int:
    process = subprocess.Popen(
        [os.path.join(release, "bin", "app"), "run-foreground", *arguments],
        env=_environment(scratch),
        cwd=release,
        start_new_session=True,
    )
    asked: List[int] = []

    def pass_on(number: int, frame: Optional[FrameType]) -> None:
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    deadline = None
    while process.poll() is None:
        time.sleep(0.05)
        if asked and deadline is None:
            deadline = time.monotonic() + _PATIENCE
        if deadline is not None and time.monotonic() > deadline:
            break
    # The whole group: npm and the shell between us and the application may be gone before it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    if asked:
        return 128 + asked[0]
    return status if status >= 0 else 128 - status


def _environment(scratch: str) -> Dict[str, str]:
    """The user's environment without what another Node left there; files go to the scratch folder."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not name.lower().startswith("npm_")
    }
    env["LOG_DIR"] = os.path.join(scratch, "logs")
    os.mkdir(env["LOG_DIR"])
    return env


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
