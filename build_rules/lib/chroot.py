"""Runs a build step in a plain chroot, for root in a container that forbids all else.

Without mounts the root is a copy for each step, with folders of its own where the step may write.
There are neither /proc nor namespaces; the network is denied by the guard alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import stat
from typing import Mapping, Sequence

from build_rules.lib import tree_cache
from build_rules.lib.copied_inputs import (
    BUILD,
    become,
    copy,
    give_to_step,
    lay_out_inputs,
    lend_name_servers,
    take_outputs,
)
from build_rules.lib.isolation import IsolationRefused, Job, Mount
from build_rules.lib.supervision import supervised

_PREFIX = "chroot-"
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_OWN = (BUILD, "/home", "/tmp", "/dev", "/dev/shm")


def run(job: Job) -> int:
    """The command's exit status; its outputs are in `job.out` then."""
    if os.geteuid() != 0:
        raise IsolationRefused("only root may call chroot")
    with tree_cache.all_unpacked(job.cache, job.trees) as trees:
        _sweep(job.cache)
        place = os.path.join(job.cache, f"{_PREFIX}{random.SystemRandom().getrandbits(64):016x}")
        with open(place + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with supervised(
                lambda: become(place, job.command), lambda: _remove(place), job.command.attempts
            ) as run_command:
                _lay_out(place, trees, job.inputs)
                if job.command.network:
                    lend_name_servers(f"{place}/etc")
                status = run_command(job.time_limit)
                take_outputs(place, job)
        return status


def _sweep(cache: str) -> None:
    """Removes what steps left whose supervisors were killed with them."""
    for name in os.listdir(cache):
        if name.startswith(_PREFIX) and name.endswith(".lock"):
            path = os.path.join(cache, name)
            with contextlib.suppress(OSError), open(path, "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path[: -len(".lock")])


def _lay_out(place: str, trees: Mapping[str, str], inputs: Sequence[Mount]) -> None:
    copy(trees["/"], place)
    for folder in _OWN:
        os.makedirs(place + folder, exist_ok=True)
    for folder in (BUILD, "/home"):
        give_to_step(place + folder)
    for folder in ("/tmp", "/dev/shm"):
        os.chmod(place + folder, 0o1777)
    _make_devices(place)
    lay_out_inputs(place, trees, inputs)


def _make_devices(place: str) -> None:
    for name, (major, minor) in _DEVICES.items():
        path = f"{place}/dev/{name}"
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            os.chmod(path, 0o666)
            with open(path, "rb"):
                pass
        except OSError as error:
            raise IsolationRefused(f"a device file for /dev/{name}: {error.strerror}") from None


def _remove(place: str) -> None:
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place + ".lock")
