"""A fence around attacks that take all they get: the real machine must not come to harm by a test.

    with fence() as groups, small_disk(scratch / "sandboxes"):
        machine = Machine(scratch, groups)

Limits of Slipway are much lower than those of the fence: what reaches the fence was not stopped.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Iterator, List

MEMORY = 8 << 30  # bytes, with the page cache of the build
PROCESSES = 3500
DISK = "4g"
_TOP = Path("/sys/fs/cgroup")


class NoFence(Exception):
    """This machine has no control groups that this user may make; the text says which lack."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Makes the folder a disk of its own, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={DISK},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextlib.contextmanager
def fence() -> Iterator[List[Path]]:
    """The folders of control groups that limit memory and processes; raises NoFence."""
    if os.geteuid() != 0:
        raise NoFence("only root can put limits around attacks that take all they get")
    with _groups(f"slipway-attacks-{os.getpid()}") as groups:
        yield groups


@contextlib.contextmanager
def _groups(name: str) -> Iterator[List[Path]]:
    made: List[Path] = []
    try:
        for controller, file, value in (
            ("memory", "memory.limit_in_bytes", MEMORY),
            ("pids", "pids.max", PROCESSES),
        ):
            top = _TOP / controller if (_TOP / controller).is_dir() else _TOP
            group = top / name
            unified = top == _TOP
            try:
                if not group.exists():
                    group.mkdir()
                    made.append(group)
                limit = "memory.max" if unified and controller == "memory" else file
                (group / limit).write_text(str(value))
            except OSError as error:
                raise NoFence(f"{group}: {error.strerror}") from None
        yield made
    finally:
        for group in made:
            with contextlib.suppress(OSError):
                group.rmdir()
