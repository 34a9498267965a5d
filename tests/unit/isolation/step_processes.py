"""Processes that use up a resource, for the tests of the limits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Callable, Iterator, List, Optional, Sequence, TypeVar

import pytest

T = TypeVar("T")
MB = 1_000_000


@contextlib.contextmanager
def running(
    program: str, *arguments: str, join: Optional[Callable[[], None]] = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that prints a line when it is ready; its process group ends with this.

    `join` runs in the child before the program.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=join,  # noqa: PLW1509  (these tests have no threads)
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def group_of(process: subprocess.Popen[bytes]) -> Callable[[], List[int]]:
    """The processes of a process group, as a first process would list those of its namespace."""

    def pids() -> List[int]:
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[2]) == process.pid:
                    found.append(int(name))
        return found

    return pids


def wait_for(reached: Callable[[], Optional[T]], seconds: float = 20) -> T:
    end = time.monotonic() + seconds
    while True:
        value = reached()
        if value:
            return value
        assert time.monotonic() < end, "waited for nothing"
        time.sleep(0.02)


def with_tmpfs(folder: str, options: str, program: str, *arguments: str) -> str:
    """What a Python program prints that sees a tmpfs at `folder`, in a mount namespace of its own."""
    user: Sequence[str] = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    mount = f'mount -t tmpfs -o {options} tmpfs "$0" || exit 77; exec "$@"'
    done = subprocess.run(
        [
            *("unshare", "--mount", *user, "sh", "-c", mount, folder),
            *(sys.executable, "-c", program, folder, *arguments),
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode == 77 or b"unshare failed" in done.stderr:
        pytest.skip(f"this machine allows no mount namespace: {done.stderr.decode().strip()}")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
