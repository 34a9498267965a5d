"""Runs a build step on this very machine, where that is a container of the step's own image.

Nothing is taken on trust: every file of the image's layers must be here as it is there.  More may
be here, such as what a job needs to start Pants.  Steps run one at a time, since all of them work
in `/build`; the network is denied by the guard alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from typing import Dict, Iterator, Sequence, Tuple

from build_rules.lib import tree_cache, unpacking
from build_rules.lib.copied_inputs import BUILD, become, give_to_step, lay_out_inputs, take_outputs
from build_rules.lib.isolation import USER_ID, IsolationRefused, Job, watched
from build_rules.lib.supervision import supervised
from build_rules.lib.tar_reading import Kind, Member
from build_rules.lib.tree_cache import Layer

# Files that engines put there for each container.
_OF_ENGINES = ("etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")
_CHUNK = 1 << 20


def run(job: Job) -> int:
    """The command's exit status; its outputs are in `job.out` then."""
    if os.geteuid() not in (0, USER_ID):
        raise IsolationRefused(f"a step runs as user {USER_ID}; this is user {os.geteuid()}")
    if not os.path.isdir(BUILD):
        raise IsolationRefused(f"this machine is not the image of the step: there is no {BUILD}")
    difference = first_difference(job.trees["/"])
    if difference:
        raise IsolationRefused(f"this machine is not the image of the step: {difference}")
    own = (BUILD, job.command.env["HOME"])
    more = {target: layers for target, layers in job.trees.items() if target != "/"}
    with _alone(), tree_cache.all_unpacked(job.cache, more) as trees:
        _prepare(own)
        with supervised(
            lambda: become("", job.command), lambda: _empty(own), job.command.attempts
        ) as run_command:
            lay_out_inputs("", trees, job.inputs)
            status = run_command(job.time_limit)
            take_outputs("", job)
        return status


def first_difference(layers: Sequence[Layer], root: str = "/") -> str:
    """How `root` differs from the tree that `layers`, the lowest first, make; empty if it does not."""
    seen: Dict[str, Tuple[str, Member]] = {}
    for path, members in unpacking.check([layer.path for layer in layers], rules=unpacking.ROOT):
        seen.update((member.name, (path, member)) for member in members)
    for name in sorted(seen):
        layer_path, member = seen[name]
        if name in _OF_ENGINES or member.kind in (Kind.FOLDER, Kind.HARD_LINK):
            continue
        try:
            if not _is_same(os.path.join(root, name), member, layer_path):
                return f"/{name} is another"
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
    """Waits until no other step works in /build."""
    folder = os.open(BUILD, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with watched(None):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _prepare(own: Sequence[str]) -> None:
    """The step's own folders: whatever somebody else keeps there is not touched."""
    for folder in own:
        try:
            os.makedirs(folder, exist_ok=True)
            found = sorted(os.listdir(folder))
        except OSError as error:
            raise IsolationRefused(f"{error.filename}: {error.strerror}") from None
        if found:
            raise IsolationRefused(f"{folder} is not empty: {found[0]}")
        if os.geteuid() == 0:
            give_to_step(folder)
        elif not os.access(folder, os.W_OK):
            raise IsolationRefused(f"user {USER_ID} cannot write to {folder}")


def _empty(own: Sequence[str]) -> None:
    for folder in own:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
