"""Runs a build step without a new root, in a job container of the step's image.

Every file of the image's layers must be the same on this machine, and is compared. Additional files
may exist, such as the files that the job needs for Pants. Steps run one after the other, because
all of them use `/build`. If the job runs as root, foreign commands run as the step's user, which
must have no other processes. If the job runs as that user itself, it is protected only from
accidents of its packages, and not from hostile packages.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import Dict, Iterator, Optional, Sequence, Set, Tuple

from slipway.archive import unpacking
from slipway.archive.tar_reading import Kind, Member
from slipway.isolation import build_users, own_network, tree_cache
from slipway.isolation.cgroups import Cgroup
from slipway.isolation.copied_inputs import (
    BUILD,
    as_request,
    become,
    give_to,
    lay_out_inputs,
    remove_tree,
    take_outputs,
)
from slipway.isolation.first_process import Bounds
from slipway.isolation.jails import Jail, UserJail
from slipway.isolation.job import USER_ID, IsolationRefused, Job, watched
from slipway.isolation.network_guard import Surroundings
from slipway.isolation.supervision import supervised
from slipway.isolation.tree_cache import Layer

# Files that container engines create in each container.
_OF_ENGINES = ("etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")
# World-writable folders, which all processes of a container share.
_FOR_EVERYBODY = ("/tmp", "/var/tmp", "/dev/shm")
_CHUNK = 1 << 20


def run(job: Job) -> int:
    """Runs the job; returns the command's exit status. Its outputs are in `job.out`.

    Raises IsolationRefused, CommandNotStarted, TimeLimitReached or CallerGone.
    """
    if os.geteuid() not in (0, USER_ID):
        raise IsolationRefused(f"needs root or user {USER_ID}, but this is user {os.geteuid()}")
    if not os.path.isdir(BUILD):
        raise IsolationRefused(f"this machine is not the image of the step: no folder {BUILD}")
    difference = first_difference(job.trees["/"])
    if difference:
        raise IsolationRefused(f"this machine is not the image of the step: {difference}")
    own = (BUILD, job.command.env["HOME"])
    more = {target: layers for target, layers in job.trees.items() if target != "/"}
    with _alone(), tree_cache.all_unpacked(job.cache, more) as trees, _jail(job) as jailed:
        command, (jail, program_user) = job.command, jailed
        _prepare(own, program_user)
        own_loopback = jail.surroundings.neighbours is None
        before = _entries(_FOR_EVERYBODY) if os.geteuid() == 0 else None
        with Cgroup.make(job.limits) as cgroup, supervised(
            as_request(command) if command.foreign else lambda: become("", command, program_user),
            lambda: _clean(own, before, (USER_ID, program_user)),
            jail,
            command.attempts,
            own_network.enter if own_loopback else lambda: None,
            Bounds(
                job.limits, (*own, "/tmp", "/dev/shm"), cgroup, None if own_loopback else USER_ID
            ),
        ) as run_command:
            lay_out_inputs("", trees, job.inputs, program_user)
            if command.foreign:
                os.makedirs(command.cwd, exist_ok=True)
            status = run_command(job.time_limit)
            take_outputs("", job)
        return status


@contextlib.contextmanager
def _jail(job: Job) -> Iterator[Tuple[Jail, int]]:
    """The jail of foreign commands, and the user of the step's program."""
    if os.geteuid() != 0:
        jail = Jail()
        jail.surroundings = Surroundings(neighbours=frozenset((USER_ID,)))
        yield jail, USER_ID
        return
    if build_users.runs_anything(USER_ID):
        raise IsolationRefused(f"user {USER_ID}, which steps run as, has running processes")
    own_loopback = not job.command.network and own_network.is_offered()
    with build_users.reserved() as users:
        most = job.limits.processes
        jailed = UserJail(USER_ID, users.program, most, own_loopback=own_loopback)
        yield jailed, users.program


def first_difference(layers: Sequence[Layer], root: str = "/") -> str:
    """The first difference of `root` from the tree of `layers` (lowest first); "" if none."""
    seen: Dict[str, Tuple[str, Member]] = {}
    for path, members in unpacking.check([layer.path for layer in layers], rules=unpacking.ROOT):
        seen.update((member.name, (path, member)) for member in members)
    for name in sorted(seen):
        layer_path, member = seen[name]
        if name in _OF_ENGINES or member.kind in (Kind.FOLDER, Kind.HARD_LINK):
            continue
        try:
            if not _is_same(os.path.join(root, name), member, layer_path):
                return f"/{name} differs"
        except OSError as error:
            return f"/{name}: {error.strerror}"
    return ""


def _is_same(path: str, member: Member, layer: str) -> bool:
    if member.kind is Kind.SYMLINK:
        return os.readlink(path) == member.target
    state = os.lstat(path)
    if not stat.S_ISREG(state.st_mode) or state.st_size != member.size:
        return False
    if (state.st_mode ^ member.mode) & stat.S_IXUSR:
        return False
    with open(path, "rb") as here, open(layer, "rb") as there:
        there.seek(member.offset)
        left = member.size
        while left:
            size = min(left, _CHUNK)
            if here.read(size) != there.read(size):
                return False
            left -= size
    return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other step uses /build, and locks it."""
    folder = os.open(BUILD, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with watched(None):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _prepare(own: Sequence[str], program_user: int) -> None:
    """Creates the step's folders; raises IsolationRefused if they contain other files."""
    build, home = own
    for folder, user in ((build, program_user), (home, USER_ID)):
        try:
            os.makedirs(folder, exist_ok=True)
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise IsolationRefused(f"{error.filename}: {error.strerror}") from None
        if names:
            raise IsolationRefused(f"{folder} is not empty: {names[0]}")
        if os.geteuid() == 0:
            give_to(folder, user)
        elif not os.access(folder, os.W_OK):
            raise IsolationRefused(f"user {USER_ID} cannot write to {folder}")


def _entries(folders: Sequence[str]) -> Set[str]:
    paths: Set[str] = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            paths.update(os.path.join(folder, name) for name in os.listdir(folder))
    return paths


def _clean(own: Sequence[str], before: Optional[Set[str]], users: Sequence[int]) -> None:
    """Empties the step's folders, and removes files of its `users` in world-writable folders.

    `before` are the files in these folders before the step. It is None if the step runs as the
    job's user, because then files of the step cannot be distinguished from files of the job.
    """
    left = _entries(own)
    for path in _entries(_FOR_EVERYBODY) - before if before is not None else ():
        with contextlib.suppress(OSError):
            if os.lstat(path).st_uid in users:
                left.add(path)
    for path in left:
        remove_tree(path)
