"""Unpacks a release to a temporary folder and runs it in the foreground until it ends, or Ctrl-C.

`run` starts this program outside of any sandbox, with the runner's CPython. The program always ends the
application and removes the folder. After a signal, the application gets the same signal and has two
seconds to stop, because Pants kills this program three seconds after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from types import FrameType
from typing import Dict, List, Optional

from slipway.archive import unpacking
from slipway.archive.unpacking import Form
from slipway.core.errors import SlipwayError

_PATIENCE = 2.0  # seconds
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DROPPED = ("NODE_OPTIONS", "NODE_PATH", "NODE_ENV", "PID_FILE", "SERVER_ENV")


def main(arguments: List[str]) -> int:
    tarball, *rest = arguments
    # Block signals while the folder is created and removed; in between, a signal raises.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    with tempfile.TemporaryDirectory(prefix="slipway-run-") as scratch:
        try:
            for number in _ENDINGS:
                signal.signal(number, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            release = os.path.join(scratch, "release")
            os.mkdir(release)
            unpacking.unpack(tarball, release, Form.TARBALL, keep_times=True)
            return _run(release, scratch, rest)
        except SlipwayError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)


def _run(release: str, scratch: str, arguments: List[str]) -> int:
    asked: List[int] = []
    group: List[int] = []

    def pass_on(number: int, frame: Optional[FrameType]) -> None:
        asked.append(number)
        for one in group:
            _signal(one, number)

    # Install the handlers before the start: a signal during the start must also end the application.
    for number in _ENDINGS:
        signal.signal(number, pass_on)
    process = subprocess.Popen(
        [os.path.join(release, "bin", "app"), "run-foreground", *arguments],
        env=_environment(scratch),
        cwd=release,
        start_new_session=True,
    )
    group.append(process.pid)
    for early in list(asked):
        _signal(process.pid, early)
    deadline = None
    # npm and the shell between this program and the application may end first. So after a signal, wait
    # for the whole process group.
    while process.poll() is None or (asked and _signal(process.pid, 0)):
        time.sleep(0.05)
        if asked and deadline is None:
            deadline = time.monotonic() + _PATIENCE
        if deadline is not None and time.monotonic() > deadline:
            break
    _signal(process.pid, signal.SIGKILL)
    status = process.wait()
    if asked:
        return 128 + asked[0]
    return status if status >= 0 else 128 - status


def _signal(group: int, number: int) -> bool:
    """Sends a signal to a process group; False if the group has no process."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _environment(scratch: str) -> Dict[str, str]:
    """The user's environment without variables for Node and npm; LOG_DIR is in the temporary folder."""
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
